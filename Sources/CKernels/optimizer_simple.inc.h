// SGD, heavy-ball momentum and Adam: one pass over flat memory each, bound by memory bandwidth.

static void CK(opt_sgd)(float *p, const float *g, int64_t n, float rate) {
  vf r = vset1(-rate);
  int64_t i = 0;
  for (; i + 2 * W <= n; i += 2 * W) {
    vstore(p + i, vfma(r, vload(g + i), vload(p + i)));
    vstore(p + i + W, vfma(r, vload(g + i + W), vload(p + i + W)));
  }
  for (; i < n; i += W) {
    int lanes = n - i < W ? (int)(n - i) : W;
    if (lanes == W)
      vstore(p + i, vfma(r, vload(g + i), vload(p + i)));
    else
      opt_store_n(p + i, vfma(r, opt_load_n(g + i, lanes), opt_load_n(p + i, lanes)), lanes);
  }
}

CK_INLINE void CK(opt_momentum_step)(float *p, const float *g, float *m, vf rate, vf mu, bool part, int n) {
  vf m1 = vfma(mu, opt_load(m, part, n), opt_load(g, part, n));
  opt_store(m, m1, part, n);
  opt_store(p, vfma(rate, m1, opt_load(p, part, n)), part, n);
}

static void CK(opt_momentum)(float *p, const float *g, float *m, int64_t n, float rate, float mu) {
  vf r = vset1(-rate), u = vset1(mu);
  int64_t i = 0;
  for (; i + W <= n; i += W) CK(opt_momentum_step)(p + i, g + i, m + i, r, u, false, W);
  if (i < n) CK(opt_momentum_step)(p + i, g + i, m + i, r, u, true, (int)(n - i));
}

typedef struct {
  vf b1, c1, b2, c2, rate, correction, epsilon, root;
} CK(opt_adam_constants);

CK_INLINE void CK(opt_adam_step)(float *p, const float *g, float *m, float *v, const CK(opt_adam_constants) * k,
                                 bool part, int n) {
  vf gi = opt_load(g, part, n);
  vf m1 = vfma(k->b1, opt_load(m, part, n), k->c1 * gi);
  vf v1 = vfma(k->b2, opt_load(v, part, n), k->c2 * gi * gi);
  opt_store(m, m1, part, n);
  opt_store(v, v1, part, n);
  vf root = vsqrt(vfma(v1, k->correction, k->root));
  opt_store(p, opt_load(p, part, n) - k->rate * m1 / (root + k->epsilon), part, n);
}

static void CK(opt_adam)(float *p, const float *g, float *m, float *v, int64_t n, float b1, float b2, float rate,
                         float v_correction, float epsilon, float epsilon_root) {
  const CK(opt_adam_constants) k = {
      vset1(b1),   vset1(1.0f - b1),    vset1(b2),      vset1(1.0f - b2),
      vset1(rate), vset1(v_correction), vset1(epsilon), vset1(epsilon_root),
  };
  int64_t i = 0;
  for (; i + 2 * W <= n; i += 2 * W) {
    CK(opt_adam_step)(p + i, g + i, m + i, v + i, &k, false, W);
    CK(opt_adam_step)(p + i + W, g + i + W, m + i + W, v + i + W, &k, false, W);
  }
  for (; i + W <= n; i += W) CK(opt_adam_step)(p + i, g + i, m + i, v + i, &k, false, W);
  if (i < n) CK(opt_adam_step)(p + i, g + i, m + i, v + i, &k, true, (int)(n - i));
}
