// VeLO (Metz et al. 2022, arXiv 2211.09760): every tensor has a row of an LSTM, which sees the loss, the time and the
// tensor's statistics; its output blends a bank of networks into the tensor's own and gives its learning rate.

// Sums over a tensor's elements of p^2 and, for the three M_j and V, of x - c and (x - c)^2, where c is the tensor's
// first entry: the variance of equal entries is then exactly zero.
typedef struct {
  double square;
  double sum[4], square_sum[4];
  float centre[4];
} CK(opt_moments);

enum { OPT_MOMENTS = 9 };

CK_INLINE void CK(opt_add_moments)(const bool part, const int n, const CK(opt_at) * at, const CK(opt_moments) * m,
                                   int64_t e, vf sum[OPT_MOMENTS]) {
  const vf p = opt_load(at->p + e, part, n);
  sum[8] = vfma(p, p, sum[8]);
  OPT_UNROLL for (int j = 0; j < 4; j++) {
    vf x = opt_load(j < 3 ? at->m + j * at->plane + e : at->v + e, part, n) - m->centre[j];
    if (part) x = opt_keep(x, n);
    sum[j] += x;
    sum[4 + j] = vfma(x, x, sum[4 + j]);
  }
}

static CK(opt_moments) CK(opt_measure)(const ck_adafac_tensor *t, const CK(opt_at) * at) {
  CK(opt_moments) m;
  memset(&m, 0, sizeof m);
  for (int j = 0; j < 3; j++) m.centre[j] = at->m[j * at->plane];
  m.centre[3] = at->v[0];
  for (int64_t e0 = 0; e0 < t->count; e0 += OPT_FLUSH_ELEMENTS) {
    const int64_t e1 = t->count - e0 < OPT_FLUSH_ELEMENTS ? t->count : e0 + OPT_FLUSH_ELEMENTS;
    vf sum[2][OPT_MOMENTS];
    OPT_UNROLL for (int k = 0; k < OPT_MOMENTS; k++) sum[0][k] = sum[1][k] = (vf){0};
    int64_t e = e0;
    for (; e + 2 * W <= e1; e += 2 * W) {
      CK(opt_add_moments)(false, W, at, &m, e, sum[0]);
      CK(opt_add_moments)(false, W, at, &m, e + W, sum[1]);
    }
    for (; e + W <= e1; e += W) CK(opt_add_moments)(false, W, at, &m, e, sum[0]);
    if (e < e1) CK(opt_add_moments)(true, (int)(e1 - e), at, &m, e, sum[0]);
    OPT_UNROLL for (int j = 0; j < 4; j++) {
      m.sum[j] += opt_sum(sum[0][j] + sum[1][j]);
      m.square_sum[j] += opt_sum(sum[0][4 + j] + sum[1][4 + j]);
    }
    m.square += opt_sum(sum[0][8] + sum[1][8]);
  }
  return m;
}

// (1/2) clip(ln(1e-8 + |10 x|), -5, 5).
static float CK(opt_squash)(float x) {
  const float y = logf(1e-8f + fabsf(10.0f * x));
  return 0.5f * (y < -5.0f ? -5.0f : y > 5.0f ? 5.0f : y);
}

// The LSTM's inputs for one tensor: time (9), loss features (9), mean of V, one-hot rank (5), variances of M_j (3), and
// V's mean square distance from the mean of each M_j (3). M and V are those before this update, over the root mean
// square of the parameters.
enum { OPT_VELO_INPUTS = 30, OPT_VELO_GLOBAL = 18 };
static void CK(opt_velo_features)(const ck_adafac_tensor *t, const float *parameters, float *state, float *x) {
  const CK(opt_at) at = {(float *)parameters + t->parameter, 0, state + t->momentum, state + t->rms, t->count, 0};
  double mean[4] = {0}, variance[4] = {0}, square = 0;
  if (t->count > 0) {
    const CK(opt_moments) m = CK(opt_measure)(t, &at);
    const double n = (double)t->count;
    square = m.square / n;
    for (int j = 0; j < 4; j++) {
      const double shift = m.sum[j] / n;
      mean[j] = m.centre[j] + shift;
      variance[j] = m.square_sum[j] / n - shift * shift;
      if (variance[j] < 0) variance[j] = 0;
    }
  }
  const double floor = square < 1e-9 ? 1e-9 : square;
  const double scale = 1.0 / sqrt(floor);
  x[0] = CK(opt_squash)((float)(mean[3] * scale));
  for (int j = 0; j < 5; j++) x[1 + j] = t->rank == j ? 1 : 0;
  for (int j = 0; j < 3; j++) {
    const double apart = mean[3] - mean[j];
    x[6 + j] = CK(opt_squash)((float)(variance[j] * scale * scale));
    x[9 + j] = CK(opt_squash)((float)((variance[3] + apart * apart) * scale * scale));
  }
}

static void CK(opt_velo)(const ck_velo *velo, const ck_adafac_tensor *tensors, int64_t tensor_count, float *parameters,
                         const float *gradients, float *state, const float *theta, float *scratch, int64_t iteration,
                         int64_t total_steps, float loss) {
  const ck_celo_scheduler *lstm = &velo->scheduler;
  const ck_bank *bank = &velo->bank;
  const int64_t h = lstm->lstm_hidden, rows = tensor_count;
  const CK(opt_networks) own = CK(opt_carve_networks)(rows, scratch);
  scratch += ck_bank_rows(bank, rows);
  const CK(opt_rows) r = CK(opt_carve_rows)(lstm, rows, scratch);
  scratch += ck_lstm_rows(lstm, rows);
  float global[CK_LSTM_INPUTS];
  CK(opt_time_features)(iteration, total_steps, global);
  CK(opt_loss_features)(lstm, state, velo->short_loss ? 10 : total_steps, loss, global + OPT_TIMES);
  for (int64_t i = 0; i < rows; i++) {
    float *x = r.input + i * CK_LSTM_INPUTS;
    memcpy(x, global, OPT_VELO_GLOBAL * sizeof(float));
    CK(opt_velo_features)(tensors + i, parameters, state, x + OPT_VELO_GLOBAL);
  }
  CK(opt_mix)(lstm, &r, rows, OPT_VELO_INPUTS, tensors, theta);
  CK(opt_lstm_rows)(lstm, &r, rows, velo->fixed_state, state, theta);
  CK(opt_affine)(rows, bank->networks, h, r.mixed, h, theta + bank->controls_w, theta + bank->controls_b,
                 own.controls);
  const float scale = velo->mixing / (float)bank->networks;
  for (int64_t i = 0; i < rows * bank->networks; i++) own.controls[i] *= scale;
  CK(opt_blend_bank)(bank, &own, rows, true, theta);
  for (int64_t i = 0; i < rows; i++) {
    const CK(opt_rule) rule = CK(opt_bank_rule)(bank, own.network + i * CK_BANK_NETWORK, r.multiplier[i]);
    CK(opt_update_banked)(&rule, tensors + i, parameters, gradients, state, scratch);
  }
}
