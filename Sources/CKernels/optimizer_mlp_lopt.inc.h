// MLPLOpt (Metz et al. 2019, arXiv 1810.10180): a network on the gradient, the parameter, six momenta and the time.

enum { MLP_FEATURES = 2 + CK_MLP_DECAYS };

// The features of one vector: g, p, then the momenta, which `update` brings up to date first.
CK_INLINE void CK(opt_mlp_features)(const bool update, const float *p, const float *g, float *m, int64_t plane,
                                    const bool part, const int n, vf x[MLP_FEATURES]) {
  static const float decays[CK_MLP_DECAYS] = {0.1f, 0.5f, 0.9f, 0.99f, 0.999f, 0.9999f};
  x[0] = opt_load(g, part, n);
  x[1] = opt_load(p, part, n);
  OPT_UNROLL for (int j = 0; j < CK_MLP_DECAYS; j++) {
    float *place = m + j * plane;
    vf momentum = opt_load(place, part, n);
    if (update) {
      momentum = vfma(vset1(decays[j]), momentum, vset1(1.0f - decays[j]) * x[0]);
      opt_store(place, momentum, part, n);
    }
    x[2 + j] = momentum;
  }
}

CK_INLINE void CK(opt_mlp_accumulate)(const float *p, const float *g, float *m, int64_t plane, const bool part,
                                      const int n, vf sum[MLP_FEATURES]) {
  vf x[MLP_FEATURES];
  CK(opt_mlp_features)(true, p, g, m, plane, part, n, x);
  OPT_UNROLL for (int f = 0; f < MLP_FEATURES; f++) sum[f] = vfma(x[f], x[f], sum[f]);
}

// Pass 1: momenta, and the features' sums of squares.
static void CK(opt_mlp_sums)(const float *p, const float *g, float *m, int64_t count, double total[MLP_FEATURES]) {
  for (int64_t from = 0; from < count; from += OPT_FLUSH_ELEMENTS) {
    const int64_t to = count - from < OPT_FLUSH_ELEMENTS ? count : from + OPT_FLUSH_ELEMENTS;
    vf sum[MLP_FEATURES];
    OPT_UNROLL for (int f = 0; f < MLP_FEATURES; f++) sum[f] = (vf){0};
    int64_t e = from;
    for (; e + W <= to; e += W) CK(opt_mlp_accumulate)(p + e, g + e, m + e, count, false, W, sum);
    if (e < to) CK(opt_mlp_accumulate)(p + e, g + e, m + e, count, true, (int)(to - e), sum);
    OPT_UNROLL for (int f = 0; f < MLP_FEATURES; f++) total[f] += opt_sum(sum[f]);
  }
}

CK_INLINE void CK(opt_mlp_apply)(const int units, const bool part, const int n, const CK(opt_perceptron) * net,
                                 float *p, const float *g, float *m, int64_t plane) {
  vf x[MLP_FEATURES][2], second[CK_ADAFAC_HIDDEN_MAX][2];
  OPT_UNROLL for (int u = 0; u < units; u++) {
    vf one[MLP_FEATURES];
    CK(opt_mlp_features)(false, p + u * W, g + u * W, m + u * W, plane, part, n, one);
    OPT_UNROLL for (int f = 0; f < MLP_FEATURES; f++) x[f][u] = one[f];
  }
  CK(opt_perceptron_move)(units, part, n, net, (const vf(*)[2])x, p, second);
}

static void CK(opt_mlp_lopt)(const ck_mlp_lopt *rule, const ck_mlp_tensor *tensors, int64_t tensor_count,
                             float *parameters, const float *gradients, float *state, const float *theta,
                             int64_t iteration) {
  const int hidden = rule->hidden;
  const float *w0 = theta + rule->w0;
  CK(opt_perceptron) net;
  net.inputs = MLP_FEATURES;
  net.hidden = hidden;
  net.outputs = 2;
  net.w1 = theta + rule->w1;
  net.b1 = theta + rule->b1;
  net.w2 = theta + rule->w2;
  net.b2 = theta + rule->b2;
  net.exp_multiplier = rule->exp_multiplier;
  net.step_multiplier = rule->step_multiplier;
  memcpy(net.b0, theta + rule->b0, (size_t)hidden * 4);
  CK(opt_time_bias)(iteration, w0 + MLP_FEATURES * hidden, hidden, net.b0);
  for (int64_t i = 0; i < tensor_count; i++) {
    const ck_mlp_tensor *t = tensors + i;
    float *p = parameters + t->parameter, *m = state + t->momentum;
    const float *g = gradients + t->parameter;
    double total[MLP_FEATURES] = {0};
    CK(opt_mlp_sums)(p, g, m, t->count, total);
    CK(opt_perceptron_fold)(&net, w0, total, MLP_FEATURES, 1.0 / (double)t->count);
    int64_t e = 0;
    for (; e + 2 * W <= t->count; e += 2 * W) CK(opt_mlp_apply)(2, false, W, &net, p + e, g + e, m + e, t->count);
    if (e + W <= t->count) {
      CK(opt_mlp_apply)(1, false, W, &net, p + e, g + e, m + e, t->count);
      e += W;
    }
    if (e < t->count) CK(opt_mlp_apply)(1, true, (int)(t->count - e), &net, p + e, g + e, m + e, t->count);
  }
}
