// The per-parameter network on Adafactor features: its folded weights, and the two element kernels of one or two
// vectors of parameters: `accumulate` (update momentum and second moment, add the features' squares) and `apply`
// (recompute the features, run the network, move the parameters).
//
// No feature is stored. Each feature x_c enters as x_c / sqrt(1e-5 + mean x_c^2): that scalar multiplies row c of the
// first layer. Features that are constant over a tensor, a line or a lane enter as additions to the first bias.

// Order of the first layer's rows, which is that of small_fc's input; the last two are Celo's alone.
enum {
  F_G = 0,
  F_P = 1,
  F_M = 2,
  F_V = 5,
  F_MQ = 6,  // M_j * q with q = 1/sqrt(V + 1e-6)
  F_Q = 9,
  F_FG = 10,  // g * row factor * column factor
  F_ROW = 13,
  F_COL = 16,
  F_RROW = 19,  // 1/sqrt(row + 1e-8)
  F_RCOL = 22,
  F_MF = 25,  // M_j * row factor * column factor
  F_CLIP = 28,
  F_GQ = 29,
  F_COUNT = 30,
};
// Order of the features that differ for each element.
enum { D_G, D_P, D_M, D_V = 5, D_MQ = 6, D_Q = 9, D_FG = 10, D_MF = 13, D_CLIP = 16, D_GQ = 17, D_COUNT = 18 };
// Order of the features of one statistic: S_1..S_3, then 1/sqrt(S_j + 1e-8).
enum { S_RAW = 0, S_INVERSE = 3, S_COUNT = 6 };

// What a step knows before it sees a tensor.
typedef struct {
  int hidden;
  int outputs;  // columns of w2; 0 is the direction, 1 the magnitude
  const float *w0[F_COUNT];
  const float *w1, *b1, *w2, *b2;
  float b0[CK_ADAFAC_HIDDEN_MAX];
  float momentum[3], momentum_rest[3], rms, rms_rest, factored[3], factored_rest[3];
  float exp_multiplier, step_multiplier;
  bool scale_by_parameters;  // multiply a tensor's step by sqrt(mean p^2 + 1e-9)
} CK(opt_rule);

// What STAR knows of a tensor. A control is own * output + constant.
typedef struct {
  float own[3], constant[3], exp_multiplier[3];
  float nominal_step, weight_decay, gradient, momentum[3], normalised[3];
  bool normalise;
  bool gather;  // sum the outputs instead of moving the parameters
  int64_t gathered;
  vf part[3];
  double sum[3];
} CK(opt_star_net);

// Vectors between two flushes of STAR's sums.
enum { OPT_STAR_FLUSH = 1024 };

static void CK(opt_star_flush)(CK(opt_star_net) * star) {
  for (int k = 0; k < 3; k++) {
    star->sum[k] += opt_sum(star->part[k]);
    star->part[k] = (vf){0};
  }
  star->gathered = 0;
}

// The network of one tensor, its normalisers folded in. `line` and `lane` hold the weights of the two statistics; of a
// tensor that is not factored, `line` holds the sum of the row's and the column's.
typedef struct {
  const CK(opt_rule) * rule;
  float dense[D_COUNT * CK_ADAFAC_HIDDEN_MAX];
  float line[S_COUNT * CK_ADAFAC_HIDDEN_MAX];
  float lane[S_COUNT * CK_ADAFAC_HIDDEN_MAX];
  float step;
  CK(opt_star_net) * star;  // STAR's alone
} CK(opt_net);

// Where the current tensor's numbers are. Momentum planes are `plane` floats apart.
typedef struct {
  float *p;
  const float *g;
  float *m;
  float *v;
  int64_t plane;
  // How far ahead pass 2, which waits for memory and not for arithmetic, asks for its six streams; 0 for tensors that
  // the caches near the core hold.
  int64_t ahead;
} CK(opt_at);

enum { OPT_AHEAD = 768, OPT_AHEAD_COUNT_MIN = 32768 };

#define OPT_UNROLL _Pragma("clang loop unroll(full)")

// Pass 2 on `units` vectors (or on the first n lanes of one) at element e. fg and fm are the factors of g and of M_j.
CK_INLINE void CK(opt_accumulate)(const bool celo, const int units, const bool part, const int n,
                                  const CK(opt_rule) * rule, const CK(opt_at) * at, int64_t e, const vf fg[3][2],
                                  const vf fm[3][2], vf sum[D_COUNT]) {
  OPT_UNROLL for (int u = 0; u < units; u++) {
    const int64_t i = e + u * W;
    if (!part && at->ahead) {
      const int64_t next = i + at->ahead;
      __builtin_prefetch(at->g + next);
      __builtin_prefetch(at->p + next);
      __builtin_prefetch(at->v + next);
      OPT_UNROLL for (int j = 0; j < 3; j++) __builtin_prefetch(at->m + j * at->plane + next);
    }
    const vf g = CK(opt_gradient)(at->g + i, celo, part, n);
    const vf p = opt_load(at->p + i, part, n);
    const vf g2 = g * g;
    sum[D_G] += g2;
    sum[D_P] = vfma(p, p, sum[D_P]);
    const vf v = vfma(vset1(rule->rms), opt_load(at->v + i, part, n), vset1(rule->rms_rest) * g2);
    opt_store(at->v + i, v, part, n);
    sum[D_V] = vfma(v, v, sum[D_V]);
    const vf q2 = 1.0f / (v + 1e-6f);
    const vf q2_counted = part ? opt_keep(q2, n) : q2;
    sum[D_Q] += q2_counted;
    OPT_UNROLL for (int j = 0; j < 3; j++) {
      float *plane = at->m + j * at->plane + i;
      const vf m = vfma(vset1(rule->momentum[j]), opt_load(plane, part, n), vset1(rule->momentum_rest[j]) * g);
      opt_store(plane, m, part, n);
      const vf m2 = m * m;
      sum[D_M + j] += m2;
      sum[D_MQ + j] = vfma(m2, q2, sum[D_MQ + j]);
      const vf x = g * fg[j][u];
      sum[D_FG + j] = vfma(x, x, sum[D_FG + j]);
      const vf y = m * fm[j][u];
      sum[D_MF + j] = vfma(y, y, sum[D_MF + j]);
    }
    if (celo) {
      const vf c = opt_clamp(g, -0.1f, 0.1f);
      sum[D_CLIP] = vfma(c, c, sum[D_CLIP]);
      sum[D_GQ] = vfma(g2, q2, sum[D_GQ]);
    }
  }
}

// Which rule a kernel is for; a constant at every call.
enum { OPT_SMALL_FC, OPT_STAR, OPT_CELO };
CK_INLINE int opt_outputs(const int kind) { return kind == OPT_STAR ? 4 : 2; }

// What STAR does with the network's outputs (d, a, b, c) at one vector of parameters. `gather` sums a, b and c instead.
// Kept out of line: it is called from many places, and its three exponentials hide the call.
static __attribute__((noinline)) void CK(opt_move_star)(const CK(opt_net) * net, const CK(opt_at) * at, int64_t i,
                                                        const vf *out, vf q, bool part, int n) {
  CK(opt_star_net) *star = net->star;
  if (star->gather) {
    OPT_UNROLL for (int k = 0; k < 3; k++) star->part[k] += part ? opt_keep(out[1 + k], n) : out[1 + k];
    if (++star->gathered < OPT_STAR_FLUSH) return;
    CK(opt_star_flush)(star);
    return;
  }
  vf control[3];
  OPT_UNROLL for (int k = 0; k < 3; k++) control[k] = vfma(out[1 + k], vset1(star->own[k]), vset1(star->constant[k]));
  const vf p = opt_load(at->p + i, part, n);
  vf moved = p;
  if (star->weight_decay != 0) {
    const vf decay = opt_exp(control[2] * star->exp_multiplier[2]) * star->weight_decay;
    moved = (1.0f - decay) * p;
  }
  vf step = out[0] * opt_exp(control[0] * star->exp_multiplier[0]) * net->step;
  if (star->normalise) step *= q;
  moved -= step;
  if (star->nominal_step != 0) {
    vf direction = opt_load(at->g + i, part, n) * star->gradient;
    vf normalised = {0};
    OPT_UNROLL for (int j = 0; j < 3; j++) {
      const vf m = opt_load(at->m + j * at->plane + i, part, n);
      direction = vfma(m, vset1(star->momentum[j]), direction);
      normalised = vfma(m, vset1(star->normalised[j]), normalised);
    }
    direction = vfma(q, normalised, direction);
    moved -= opt_exp(control[1] * star->exp_multiplier[1]) * star->nominal_step * direction;
  }
  opt_store(at->p + i, moved, part, n);
}

// The last layer's outputs as a step: direction * exp(magnitude * multiplier) * multiplier.
CK_INLINE void CK(opt_move)(const int kind, const CK(opt_net) * net, const CK(opt_at) * at, int64_t i, const vf *out,
                            vf q, const bool part, const int n) {
  if (kind == OPT_STAR) {
    CK(opt_move_star)(net, at, i, out, q, part, n);
    return;
  }
  const vf scale = opt_exp(out[1] * net->rule->exp_multiplier) * net->step;
  opt_store(at->p + i, opt_load(at->p + i, part, n) - out[0] * scale, part, n);
}

// Pass 3 for four hidden units, all in registers. acc enters holding the first layer's bias.
CK_INLINE void CK(opt_apply_4)(const int kind, const int units, const bool part, const int n, const CK(opt_net) * net,
                               const CK(opt_at) * at, int64_t e, const vf fg[3][2], const vf fm[3][2], vf acc[4][2]) {
  const bool celo = kind == OPT_CELO;
  const float *w = net->dense;
  vf with_q[4][2], q[2], g[2];
  OPT_UNROLL for (int u = 0; u < units; u++) {
    const int64_t i = e + u * W;
    g[u] = CK(opt_gradient)(at->g + i, celo, part, n);
    const vf p = opt_load(at->p + i, part, n);
    const vf v = opt_load(at->v + i, part, n);
    q[u] = opt_rsqrt(v + 1e-6f);
    OPT_UNROLL for (int k = 0; k < 4; k++) {
      acc[k][u] = vfma(g[u], vset1(w[D_G * 4 + k]), acc[k][u]);
      acc[k][u] = vfma(p, vset1(w[D_P * 4 + k]), acc[k][u]);
      acc[k][u] = vfma(v, vset1(w[D_V * 4 + k]), acc[k][u]);
      with_q[k][u] = vset1(w[D_Q * 4 + k]);
      if (celo) with_q[k][u] = vfma(g[u], vset1(w[D_GQ * 4 + k]), with_q[k][u]);
    }
    if (celo) {
      const vf c = opt_clamp(g[u], -0.1f, 0.1f);
      OPT_UNROLL for (int k = 0; k < 4; k++) acc[k][u] = vfma(c, vset1(w[D_CLIP * 4 + k]), acc[k][u]);
    }
  }
  OPT_UNROLL for (int j = 0; j < 3; j++) {
    OPT_UNROLL for (int u = 0; u < units; u++) {
      const vf m = opt_load(at->m + j * at->plane + e + u * W, part, n);
      const vf x = g[u] * fg[j][u];
      const vf y = m * fm[j][u];
      OPT_UNROLL for (int k = 0; k < 4; k++) {
        acc[k][u] = vfma(m, vset1(w[(D_M + j) * 4 + k]), acc[k][u]);
        acc[k][u] = vfma(x, vset1(w[(D_FG + j) * 4 + k]), acc[k][u]);
        acc[k][u] = vfma(y, vset1(w[(D_MF + j) * 4 + k]), acc[k][u]);
        with_q[k][u] = vfma(m, vset1(w[(D_MQ + j) * 4 + k]), with_q[k][u]);
      }
    }
  }
  const CK(opt_rule) *rule = net->rule;
  vf second[4][2];
  OPT_UNROLL for (int k = 0; k < 4; k++)
    OPT_UNROLL for (int u = 0; u < units; u++) {
      second[k][u] = vset1(rule->b1[k]);
      acc[k][u] = opt_relu(vfma(q[u], with_q[k][u], acc[k][u]));
    }
  OPT_UNROLL for (int i = 0; i < 4; i++)
    OPT_UNROLL for (int k = 0; k < 4; k++)
      OPT_UNROLL for (int u = 0; u < units; u++)
        second[k][u] = vfma(acc[i][u], vset1(rule->w1[i * 4 + k]), second[k][u]);
  OPT_UNROLL for (int u = 0; u < units; u++) {
    vf out[4];
    OPT_UNROLL for (int o = 0; o < opt_outputs(kind); o++) out[o] = vset1(rule->b2[o]);
    OPT_UNROLL for (int k = 0; k < 4; k++) {
      const vf h = opt_relu(second[k][u]);
      OPT_UNROLL for (int o = 0; o < opt_outputs(kind); o++)
        out[o] = vfma(h, vset1(rule->w2[k * rule->outputs + o]), out[o]);
    }
    CK(opt_move)(kind, net, at, e + u * W, out, q[u], part, n);
  }
}

// out[k] = relu(out[k] + sum over i of in[i] * w[i * stride + k]) for `count` neighbouring k, at most 4: a block that
// stays in registers.
CK_INLINE void CK(opt_layer_block)(const int units, const int count, const vf (*in)[2], const int inputs,
                                   const float *w, const int stride, vf (*out)[2]) {
  vf acc[4][2];
  OPT_UNROLL for (int k = 0; k < count; k++)
    OPT_UNROLL for (int u = 0; u < units; u++) acc[k][u] = out[k][u];
  for (int i = 0; i < inputs; i++)
    OPT_UNROLL for (int k = 0; k < count; k++)
      OPT_UNROLL for (int u = 0; u < units; u++) acc[k][u] = vfma(in[i][u], vset1(w[i * stride + k]), acc[k][u]);
  OPT_UNROLL for (int k = 0; k < count; k++)
    OPT_UNROLL for (int u = 0; u < units; u++) out[k][u] = opt_relu(acc[k][u]);
}

// out = relu(out + in w), w: [inputs, n].
CK_INLINE void CK(opt_layer)(const int units, const vf (*in)[2], const int inputs, const float *w, const int n,
                             vf (*out)[2]) {
  int k = 0;
  for (; k + 4 <= n; k += 4) CK(opt_layer_block)(units, 4, in, inputs, w + k, n, out + k);
  for (; k < n; k++) CK(opt_layer_block)(units, 1, in, inputs, w + k, n, out + k);
}

// Pass 3 for any number of hidden units. first[] enters holding the first layer's bias.
CK_INLINE void CK(opt_apply_wide)(const int kind, const int units, const bool part, const int n,
                                  const CK(opt_net) * net, const CK(opt_at) * at, int64_t e, const vf fg[3][2],
                                  const vf fm[3][2], vf (*first)[2]) {
  const CK(opt_rule) *rule = net->rule;
  const int hidden = rule->hidden;
  const bool celo = kind == OPT_CELO;
  vf x[D_COUNT][2];
  OPT_UNROLL for (int u = 0; u < units; u++) {
    const int64_t i = e + u * W;
    x[D_G][u] = CK(opt_gradient)(at->g + i, celo, part, n);
    x[D_P][u] = opt_load(at->p + i, part, n);
    x[D_V][u] = opt_load(at->v + i, part, n);
    x[D_Q][u] = opt_rsqrt(x[D_V][u] + 1e-6f);
    OPT_UNROLL for (int j = 0; j < 3; j++) {
      x[D_M + j][u] = opt_load(at->m + j * at->plane + i, part, n);
      x[D_MQ + j][u] = x[D_M + j][u] * x[D_Q][u];
      x[D_FG + j][u] = x[D_G][u] * fg[j][u];
      x[D_MF + j][u] = x[D_M + j][u] * fm[j][u];
    }
    if (celo) {
      x[D_CLIP][u] = opt_clamp(x[D_G][u], -0.1f, 0.1f);
      x[D_GQ][u] = x[D_G][u] * x[D_Q][u];
    }
  }
  CK(opt_layer)(units, (const vf(*)[2])x, celo ? D_COUNT : D_CLIP, net->dense, hidden, first);
  vf second[CK_ADAFAC_HIDDEN_MAX][2];
  for (int k = 0; k < hidden; k++)
    OPT_UNROLL for (int u = 0; u < units; u++) second[k][u] = vset1(rule->b1[k]);
  CK(opt_layer)(units, (const vf(*)[2])first, hidden, rule->w1, hidden, second);
  OPT_UNROLL for (int u = 0; u < units; u++) {
    vf out[4];
    OPT_UNROLL for (int o = 0; o < opt_outputs(kind); o++) out[o] = vset1(rule->b2[o]);
    for (int k = 0; k < hidden; k++)
      OPT_UNROLL for (int o = 0; o < opt_outputs(kind); o++)
        out[o] = vfma(second[k][u], vset1(rule->w2[k * rule->outputs + o]), out[o]);
    CK(opt_move)(kind, net, at, e + u * W, out, x[D_Q][u], part, n);
  }
}
