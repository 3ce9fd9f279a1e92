// small_fc: AdafacMLP of Metz et al. 2022 (arXiv 2203.11860), and STAR, which builds on it. The step's own work: decays
// and time features.

// Decays of theta: 1 - exp(10 * (ln(1 - initial)/10 + offset)). `logs` are ln(1 - initial)/10 in float32, as the
// reference computes them.
CK_INLINE void CK(opt_decays)(const float *offsets, const float *logs, const int n, bool clip, float *decay,
                              float *rest) {
  vf x = {0};
  for (int j = 0; j < n; j++) x[j] = 10.0f * (logs[j] + offsets[j]);
  x = opt_exp(x);
  for (int j = 0; j < n; j++) {
    float d = 1.0f - x[j];
    // Written so that a NaN stays.
    if (clip) d = d < 0.0f ? 0.0f : d > 1.0f ? 1.0f : d;
    decay[j] = d;
    rest[j] = 1.0f - d;
  }
}

// bias[k] += sum over i of w[i][k] * tanh(t / tau_i - 1), tau = 1, 3, 10, ... 100000: the features that tell the time.
CK_INLINE void CK(opt_time_bias)(int64_t iteration, const float *w, const int hidden, float *bias) {
  enum { TIMES = 11 };
  static const float scales[16] = {1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000, 1, 1, 1, 1, 1};
  float feature[16];
  for (int i = 0; i < 16; i += W) vstore(feature + i, opt_tanh((float)iteration / vload(scales + i) - 1.0f));
  for (int i = 0; i < TIMES; i++) opt_row(bias, bias, w + i * hidden, feature[i], hidden);
}

// The rule of this step from theta; `outputs` are the columns of w2.
static CK(opt_rule) CK(opt_small_fc_rule)(const ck_small_fc *small, const int outputs, const float *theta,
                                          int64_t iteration) {
  // For 0.9, 0.99 and 0.999.
  static const float logs[3] = {-0.230258495f, -0.460517108f, -0.690776825f};
  const int hidden = small->hidden;
  CK(opt_rule) rule;
  rule.hidden = hidden;
  rule.outputs = outputs;
  rule.exp_multiplier = small->exp_multiplier;
  rule.step_multiplier = small->step_multiplier;
  rule.scale_by_parameters = false;
  for (int f = 0; f < F_CLIP; f++) rule.w0[f] = theta + small->w0 + f * hidden;
  rule.w0[F_CLIP] = rule.w0[F_GQ] = 0;
  rule.w1 = theta + small->w1;
  rule.b1 = theta + small->b1;
  rule.w2 = theta + small->w2;
  rule.b2 = theta + small->b2;
  memcpy(rule.b0, theta + small->b0, (size_t)hidden * 4);
  const float *time = theta + small->w0 + F_CLIP * hidden;
  if (hidden == 4)
    CK(opt_time_bias)(iteration, time, 4, rule.b0);
  else
    CK(opt_time_bias)(iteration, time, hidden, rule.b0);
  CK(opt_decays)(theta + small->momentum_decays, logs, 3, false, rule.momentum, rule.momentum_rest);
  CK(opt_decays)(theta + small->rms_decays, logs + 2, 1, true, &rule.rms, &rule.rms_rest);
  CK(opt_decays)(theta + small->adafactor_decays, logs, 3, true, rule.factored, rule.factored_rest);
  return rule;
}

static void CK(opt_small_fc)(const ck_small_fc *small, const ck_adafac_tensor *tensors, int64_t tensor_count,
                             float *parameters, const float *gradients, float *state, const float *theta,
                             float *scratch, int64_t iteration) {
  const CK(opt_rule) rule = CK(opt_small_fc_rule)(small, 2, theta, iteration);
  for (int64_t i = 0; i < tensor_count; i++)
    if (rule.hidden == 4)
      CK(opt_update_tensor)(OPT_SMALL_FC, true, &rule, 0, tensors + i, parameters, gradients, state, scratch);
    else
      CK(opt_update_tensor)(OPT_SMALL_FC, false, &rule, 0, tensors + i, parameters, gradients, state, scratch);
}

// STAR (Harrison et al. 2022, arXiv 2209.11208): the same network beside a nominal rule and a decay.
static void CK(opt_star)(const ck_star *star, const ck_adafac_tensor *tensors, int64_t tensor_count, float *parameters,
                         const float *gradients, float *state, const float *theta, float *scratch, int64_t iteration) {
  const CK(opt_rule) rule = CK(opt_small_fc_rule)(&star->network, 4, theta, iteration);
  for (int64_t i = 0; i < tensor_count; i++)
    if (rule.hidden == 4)
      CK(opt_update_tensor)(OPT_STAR, true, &rule, star, tensors + i, parameters, gradients, state, scratch);
    else
      CK(opt_update_tensor)(OPT_STAR, false, &rule, star, tensors + i, parameters, gradients, state, scratch);
}
