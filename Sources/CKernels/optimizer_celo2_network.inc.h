// Celo2's two element kernels on a run of neighbouring elements: `accumulate` (update the moments, add the squares of the
// features) and `direct` (the features once more, the network, its direction). optimizer_celo2.inc.h walks the runs.
//
// As in optimizer_network.inc.h no feature is stored: normalisers are folded into the first layer, and features of the
// factored statistics enter as additions to its bias. The order of the features is that file's D_* and S_*.

enum { CELO2 = CK_CELO2_HIDDEN };

// What a step knows before it sees a tensor. Corrections undo the accumulators' start at zero; 1 when switched off.
typedef struct {
  const float *w0[F_COUNT];  // CELO2 wide each
  const float *w1, *b0, *b1, *w2, *b2;
  float momentum[3], momentum_rest[3], rms, rms_rest;
  float correction[3], rms_correction;
  float exp_multiplier, step_size, weight_decay;
} CK(celo2_rule);

// The network of one matrix, its normalisers folded in.
typedef struct {
  const CK(celo2_rule) * rule;
  float dense[D_COUNT * CELO2];
  float line[S_COUNT * CELO2], lane[S_COUNT * CELO2];
} CK(celo2_net);

// A run of `count` elements from `e` on. Factors and biases are the product and the sum of a plane's entry, one for
// each element, and of one number for the run.
typedef struct {
  int64_t e, count;
  const float *factor, *bias;  // 3 and CELO2 planes
  int64_t factor_stride, bias_stride;
  float factor_scale[3], bias_addition[CELO2];
} CK(celo2_run);

// One vector of `accumulate`.
CK_INLINE void CK(celo2_accumulate_at)(const bool part, const int n, const CK(celo2_rule) * rule, const CK(opt_at) * at,
                                       int64_t i, const vf factor[3], vf sum[D_COUNT]) {
  const vf g = CK(opt_gradient)(at->g + i, true, part, n);
  const vf p = opt_load(at->p + i, part, n);
  const vf g2 = g * g;
  sum[D_G] += g2;
  sum[D_P] = vfma(p, p, sum[D_P]);
  const vf v = vfma(vset1(rule->rms), opt_load(at->v + i, part, n), vset1(rule->rms_rest) * g2);
  opt_store(at->v + i, v, part, n);
  sum[D_V] = vfma(v, v, sum[D_V]);
  vf q2 = 1.0f / vfma(v, vset1(rule->rms_correction), vset1(1e-8f));
  if (part) q2 = opt_keep(q2, n);
  sum[D_Q] += q2;
  OPT_UNROLL for (int j = 0; j < 3; j++) {
    float *plane = at->m + j * at->plane + i;
    const vf m = vfma(vset1(rule->momentum[j]), opt_load(plane, part, n), vset1(rule->momentum_rest[j]) * g);
    opt_store(plane, m, part, n);
    const vf m2 = m * m;
    sum[D_M + j] += m2;
    sum[D_MQ + j] = vfma(m2, q2, sum[D_MQ + j]);
    const vf x = g * factor[j];
    sum[D_FG + j] = vfma(x, x, sum[D_FG + j]);
    const vf y = m * factor[j];
    sum[D_MF + j] = vfma(y, y, sum[D_MF + j]);
  }
  const vf c = opt_clamp(g, -0.1f, 0.1f);
  sum[D_CLIP] = vfma(c, c, sum[D_CLIP]);
  sum[D_GQ] = vfma(g2, q2, sum[D_GQ]);
}

static void CK(celo2_accumulate)(const CK(celo2_rule) * rule, const CK(opt_at) * at, const CK(celo2_run) * run,
                                 vf total[D_COUNT]) {
  vf sum[D_COUNT], scale[3];
  OPT_UNROLL for (int f = 0; f < D_COUNT; f++) sum[f] = total[f];
  OPT_UNROLL for (int j = 0; j < 3; j++) scale[j] = vset1(run->factor_scale[j]);
  int64_t c = 0;
  for (; c + W <= run->count; c += W) {
    vf factor[3];
    OPT_UNROLL for (int j = 0; j < 3; j++) factor[j] = vload(run->factor + j * run->factor_stride + c) * scale[j];
    CK(celo2_accumulate_at)(false, W, rule, at, run->e + c, factor, sum);
  }
  if (c < run->count) {
    const int n = (int)(run->count - c);
    vf factor[3];
    OPT_UNROLL for (int j = 0; j < 3; j++)
      factor[j] = opt_keep(opt_load_n(run->factor + j * run->factor_stride + c, n) * scale[j], n);
    CK(celo2_accumulate_at)(true, n, rule, at, run->e + c, factor, sum);
  }
  OPT_UNROLL for (int f = 0; f < D_COUNT; f++) total[f] = sum[f];
}

// One or two vectors of `direct`. acc enters holding the first layer's bias; returns are in `out`.
CK_INLINE void CK(celo2_direct_at)(const bool magnitude, const int units, const bool part, const int n,
                                   const CK(celo2_net) * net, const CK(opt_at) * at, int64_t e, const vf factor[3][2],
                                   vf acc[CELO2][2], vf out[2]) {
  const CK(celo2_rule) *rule = net->rule;
  vf g[2], q[2];
#define CELO2_ADD(f, x)                                \
  OPT_UNROLL for (int k = 0; k < CELO2; k++)           \
    OPT_UNROLL for (int u = 0; u < units; u++)         \
      acc[k][u] = vfma((x)[u], vset1(net->dense[(f) * CELO2 + k]), acc[k][u]);
  vf x[2];
  OPT_UNROLL for (int u = 0; u < units; u++) g[u] = CK(opt_gradient)(at->g + e + u * W, true, part, n);
  CELO2_ADD(D_G, g)
  OPT_UNROLL for (int u = 0; u < units; u++) x[u] = opt_load(at->p + e + u * W, part, n);
  CELO2_ADD(D_P, x)
  OPT_UNROLL for (int u = 0; u < units; u++) {
    x[u] = opt_load(at->v + e + u * W, part, n);
    q[u] = opt_rsqrt(vfma(x[u], vset1(rule->rms_correction), vset1(1e-8f)));
  }
  CELO2_ADD(D_V, x)
  CELO2_ADD(D_Q, q)
  OPT_UNROLL for (int u = 0; u < units; u++) x[u] = opt_clamp(g[u], -0.1f, 0.1f);
  CELO2_ADD(D_CLIP, x)
  OPT_UNROLL for (int u = 0; u < units; u++) x[u] = g[u] * q[u];
  CELO2_ADD(D_GQ, x)
  OPT_UNROLL for (int j = 0; j < 3; j++) {
    vf m[2];
    OPT_UNROLL for (int u = 0; u < units; u++) m[u] = opt_load(at->m + j * at->plane + e + u * W, part, n);
    CELO2_ADD(D_M + j, m)
    OPT_UNROLL for (int u = 0; u < units; u++) x[u] = m[u] * q[u];
    CELO2_ADD(D_MQ + j, x)
    OPT_UNROLL for (int u = 0; u < units; u++) x[u] = g[u] * factor[j][u];
    CELO2_ADD(D_FG + j, x)
    OPT_UNROLL for (int u = 0; u < units; u++) x[u] = m[u] * factor[j][u];
    CELO2_ADD(D_MF + j, x)
  }
#undef CELO2_ADD
  vf second[CELO2][2];
  OPT_UNROLL for (int k = 0; k < CELO2; k++)
    OPT_UNROLL for (int u = 0; u < units; u++) {
      acc[k][u] = opt_relu(acc[k][u]);
      second[k][u] = vset1(rule->b1[k]);
    }
  OPT_UNROLL for (int i = 0; i < CELO2; i++)
    OPT_UNROLL for (int k = 0; k < CELO2; k++)
      OPT_UNROLL for (int u = 0; u < units; u++)
        second[k][u] = vfma(acc[i][u], vset1(rule->w1[i * CELO2 + k]), second[k][u]);
  OPT_UNROLL for (int u = 0; u < units; u++) {
    vf d = vset1(rule->b2[0]), a = vset1(rule->b2[1]);
    OPT_UNROLL for (int k = 0; k < CELO2; k++) {
      const vf h = opt_relu(second[k][u]);
      d = vfma(h, vset1(rule->w2[k * 3]), d);
      if (magnitude) a = vfma(h, vset1(rule->w2[k * 3 + 1]), a);
    }
    out[u] = magnitude ? d * opt_exp(a * rule->exp_multiplier) : d;
  }
}

// The directions of a run to `out`, and the sum of their squares added to *total.
CK_INLINE void CK(celo2_direct)(const bool magnitude, const CK(celo2_net) * net, const CK(opt_at) * at,
                                const CK(celo2_run) * run, float *out, double *total) {
  vf scale[3], sum = {0};
  OPT_UNROLL for (int j = 0; j < 3; j++) scale[j] = vset1(run->factor_scale[j]);
  int64_t c = 0;
  for (; c + 2 * W <= run->count; c += 2 * W) {
    vf factor[3][2], acc[CELO2][2], u[2];
    OPT_UNROLL for (int i = 0; i < 2; i++) {
      OPT_UNROLL for (int j = 0; j < 3; j++)
        factor[j][i] = vload(run->factor + j * run->factor_stride + c + i * W) * scale[j];
      OPT_UNROLL for (int k = 0; k < CELO2; k++)
        acc[k][i] = vload(run->bias + k * run->bias_stride + c + i * W) + vset1(run->bias_addition[k]);
    }
    CK(celo2_direct_at)(magnitude, 2, false, W, net, at, run->e + c, (const vf(*)[2])factor, acc, u);
    OPT_UNROLL for (int i = 0; i < 2; i++) {
      vstore(out + c + i * W, u[i]);
      sum = vfma(u[i], u[i], sum);
    }
  }
  for (; c < run->count; c += W) {
    const int64_t left = run->count - c;
    const bool part = left < W;
    const int n = part ? (int)left : W;
    vf factor[3][2], acc[CELO2][2], u[2];
    OPT_UNROLL for (int j = 0; j < 3; j++)
      factor[j][0] = opt_load(run->factor + j * run->factor_stride + c, part, n) * scale[j];
    OPT_UNROLL for (int k = 0; k < CELO2; k++)
      acc[k][0] = opt_load(run->bias + k * run->bias_stride + c, part, n) + vset1(run->bias_addition[k]);
    if (part) {
      CK(celo2_direct_at)(magnitude, 1, true, n, net, at, run->e + c, (const vf(*)[2])factor, acc, u);
      u[0] = opt_keep(u[0], n);
      opt_store_n(out + c, u[0], n);
    } else {
      CK(celo2_direct_at)(magnitude, 1, false, W, net, at, run->e + c, (const vf(*)[2])factor, acc, u);
      vstore(out + c, u[0]);
    }
    sum = vfma(u[0], u[0], sum);
  }
  *total += opt_sum(sum);
}
