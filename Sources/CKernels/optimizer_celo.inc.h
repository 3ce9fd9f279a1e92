// Celo (Moudgil et al. 2025, arXiv 2501.12670): an LSTM that schedules the learning rate from the loss, and the same
// per-parameter network as small_fc's on 30 features. Every tensor's LSTM row has the same inputs and the same start,
// so one row is run.

// x^n as the reference's float32 power.
CK_INLINE float CK(opt_power)(float x, float n) { return powf(x, n); }

// The loss buffer's update with this loss, then its nine features.
static void CK(opt_celo_loss)(const ck_celo_scheduler *celo, float *state, int64_t total_steps, float loss,
                              float *features) {
  float *mean = state + celo->loss_means, *minimum = state + celo->loss_minima, *decay = state + celo->loss_decays;
  float *count = state + celo->loss_count;
  // The decays span time constants from 10 updates to the run's length, evenly in the logarithm; zero marks a buffer
  // that no loss has entered yet.
  if (decay[0] == 0) {
    const float last = log10f((float)total_steps);
    for (int j = 0; j < CK_LOSS_DECAYS; j++) {
      const float along = (float)j / (CK_LOSS_DECAYS - 1);
      const float exponent = 1.0f - along + along * last;
      decay[j] = expf(-1.0f / powf(10.0f, exponent));
    }
  }
  float correction[CK_LOSS_DECAYS], largest = 0;
  for (int j = 0; j < CK_LOSS_DECAYS; j++) {
    correction[j] = 1.0f - CK(opt_power)(decay[j], *count + 1.0f);
    const float corrected = mean[j] / correction[j];
    if (j == 0 || corrected > largest || corrected != corrected) largest = corrected;
  }
  const float top = *count == 0 ? loss : largest;
  const float limit = 2.0f * fabsf(top);
  if (limit < loss || limit != limit) loss = limit;
  float corrected[CK_LOSS_DECAYS];
  for (int j = 0; j < CK_LOSS_DECAYS; j++) {
    mean[j] = decay[j] * mean[j] + (1.0f - decay[j]) * loss;
    corrected[j] = mean[j] / correction[j];
    if (corrected[j] < minimum[j] || corrected[j] != corrected[j]) minimum[j] = corrected[j];
  }
  *count += 1.0f;
  for (int j = 0; j + 1 < CK_LOSS_DECAYS; j++) {
    const float below = corrected[j + 1] - minimum[j];
    float f = (corrected[j] - minimum[j]) / (below > 1e-8f ? below : 1e-8f) - 1.0f;
    if (f > 1.0f) f = 1.0f;
    if (f < -1.0f) f = -1.0f;
    features[j] = *count <= 2.0f ? 0.0f : f;
  }
}

// out[0..n) = bias + x w, w: [inputs, n], n a multiple of 16.
CK_INLINE void CK(opt_linear)(const float *x, int inputs, const float *w, const float *bias, int n, float *out) {
  for (int c = 0; c < n; c += 16) {
    vf acc[16 / W];
    OPT_UNROLL for (int u = 0; u < 16 / W; u++) acc[u] = vload(bias + c + u * W);
    for (int i = 0; i < inputs; i++) {
      const float *row = w + (int64_t)i * n + c;
      OPT_UNROLL for (int u = 0; u < 16 / W; u++) acc[u] = vfma(vset1(x[i]), vload(row + u * W), acc[u]);
    }
    OPT_UNROLL for (int u = 0; u < 16 / W; u++) vstore(out + c + u * W, acc[u]);
  }
}

// z += x w, w: [inputs, n], n a multiple of 64; rows are read once, in order.
CK_INLINE void CK(opt_linear_wide)(const float *x, int inputs, const float *w, int n, float *z) {
  enum { COLUMNS = 64 / W };
  for (int c = 0; c < n; c += 64) {
    vf acc[COLUMNS];
    OPT_UNROLL for (int u = 0; u < COLUMNS; u++) acc[u] = vload(z + c + u * W);
    for (int i = 0; i < inputs; i++) {
      const float *row = w + (int64_t)i * n + c;
      const vf xi = vset1(x[i]);
      OPT_UNROLL for (int u = 0; u < COLUMNS; u++) acc[u] = vfma(xi, vload(row + u * W), acc[u]);
    }
    OPT_UNROLL for (int u = 0; u < COLUMNS; u++) vstore(z + c + u * W, acc[u]);
  }
}

// The scheduler: one LSTM step on [time (9), loss features (9)]; gives the learning-rate multiplier.
static float CK(opt_celo_schedule)(const ck_celo_scheduler *celo, float *state, const float *theta, int64_t iteration,
                                   int64_t total_steps, float loss) {
  enum { TIMES = 9, INPUTS = TIMES + CK_LOSS_DECAYS - 1 };
  static const float centres[16] = {0.03f, 0.1f, 0.2f, 0.4f, 0.6f, 0.8f, 0.9f, 1.0f, 1.1f};
  const int h = celo->lstm_hidden;
  float x[32];
  const float fraction = (float)iteration / (float)total_steps;
  for (int i = 0; i < 16; i += W) vstore(x + i, opt_tanh(10.0f * (fraction - vload(centres + i))));
  CK(opt_celo_loss)(celo, state, total_steps, loss, x + TIMES);

  float mixed[CK_LSTM_HIDDEN_MAX], other[CK_LSTM_HIDDEN_MAX], z[4 * CK_LSTM_HIDDEN_MAX];
  CK(opt_linear)(x, INPUTS, theta + celo->mix_max_w, theta + celo->mix_max_b, h, other);
  CK(opt_linear)(x, INPUTS, theta + celo->mix_direct_w, theta + celo->mix_direct_b, h, mixed);
  for (int i = 0; i < h; i += W) vstore(mixed + i, vload(mixed + i) + opt_relu(vload(other + i)));

  float *hidden = state + celo->hidden, *cell = state + celo->cell;
  const float *gates = theta + celo->gates_w;
  memcpy(z, theta + celo->gates_b, (size_t)(4 * h) * 4);
  CK(opt_linear_wide)(mixed, h, gates, 4 * h, z);
  CK(opt_linear_wide)(hidden, h, gates + (int64_t)h * 4 * h, 4 * h, z);
  vf product = {0};
  const float *out = theta + celo->step_size_w;
  for (int i = 0; i < h; i += W) {
    // Gates in the order input, candidate, forget, output; the forget gate's bias of 1 is not stored.
    const vf keep = opt_sigmoid(vload(z + 2 * h + i) + 1.0f) * vload(cell + i);
    const vf c = vfma(opt_sigmoid(vload(z + i)), opt_tanh(vload(z + h + i)), keep);
    const vf y = opt_sigmoid(vload(z + 3 * h + i)) * opt_tanh(c);
    vstore(cell + i, c);
    vstore(hidden + i, y);
    product = vfma(y, vload(out + i), product);
  }
  const vf multiplier = opt_exp(vset1(vsum(product) + theta[celo->step_size_b]));
  return 0.1f * multiplier[0];
}

static void CK(opt_celo)(const ck_celo *celo, const ck_adafac_tensor *tensors, int64_t tensor_count, float *parameters,
                         const float *gradients, float *state, const float *theta, float *scratch, int64_t iteration,
                         int64_t total_steps, float loss) {
  // Where each of the 14 groups of the published weights stands among the network's features, and its size.
  static const int group[14] = {F_G, F_CLIP, F_P, F_M, F_V, F_MQ, F_Q, F_FG, F_GQ, F_ROW, F_COL, F_RROW, F_RCOL, F_MF};
  static const int size[14] = {1, 1, 1, 3, 1, 3, 1, 3, 1, 3, 3, 3, 3, 3};
  static const float decays[3] = {0.9f, 0.99f, 0.999f};
  const float multiplier = CK(opt_celo_schedule)(&celo->scheduler, state, theta, iteration, total_steps, loss);
  CK(opt_rule) rule;
  rule.hidden = 4;
  rule.outputs = 3;
  rule.exp_multiplier = 0.001f;
  rule.step_multiplier = 0.001f * (celo->scheduled ? multiplier : 1.0f);
  rule.scale_by_parameters = true;
  for (int q = 0; q < 14; q++)
    for (int c = 0; c < size[q]; c++) rule.w0[group[q] + c] = theta + celo->w0[q] + c * 4;
  for (int k = 0; k < 4; k++) rule.b0[k] = theta[celo->b0 + k];
  rule.w1 = theta + celo->w1;
  rule.b1 = theta + celo->b1;
  rule.w2 = theta + celo->w2;
  rule.b2 = theta + celo->b2;
  for (int j = 0; j < 3; j++) {
    rule.momentum[j] = rule.factored[j] = decays[j];
    rule.momentum_rest[j] = rule.factored_rest[j] = 1.0f - decays[j];
  }
  rule.rms = 0.999f;
  rule.rms_rest = 1.0f - 0.999f;
  for (int64_t i = 0; i < tensor_count; i++)
    CK(opt_update_tensor)(true, true, &rule, tensors + i, parameters, gradients, state, scratch);
}
