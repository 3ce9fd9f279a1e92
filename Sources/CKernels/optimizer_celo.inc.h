// Celo (Moudgil et al. 2025, arXiv 2501.12670): an LSTM that schedules the learning rate from the loss and chooses the
// network, and the same per-parameter network as small_fc's on 30 features. Every tensor's LSTM row has the same inputs
// and the same start, so one row is run.

// The scheduler: one LSTM step on [time (9), loss features (9)]; gives the learning-rate multiplier. The LSTM's output
// is its new state.
static float CK(opt_celo_schedule)(const ck_celo_scheduler *celo, float *state, const float *theta, int64_t iteration,
                                   int64_t total_steps, float loss) {
  enum { INPUTS = OPT_TIMES + CK_LOSS_DECAYS - 1 };
  float memory[CK_LSTM_INPUTS + 7 * CK_LSTM_HIDDEN_MAX + 1];
  const CK(opt_rows) r = CK(opt_carve_rows)(celo, 1, memory);
  CK(opt_time_features)(iteration, total_steps, r.input);
  CK(opt_loss_features)(celo, state, total_steps, loss, r.input + OPT_TIMES);
  CK(opt_mix)(celo, &r, 1, INPUTS, 0, theta);
  CK(opt_lstm_rows)(celo, &r, 1, false, state, theta);
  const vf multiplier = opt_exp(vset1(r.multiplier[0]));
  return 0.1f * multiplier[0];
}

// x becomes softmax(x) / n.
static void CK(opt_softmax_mean)(float *x, int64_t n) {
  float most = x[0];
  for (int64_t i = 1; i < n; i++)
    if (x[i] > most || x[i] != x[i]) most = x[i];
  double sum = 0;
  for (int64_t i = 0; i < n; i += W) {
    const bool part = n - i < W;
    const int lanes = part ? (int)(n - i) : W;
    const vf y = opt_exp(opt_load(x + i, part, lanes) - most);
    sum += opt_sum(part ? opt_keep(y, lanes) : y);
    opt_store(x + i, y, part, lanes);
  }
  const float scale = (float)(1.0 / (sum * (double)n));
  for (int64_t i = 0; i < n; i++) x[i] *= scale;
}

static void CK(opt_celo)(const ck_celo *celo, const ck_adafac_tensor *tensors, int64_t tensor_count, float *parameters,
                         const float *gradients, float *state, const float *theta, float *scratch, int64_t iteration,
                         int64_t total_steps, float loss) {
  const ck_bank *bank = &celo->bank;
  const int64_t h = celo->scheduler.lstm_hidden;
  const float multiplier = CK(opt_celo_schedule)(&celo->scheduler, state, theta, iteration, total_steps, loss);
  const CK(opt_networks) one = CK(opt_carve_networks)(1, scratch);
  // The softmax of a single control is 1.
  const bool controlled = bank->networks > 1;
  if (controlled) {
    CK(opt_affine)(1, bank->networks, h, state + celo->scheduler.hidden, h, theta + bank->controls_w,
                   theta + bank->controls_b, one.controls);
    CK(opt_softmax_mean)(one.controls, bank->networks);
  }
  CK(opt_blend_bank)(bank, &one, 1, controlled, theta);
  const CK(opt_rule) rule = CK(opt_bank_rule)(bank, one.network, celo->scheduled ? multiplier : 1.0f);
  for (int64_t i = 0; i < tensor_count; i++)
    CK(opt_update_banked)(&rule, tensors + i, parameters, gradients, state, scratch + ck_bank_rows(bank, 1));
}
