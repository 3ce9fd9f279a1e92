// NN-Adam: Adam without bias correction whose four constants an LSTM sets, tensor by tensor, from statistics of the
// tensor (Metz et al. 2022, arXiv 2203.11860). The constants that it sets act from the next update on.

enum { NN_ADAM_FEATURES = 19 };

// Each variable is summed as its distance from a pivot, so that the variance of numbers far from zero does not cancel.
enum { N_G, N_M, N_P, N_V, N_VARIABLES, N_SUM = 0, N_SQUARE = N_VARIABLES, N_G_SIZE = 2 * N_VARIABLES, N_SUMS };

typedef struct {
  vf b1, rest1, b2, rest2, rate, epsilon, pivot[N_VARIABLES];
} CK(opt_nn_adam_constants);

CK_INLINE void CK(opt_nn_adam_step)(float *p, const float *g, float *m, float *v,
                                    const CK(opt_nn_adam_constants) * k, const bool part, const int n,
                                    vf sum[N_SUMS]) {
  const vf gi = CK(opt_gradient)(g, true, part, n), pi = opt_load(p, part, n);
  const vf m1 = vfma(k->b1, opt_load(m, part, n), k->rest1 * gi);
  const vf v1 = vfma(k->b2, opt_load(v, part, n), k->rest2 * (gi * gi));
  opt_store(m, m1, part, n);
  opt_store(v, v1, part, n);
  opt_store(p, pi - k->rate * m1 / (k->epsilon + vsqrt(v1 + 1e-10f)), part, n);
  const vf variable[N_VARIABLES] = {gi, m1, pi, v1};
  OPT_UNROLL for (int q = 0; q < N_VARIABLES; q++) {
    vf distance = variable[q] - k->pivot[q];
    if (part) distance = opt_keep(distance, n);
    sum[N_SUM + q] += distance;
    sum[N_SQUARE + q] = vfma(distance, distance, sum[N_SQUARE + q]);
  }
  sum[N_G_SIZE] += vabs(gi);
}

// Half of the log magnitude.
CK_INLINE float CK(opt_half_log)(float x) { return 0.5f * CK(opt_log_magnitude)(x); }

CK_INLINE float CK(opt_within)(float x, float low, float high) { return x < low ? low : x > high ? high : x; }

// A tensor's four constants as they act, from the state's scaled logarithms.
typedef struct {
  float rate, beta1, beta2, epsilon;
} CK(opt_nn_adam_decoded);

CK_INLINE CK(opt_nn_adam_decoded) CK(opt_nn_adam_decode)(const float code[4]) {
  return (CK(opt_nn_adam_decoded)){
      CK(opt_within)(expf(10.0f * code[0]), 1e-8f, 1e3f),
      1.0f - expf(CK(opt_within)(10.0f * code[1], -10.0f, 0.0f)),
      1.0f - expf(CK(opt_within)(10.0f * code[2], -10.0f, 0.0f)),
      CK(opt_within)(expf(10.0f * code[3]), 1e-11f, 1e4f),
  };
}

// Adam on one tensor, and what the LSTM is to know of it: features[0..19).
static void CK(opt_nn_adam_tensor)(const ck_nn_adam_tensor *t, const float code[4], float *p, const float *g, float *m,
                                   float *v, float *features) {
  const int64_t count = t->count;
  const CK(opt_nn_adam_decoded) now = CK(opt_nn_adam_decode)(code);
  const float rest1 = 1.0f - now.beta1, rest2 = 1.0f - now.beta2;
  float pivot[N_VARIABLES];
  pivot[N_G] = CK(opt_within)(g[0], -1000.0f, 1000.0f);
  pivot[N_M] = now.beta1 * m[0] + rest1 * pivot[N_G];
  pivot[N_P] = p[0];
  pivot[N_V] = now.beta2 * v[0] + rest2 * (pivot[N_G] * pivot[N_G]);
  CK(opt_nn_adam_constants) k = {
      vset1(now.beta1),   vset1(rest1), vset1(now.beta2), vset1(rest2), vset1(now.rate * (1.0f + now.epsilon)),
      vset1(now.epsilon), {{0}},
  };
  for (int q = 0; q < N_VARIABLES; q++) k.pivot[q] = vset1(pivot[q]);
  double total[N_SUMS] = {0};
  for (int64_t from = 0; from < count; from += OPT_FLUSH_ELEMENTS) {
    const int64_t to = count - from < OPT_FLUSH_ELEMENTS ? count : from + OPT_FLUSH_ELEMENTS;
    vf sum[N_SUMS];
    OPT_UNROLL for (int q = 0; q < N_SUMS; q++) sum[q] = (vf){0};
    int64_t e = from;
    for (; e + W <= to; e += W) CK(opt_nn_adam_step)(p + e, g + e, m + e, v + e, &k, false, W, sum);
    if (e < to) CK(opt_nn_adam_step)(p + e, g + e, m + e, v + e, &k, true, (int)(to - e), sum);
    OPT_UNROLL for (int q = 0; q < N_SUMS; q++) total[q] += opt_sum(sum[q]);
  }
  float mean[N_VARIABLES], variance[N_VARIABLES];
  for (int q = 0; q < N_VARIABLES; q++) {
    const double distance = total[N_SUM + q] / (double)count;
    mean[q] = (float)((double)pivot[q] + distance);
    variance[q] = (float)(total[N_SQUARE + q] / (double)count - distance * distance);
  }
  const float alphabetical[NN_ADAM_FEATURES] = {
      0.2f * CK(opt_within)(code[1], -5.0f, 5.0f),
      0.2f * CK(opt_within)(code[2], -5.0f, 5.0f),
      0.2f * CK(opt_within)(code[3], -5.0f, 5.0f),
      t->rank == 1 ? 1.0f : -1.0f,
      t->rank == 0 ? 1.0f : -1.0f,
      0.2f * CK(opt_within)(code[0], -5.0f, 5.0f),
      CK(opt_half_log)(mean[N_G]),
      CK(opt_sign)(mean[N_G]),
      CK(opt_half_log)((float)(total[N_G_SIZE] / (double)count)),
      CK(opt_half_log)(mean[N_M]),
      CK(opt_sign)(mean[N_M]),
      CK(opt_half_log)(mean[N_P]),
      CK(opt_sign)(mean[N_P]),
      CK(opt_half_log)(mean[N_V]),
      CK(opt_sign)(mean[N_V]),
      CK(opt_half_log)(variance[N_G]),
      CK(opt_half_log)(variance[N_M]),
      CK(opt_half_log)(variance[N_P]),
      CK(opt_half_log)(variance[N_V]),
  };
  memcpy(features, alphabetical, sizeof alphabetical);
}

static void CK(opt_nn_adam)(const ck_nn_adam *rule, const ck_nn_adam_tensor *tensors, int64_t tensor_count,
                            float *parameters, const float *gradients, float *state, const float *theta,
                            float *scratch) {
  const int64_t units = rule->lstm_hidden;
  float *x = scratch, *z = scratch + tensor_count * NN_ADAM_FEATURES;
  // Slots of [tensors]: the scaled logarithms of rate, 1 - beta1, 1 - beta2 and epsilon.
  float *slot[4];
  for (int q = 0; q < 4; q++) slot[q] = state + rule->slots[q];
  for (int64_t i = 0; i < tensor_count; i++) {
    const ck_nn_adam_tensor *t = tensors + i;
    const float code[4] = {slot[0][i], slot[1][i], slot[2][i], slot[3][i]};
    CK(opt_nn_adam_tensor)(t, code, parameters + t->parameter, gradients + t->parameter, state + t->momentum,
                           state + t->rms, x + i * NN_ADAM_FEATURES);
  }
  float *hidden = state + rule->hidden;
  CK(opt_lstm)(tensor_count, NN_ADAM_FEATURES, units, x, theta + rule->gates_w, theta + rule->gates_b, hidden,
               state + rule->cell, z);
  CK(opt_affine)(tensor_count, 4, units, hidden, units, theta + rule->controls_w, theta + rule->controls_b, z);
  for (int64_t i = 0; i < tensor_count; i++) {
    float code[4];
    for (int q = 0; q < 4; q++) {
      code[q] = slot[q][i] + rule->output_scale * z[4 * i + q];
      if (rule->decay_strength > 0)
        code[q] = code[q] - rule->decay_strength * (code[q] - theta[rule->initial[q]]);
    }
    // Kept in range by what they mean.
    const CK(opt_nn_adam_decoded) next = CK(opt_nn_adam_decode)(code);
    slot[0][i] = 0.1f * logf(next.rate);
    slot[1][i] = 0.1f * logf(1.0f - next.beta1);
    slot[2][i] = 0.1f * logf(1.0f - next.beta2);
    slot[3][i] = 0.1f * logf(next.epsilon);
  }
}
