// Elementwise passes of the optimizers that work with matrices: Muon, Shampoo, SOAP and M-FAC.

// m = decay * m + share * g; x = m_scale * m + g_scale * g.
static void CK(opt_blend_momentum)(const float *g, float *m, float *x, int64_t n, float decay, float share,
                                   float m_scale, float g_scale) {
  const vf d = vset1(decay), s = vset1(share), a = vset1(m_scale), b = vset1(g_scale);
  for (int64_t i = 0; i < n; i += W) {
    const bool part = n - i < W;
    const int lanes = part ? (int)(n - i) : W;
    const vf gradient = opt_load(g + i, part, lanes);
    const vf momentum = vfma(d, opt_load(m + i, part, lanes), s * gradient);
    opt_store(m + i, momentum, part, lanes);
    opt_store(x + i, vfma(a, momentum, b * gradient), part, lanes);
  }
}

// p -= scale * x + decay * p.
static void CK(opt_step_decayed)(float *p, const float *x, int64_t n, float scale, float decay) {
  const vf s = vset1(scale), d = vset1(decay);
  for (int64_t i = 0; i < n; i += W) {
    const bool part = n - i < W;
    const int lanes = part ? (int)(n - i) : W;
    const vf old = opt_load(p + i, part, lanes);
    opt_store(p + i, old - s * opt_load(x + i, part, lanes) - d * old, part, lanes);
  }
}

// m and v as Adam's; p -= rate * (m_scale * m + g_scale * g) / (sqrt(v * v_scale) + epsilon) + decay * p.
static void CK(opt_nesterov_adam)(float *p, const float *g, float *m, float *v, int64_t n, float b1, float b2,
                                  float m_scale, float g_scale, float v_scale, float epsilon, float rate,
                                  float decay) {
  const vf d1 = vset1(b1), c1 = vset1(1.0f - b1), d2 = vset1(b2), c2 = vset1(1.0f - b2);
  for (int64_t i = 0; i < n; i += W) {
    const bool part = n - i < W;
    const int lanes = part ? (int)(n - i) : W;
    const vf gradient = opt_load(g + i, part, lanes), old = opt_load(p + i, part, lanes);
    const vf first = vfma(d1, opt_load(m + i, part, lanes), c1 * gradient);
    const vf second = vfma(d2, opt_load(v + i, part, lanes), c2 * gradient * gradient);
    opt_store(m + i, first, part, lanes);
    opt_store(v + i, second, part, lanes);
    const vf x = vfma(vset1(m_scale), first, g_scale * gradient) / (vsqrt(second * v_scale) + epsilon);
    opt_store(p + i, old - rate * x - decay * old, part, lanes);
  }
}

// SOAP's moments in the rotated basis: v = decay * v + share * g^2; x = x / (sqrt(v) + epsilon).
static void CK(opt_rotated_adam)(const float *g, float *v, float *x, int64_t n, float decay, float share,
                                 float epsilon) {
  for (int64_t i = 0; i < n; i += W) {
    const bool part = n - i < W;
    const int lanes = part ? (int)(n - i) : W;
    const vf gradient = opt_load(g + i, part, lanes);
    const vf second = vfma(vset1(decay), opt_load(v + i, part, lanes), share * gradient * gradient);
    opt_store(v + i, second, part, lanes);
    opt_store(x + i, opt_load(x + i, part, lanes) / (vsqrt(second) + epsilon), part, lanes);
  }
}

// The magnitude that Shampoo's direction is grafted on, to f; returns the sum of its squares. d = keep * d + share * (scale
// g)^2 and f = scale g / (sqrt(d) + epsilon) for the kinds with a diagonal, else g or its signs.
static double CK(opt_graft)(const ck_graft *graft, const float *g, float *d, float *f, int64_t n) {
  double total = 0;
  vf sum = {0};
  for (int64_t i = 0; i < n; i += W) {
    const bool part = n - i < W;
    const int lanes = part ? (int)(n - i) : W;
    vf x = opt_load(g + i, part, lanes);
    if (graft->kind == CK_GRAFT_SIGN) {
      const vi positive = (vi)(x > (vf){0}), negative = (vi)(x < (vf){0});
      // x itself where it is zero or not a number.
      const vf one = (vf)((positive & (vi)vset1(1.0f)) | (negative & (vi)vset1(-1.0f)));
      x = (vf)((vi)one | ((vi)x & ~(positive | negative)));
    } else if (graft->kind == CK_GRAFT_DIAGONAL) {
      x = x * graft->scale;
      const vf second = vfma(vset1(graft->keep), opt_load(d + i, part, lanes), graft->share * x * x);
      opt_store(d + i, second, part, lanes);
      x = x / (vsqrt(second) + graft->epsilon);
      if (part) x = opt_keep(x, lanes);
    }
    opt_store(f + i, x, part, lanes);
    sum = vfma(x, x, sum);
    if (i % 4096 == 4096 - W) {
      total += opt_sum(sum);
      sum = (vf){0};
    }
  }
  return total + opt_sum(sum);
}

// Shampoo's two momenta and its step: s and f, scaled and with weight_decay * p added, enter a and b; the pair that leads
// moves p by rate * (share * u + look * momentum).
static void CK(opt_shampoo_step)(const ck_shampoo_step *k, float *p, const float *s, const float *f, float *a, float *b,
                                 int64_t n) {
  for (int64_t i = 0; i < n; i += W) {
    const bool part = n - i < W;
    const int lanes = part ? (int)(n - i) : W;
    const vf old = opt_load(p + i, part, lanes), pull = k->weight_decay * old;
    const vf x = vfma(vset1(k->shampoo_scale), opt_load(s + i, part, lanes), pull);
    const vf y = vfma(vset1(k->graft_scale), opt_load(f + i, part, lanes), pull);
    const vf first = vfma(vset1(k->decay), opt_load(a + i, part, lanes), k->share * x);
    const vf second = vfma(vset1(k->decay), opt_load(b + i, part, lanes), k->share * y);
    opt_store(a + i, first, part, lanes);
    opt_store(b + i, second, part, lanes);
    const vf lead = k->preconditioned ? x : y, momentum = k->preconditioned ? first : second;
    opt_store(p + i, old - k->rate * vfma(vset1(k->lead_scale), lead, k->momentum_scale * momentum), part, lanes);
  }
}

static double CK(opt_dot)(const float *x, const float *y, int64_t n) {
  double total = 0;
  for (int64_t start = 0; start < n; start += 4096) {
    const int64_t end = n - start < 4096 ? n : start + 4096;
    vf sum = {0};
    for (int64_t i = start; i < end; i += W) {
      const bool part = end - i < W;
      const int lanes = part ? (int)(end - i) : W;
      sum = vfma(opt_load(x + i, part, lanes), opt_load(y + i, part, lanes), sum);
    }
    total += opt_sum(sum);
  }
  return total;
}
