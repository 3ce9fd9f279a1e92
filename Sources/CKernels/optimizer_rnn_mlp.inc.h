// RNN-MLP (Metz et al. 2020, arXiv 2009.11243): an LSTM row for each tensor, which sees statistics of the tensor and
// tells the per-parameter network what it needs to know; the network's mean message goes back at the next update.

// Order of the network's features that differ for each element, and of pass 1's other sums. A variable's distances
// are from a pivot, so that the variance of numbers far from zero does not cancel.
enum {
  R_G,
  R_P,
  R_LOG_P,  // ln(|p| + 1e-8)
  R_M,
  R_V = R_M + CK_RNN_DECAYS,
  R_MQ = R_V + CK_RNN_DECAYS,  // M_j * q_j with q_j = 1/sqrt(V_j + 1e-6)
  R_Q = R_MQ + CK_RNN_DECAYS,
  RNN_DENSE = R_Q + CK_RNN_DECAYS,
  R_SUM = RNN_DENSE,       // of M, V and p
  R_SQUARE = R_SUM + 3,
  RNN_SUMS = R_SQUARE + 3,
};
enum { RNN_M, RNN_V, RNN_P };

typedef struct {
  float *p;
  const float *g;
  float *m, *v;
  int64_t plane;
  float limit;  // of a gradient's size
} CK(opt_rnn_at);

static const float CK(opt_rnn_decays)[CK_RNN_DECAYS] = {0.5f, 0.9f, 0.99f, 0.999f, 0.9999f};

// The gradient, and one decay's momentum and second moment brought up to date.
CK_INLINE vf CK(opt_rnn_gradient)(const CK(opt_rnn_at) * at, int64_t e, const bool part, const int n) {
  return opt_clamp(opt_load(at->g + e, part, n), -at->limit, at->limit);
}
CK_INLINE vf CK(opt_rnn_momentum)(const CK(opt_rnn_at) * at, int j, int64_t e, vf g, const bool part, const int n) {
  const float decay = CK(opt_rnn_decays)[j];
  return vfma(vset1(decay), opt_load(at->m + j * at->plane + e, part, n), vset1(1.0f - decay) * g);
}
CK_INLINE vf CK(opt_rnn_second)(const CK(opt_rnn_at) * at, int j, int64_t e, vf g, const bool part, const int n) {
  const float decay = CK(opt_rnn_decays)[j];
  return vfma(vset1(decay), opt_load(at->v + j * at->plane + e, part, n), vset1(1.0f - decay) * (g * g));
}

CK_INLINE void CK(opt_rnn_count)(vf x, vf pivot, int variable, const bool part, const int n, vf sum[RNN_SUMS]) {
  vf distance = x - pivot;
  if (part) distance = opt_keep(distance, n);
  sum[R_SUM + variable] += distance;
  sum[R_SQUARE + variable] = vfma(distance, distance, sum[R_SQUARE + variable]);
}

CK_INLINE void CK(opt_rnn_accumulate)(const CK(opt_rnn_at) * at, int64_t e, const vf pivot[3], const bool part,
                                      const int n, vf sum[RNN_SUMS]) {
  const vf g = CK(opt_rnn_gradient)(at, e, part, n), p = opt_load(at->p + e, part, n);
  vf size = math_log(vabs(p) + 1e-8f);
  if (part) size = opt_keep(size, n);
  sum[R_G] = vfma(g, g, sum[R_G]);
  sum[R_P] = vfma(p, p, sum[R_P]);
  sum[R_LOG_P] = vfma(size, size, sum[R_LOG_P]);
  CK(opt_rnn_count)(p, pivot[RNN_P], RNN_P, part, n, sum);
  OPT_UNROLL for (int j = 0; j < CK_RNN_DECAYS; j++) {
    const vf m = CK(opt_rnn_momentum)(at, j, e, g, part, n), v = CK(opt_rnn_second)(at, j, e, g, part, n);
    opt_store(at->m + j * at->plane + e, m, part, n);
    opt_store(at->v + j * at->plane + e, v, part, n);
    vf q2 = 1.0f / (v + 1e-6f);
    if (part) q2 = opt_keep(q2, n);
    const vf m2 = m * m;
    sum[R_M + j] += m2;
    sum[R_V + j] = vfma(v, v, sum[R_V + j]);
    sum[R_MQ + j] = vfma(m2, q2, sum[R_MQ + j]);
    sum[R_Q + j] += q2;
    CK(opt_rnn_count)(m, pivot[RNN_M], RNN_M, part, n, sum);
    CK(opt_rnn_count)(v, pivot[RNN_V], RNN_V, part, n, sum);
  }
}

// Pass 1 of a tensor: momenta, second moments and all sums over them; `pivot` gets what distances were taken from.
static void CK(opt_rnn_sums)(const CK(opt_rnn_at) * at, float pivot[3], double total[RNN_SUMS]) {
  const int64_t count = at->plane;
  const vf g = CK(opt_rnn_gradient)(at, 0, true, 1);
  pivot[RNN_M] = CK(opt_rnn_momentum)(at, 0, 0, g, true, 1)[0];
  pivot[RNN_V] = CK(opt_rnn_second)(at, 0, 0, g, true, 1)[0];
  pivot[RNN_P] = at->p[0];
  const vf pivots[3] = {vset1(pivot[0]), vset1(pivot[1]), vset1(pivot[2])};
  for (int64_t from = 0; from < count; from += OPT_FLUSH_ELEMENTS) {
    const int64_t to = count - from < OPT_FLUSH_ELEMENTS ? count : from + OPT_FLUSH_ELEMENTS;
    vf sum[RNN_SUMS];
    OPT_UNROLL for (int f = 0; f < RNN_SUMS; f++) sum[f] = (vf){0};
    int64_t e = from;
    for (; e + W <= to; e += W) CK(opt_rnn_accumulate)(at, e, pivots, false, W, sum);
    if (e < to) CK(opt_rnn_accumulate)(at, e, pivots, true, (int)(to - e), sum);
    OPT_UNROLL for (int f = 0; f < RNN_SUMS; f++) total[f] += opt_sum(sum[f]);
  }
}

// Pass 2 on `units` vectors; the second hidden layer is added to `message`.
CK_INLINE void CK(opt_rnn_apply)(const int units, const bool part, const int n, const CK(opt_perceptron) * net,
                                 const CK(opt_rnn_at) * at, int64_t e, vf message[CK_ADAFAC_HIDDEN_MAX]) {
  vf x[RNN_DENSE][2], second[CK_ADAFAC_HIDDEN_MAX][2];
  OPT_UNROLL for (int u = 0; u < units; u++) {
    const int64_t i = e + u * W;
    x[R_G][u] = CK(opt_rnn_gradient)(at, i, part, n);
    x[R_P][u] = opt_load(at->p + i, part, n);
    x[R_LOG_P][u] = math_log(vabs(x[R_P][u]) + 1e-8f);
    OPT_UNROLL for (int j = 0; j < CK_RNN_DECAYS; j++) {
      x[R_M + j][u] = opt_load(at->m + j * at->plane + i, part, n);
      x[R_V + j][u] = opt_load(at->v + j * at->plane + i, part, n);
      x[R_Q + j][u] = opt_rsqrt(x[R_V + j][u] + 1e-6f);
      x[R_MQ + j][u] = x[R_M + j][u] * x[R_Q + j][u];
    }
  }
  CK(opt_perceptron_move)(units, part, n, net, (const vf(*)[2])x, at->p + e, second);
  for (int k = 0; k < net->hidden; k++) {
    vf sum = second[k][0];
    if (units == 2) sum += second[k][1];
    message[k] += part ? opt_keep(sum, n) : sum;
  }
}

// Pass 2 of a tensor; mean[k] gets the mean of the second hidden layer.
static void CK(opt_rnn_move)(const CK(opt_perceptron) * net, const CK(opt_rnn_at) * at, float *mean) {
  const int64_t count = at->plane;
  const int hidden = net->hidden;
  double total[CK_ADAFAC_HIDDEN_MAX] = {0};
  for (int64_t from = 0; from < count; from += OPT_FLUSH_ELEMENTS) {
    const int64_t to = count - from < OPT_FLUSH_ELEMENTS ? count : from + OPT_FLUSH_ELEMENTS;
    vf message[CK_ADAFAC_HIDDEN_MAX];
    for (int k = 0; k < hidden; k++) message[k] = (vf){0};
    int64_t e = from;
    for (; e + 2 * W <= to; e += 2 * W) CK(opt_rnn_apply)(2, false, W, net, at, e, message);
    if (e + W <= to) {
      CK(opt_rnn_apply)(1, false, W, net, at, e, message);
      e += W;
    }
    if (e < to) CK(opt_rnn_apply)(1, true, (int)(to - e), net, at, e, message);
    for (int k = 0; k < hidden; k++) total[k] += opt_sum(message[k]);
  }
  for (int k = 0; k < hidden; k++) mean[k] = (float)(total[k] / (double)count);
}

// What the LSTM is to know of a tensor, by the names' alphabetical order.
static void CK(opt_rnn_features)(const ck_rnn_mlp *rule, const ck_rnn_mlp_tensor *t, const float *from_lstm,
                                 const float *from_mlp, const float pivot[3], const double total[RNN_SUMS],
                                 float train, float valid, float *x) {
  float mean[3], variance[3];
  for (int q = 0; q < 3; q++) {
    const double count = (double)t->count * (q == RNN_P ? 1 : CK_RNN_DECAYS);
    const double distance = total[R_SUM + q] / count;
    mean[q] = (float)((double)pivot[q] + distance);
    variance[q] = (float)(total[R_SQUARE + q] / count - distance * distance);
  }
  memcpy(x, from_lstm, (size_t)rule->from_lstm_size * 4);
  x += rule->from_lstm_size;
  memcpy(x, from_mlp, (size_t)rule->from_mlp_size * 4);
  x += rule->from_mlp_size;
  const float rest[CK_RNN_STATISTICS] = {
      CK(opt_log_magnitude)((float)__builtin_sqrt(total[R_G])),  // g_norm
      t->is_scalar ? 1.0f : -1.0f,
      CK(opt_log_magnitude)(mean[RNN_M]),  // mean_ms_mag, mean_ms_sign
      CK(opt_sign)(mean[RNN_M]),
      CK(opt_log_magnitude)(mean[RNN_V]),  // mean_rms, mean_sign
      CK(opt_sign)(mean[RNN_V]),
      CK(opt_log_magnitude)(mean[RNN_P]),  // mean_v_mag, mean_v_sign
      CK(opt_sign)(mean[RNN_P]),
      CK(opt_log_magnitude)((float)__builtin_sqrt(total[R_P])),  // norm_weight
      t->log_sizes[0] - 1.0f,
      t->log_sizes[1] - 1.0f,
      t->log_sizes[2] - 1.0f,
      t->log_sizes[3] - 1.0f,
      train,
      valid,
      CK(opt_log_magnitude)(variance[RNN_M]),
      CK(opt_log_magnitude)(variance[RNN_V]),
      CK(opt_log_magnitude)(variance[RNN_P]),
  };
  memcpy(x, rest, sizeof rest);
}

// out[i] = bias[i] + sum over k of x[k] w[k][i] for `n` columns of rows `stride` apart.
CK_INLINE void CK(opt_rnn_project)(const float *x, int inputs, const float *w, int stride, const float *bias, int n,
                                   float *out) {
  memcpy(out, bias, (size_t)n * 4);
  for (int k = 0; k < inputs; k++) opt_row(out, out, w + (int64_t)k * stride, x[k], n);
}

// The network's first bias with what a tensor's parameters have in common: time, number of tensors, size, the LSTM.
static void CK(opt_rnn_bias)(const ck_rnn_mlp *rule, const ck_rnn_mlp_tensor *t, const float *theta,
                             const float *time_bias, int64_t tensor_count, float norm, const float *hidden_row,
                             float *bias) {
  const int hidden = rule->hidden;
  const float *w = theta + rule->w0 + (RNN_DENSE + CK_RNN_TIMES) * hidden;
  float told[CK_RNN_MESSAGE_MAX];
  CK(opt_rnn_project)(hidden_row, rule->lstm_hidden, theta + rule->to_mlp_w, rule->to_mlp_size, theta + rule->to_mlp_b,
                      rule->to_mlp_size, told);
  const float common[3] = {logf((float)tensor_count) - 1.0f, logf(norm + 1e-8f), t->log_count};
  memcpy(bias, time_bias, (size_t)hidden * 4);
  for (int i = 0; i < 3; i++) opt_row(bias, bias, w + i * hidden, common[i], hidden);
  for (int i = 0; i < rule->to_mlp_size; i++) opt_row(bias, bias, w + (3 + i) * hidden, told[i], hidden);
}

static void CK(opt_rnn_mlp)(const ck_rnn_mlp *rule, const ck_rnn_mlp_tensor *tensors, int64_t tensor_count,
                            float *parameters, const float *gradients, float *state, const float *theta,
                            float *scratch, float iteration, float train, float valid) {
  if (tensor_count == 0) return;
  static const float scales[CK_RNN_TIMES] = {1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000};
  const int64_t units = rule->lstm_hidden;
  const int64_t inputs = rule->from_lstm_size + rule->from_mlp_size + CK_RNN_STATISTICS;
  const int hidden = rule->hidden, outputs = 2 + rule->from_mlp_size;
  float *x = scratch, *z = x + tensor_count * inputs;
  // Each tensor's normalisers and the norm of its parameters, kept from pass 1 to pass 2.
  float *scale = z + tensor_count * 4 * units, *norm = scale + tensor_count * CK_PERCEPTRON_INPUTS_MAX;
  float *from_lstm = state + rule->from_lstm, *from_mlp = state + rule->from_mlp;
  float *hidden_rows = state + rule->hidden_rows;
  // The gradients' limit follows a decayed average of their size.
  float *clip_value = state + rule->clip_value, *clip_count = state + rule->clip_count;
  const float limit = 10.0f * (*clip_value / (1.0f - powf(0.99f, *clip_count)));
  double mean_square = 0;
  for (int64_t i = 0; i < tensor_count; i++) {
    const ck_rnn_mlp_tensor *t = tensors + i;
    const CK(opt_rnn_at) at = {parameters + t->parameter, gradients + t->parameter, state + t->momentum,
                               state + t->rms, t->count, limit};
    double total[RNN_SUMS] = {0};
    float pivot[3];
    CK(opt_rnn_sums)(&at, pivot, total);
    CK(opt_rnn_features)(rule, t, from_lstm, from_mlp + i * rule->from_mlp_size, pivot, total, train, valid,
                         x + i * inputs);
    float *own = scale + i * CK_PERCEPTRON_INPUTS_MAX;
    memset(own, 0, CK_PERCEPTRON_INPUTS_MAX * 4);
    CK(opt_normalisers)(total, RNN_DENSE, 1.0 / (double)t->count, own);
    norm[i] = (float)__builtin_sqrt(total[R_P]);
    mean_square += total[R_G] / (double)t->count;
  }
  *clip_value = 0.99f * *clip_value +
                (1.0f - 0.99f) * __builtin_sqrtf(1e-8f + (float)(mean_square / (double)tensor_count));
  *clip_count += 1.0f;

  CK(opt_lstm)(tensor_count, inputs, units, x, theta + rule->gates_w, theta + rule->gates_b, hidden_rows,
               state + rule->cell_rows, z);
  // The mean of a linear layer's outputs is the layer's output of the mean.
  float *mean = z;
  memset(mean, 0, (size_t)units * 4);
  for (int64_t i = 0; i < tensor_count; i++) opt_row(mean, mean, hidden_rows + i * units, 1.0f, (int)units);
  opt_scale_row(mean, mean, 1.0f / (float)tensor_count, (int)units);
  CK(opt_rnn_project)(mean, (int)units, theta + rule->to_all_w, rule->from_lstm_size, theta + rule->to_all_b,
                      rule->from_lstm_size, from_lstm);

  CK(opt_perceptron) net;
  net.inputs = RNN_DENSE;
  net.hidden = hidden;
  net.outputs = outputs;
  net.w1 = theta + rule->w1;
  net.b1 = theta + rule->b1;
  net.w2 = theta + rule->w2;
  net.b2 = theta + rule->b2;
  net.exp_multiplier = rule->exp_multiplier;
  net.step_multiplier = rule->step_multiplier;
  float time_bias[CK_ADAFAC_HIDDEN_MAX];
  memcpy(time_bias, theta + rule->b0, (size_t)hidden * 4);
  for (int i = 0; i < CK_RNN_TIMES; i++)
    opt_row(time_bias, time_bias, theta + rule->w0 + (RNN_DENSE + i) * hidden,
            sinf(iteration / (scales[i] * 3.14159265f)), hidden);
  for (int64_t i = 0; i < tensor_count; i++) {
    const ck_rnn_mlp_tensor *t = tensors + i;
    const CK(opt_rnn_at) at = {parameters + t->parameter, gradients + t->parameter, state + t->momentum,
                               state + t->rms, t->count, limit};
    for (int f = 0; f < RNN_DENSE; f++)
      opt_scale_row(net.w0 + f * hidden, theta + rule->w0 + f * hidden, scale[i * CK_PERCEPTRON_INPUTS_MAX + f],
                    hidden);
    CK(opt_rnn_bias)(rule, t, theta, time_bias, tensor_count, norm[i], hidden_rows + i * units, net.b0);
    float second[CK_ADAFAC_HIDDEN_MAX];
    CK(opt_rnn_move)(&net, &at, second);
    CK(opt_rnn_project)(second, hidden, net.w2 + 2, outputs, net.b2 + 2, rule->from_mlp_size,
                        from_mlp + i * rule->from_mlp_size);
  }
}
