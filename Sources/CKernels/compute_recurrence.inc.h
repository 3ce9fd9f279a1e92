// Recurrences that scan over time: LSTM and the vanilla cell; compute_recurrence_gru.inc.h has the GRU. x [B,S,..] is
// already multiplied by the input weights. A step's product runs over all of the batch at once; its nonlinearities follow
// while the result is in L1. The backward scan only finds the gradient of x; the gradient of the recurrent weights is
// then one large product of it with `previous` [B,S,H], the hidden states that each step started from.

// state[b] = `initial` or zeros, and the same in `previous`'s first step.
CK_INLINE void recurrence_start(int64_t batch, int64_t steps, int64_t hidden, const float *initial, float *state,
                                float *previous) {
  for (int64_t b = 0; b < batch; b++)
    for (int64_t j = 0; j < hidden; j++) {
      const float h = initial ? initial[b * hidden + j] : 0;
      state[b * hidden + j] = h;
      previous[b * steps * hidden + j] = h;
    }
}

// n = B, S, H, which quarter of x is i, f, g and o, whether there is an initial hidden state, an initial cell;
// a[0] = forget bias. p = y [B,S,H], x [B,S,4H], U [H,4H], saved [S,B,6H] (i, f, g, o, tanh(c), c), previous, then
// initial hidden [B,H] and cell [B,H] where there are such, scratch of 5 B H floats.
//
// c' = sigmoid(f + bias) c + sigmoid(i) tanh(g); h' = sigmoid(o) tanh(c')
static void CK(lstm)(const ck_call *call) {
  const int64_t batch = call->n[0], steps = call->n[1], hidden = call->n[2], gates = 4 * hidden;
  const float *x = call->p[1], *u = call->p[2];
  float *y = call->p[0], *saved = call->p[3], *previous = call->p[4];
  int slot = 5;
  const float *initial = call->n[7] ? call->p[slot++] : 0, *cell = call->n[8] ? call->p[slot++] : 0;
  float *h = call->p[slot], *product = h + batch * hidden;
  const CK(epilogue) plain = {0};
  recurrence_start(batch, steps, hidden, initial, h, previous);
  for (int64_t t = 0; t < steps; t++) {
    if (t > 0 || initial)
      CK(gemm)(batch, gates, hidden, h, hidden, 1, u, gates, product, gates, &plain);
    else
      __builtin_memset(product, 0, (size_t)(batch * gates) * sizeof(float));
    for (int64_t b = 0; b < batch; b++) {
      const float *xs = x + (b * steps + t) * gates, *ps = product + b * gates;
      const int64_t qi = call->n[3] * hidden, qf = call->n[4] * hidden, qg = call->n[5] * hidden, qo = call->n[6] * hidden;
      float *to = saved + (t * batch + b) * 6 * hidden;
      const float *before = t > 0 ? saved + ((t - 1) * batch + b) * 6 * hidden + 5 * hidden : cell ? cell + b * hidden : 0;
      for (int64_t j = 0; j < hidden; j += W) {
        const int64_t left = hidden - j;
        const vf i = math_sigmoid(load_n(xs + qi + j, left) + load_n(ps + qi + j, left));
        const vf f = math_sigmoid(load_n(xs + qf + j, left) + load_n(ps + qf + j, left) + call->a[0]);
        const vf g = math_tanh(load_n(xs + qg + j, left) + load_n(ps + qg + j, left));
        const vf o = math_sigmoid(load_n(xs + qo + j, left) + load_n(ps + qo + j, left));
        const vf c = vfma(i, g, before ? f * load_n(before + j, left) : (vf){0}), tc = math_tanh(c), state = o * tc;
        store_n(to + j, i, left);
        store_n(to + hidden + j, f, left);
        store_n(to + 2 * hidden + j, g, left);
        store_n(to + 3 * hidden + j, o, left);
        store_n(to + 4 * hidden + j, tc, left);
        store_n(to + 5 * hidden + j, c, left);
        store_n(h + b * hidden + j, state, left);
        store_n(y + (b * steps + t) * hidden + j, state, left);
        if (t + 1 < steps) store_n(previous + (b * steps + t + 1) * hidden + j, state, left);
      }
    }
  }
}

// n as above; p = dx [B,S,4H], dy [B,S,H], U, saved, dinitial [2,B,H] (hidden, cell), the initial cell where there is one,
// scratch of 4 H H + 4 B H floats.
static void CK(lstm_backward)(const ck_call *call) {
  const int64_t batch = call->n[0], steps = call->n[1], hidden = call->n[2], gates = 4 * hidden;
  const float *dy = call->p[1], *u = call->p[2], *saved = call->p[3];
  float *dx = call->p[0], *dh = call->p[4], *dc = dh + batch * hidden;
  const float *cell = call->n[8] ? call->p[5] : 0;
  float *transposed = call->n[8] ? call->p[6] : call->p[5], *slopes = transposed + gates * hidden;
  const CK(epilogue) plain = {0};
  CK(transpose)(hidden, gates, u, gates, transposed, hidden);
  __builtin_memset(dh, 0, (size_t)(2 * batch * hidden) * sizeof(float));
  for (int64_t t = steps - 1; t >= 0; t--) {
    for (int64_t b = 0; b < batch; b++) {
      const int64_t qi = call->n[3] * hidden, qf = call->n[4] * hidden, qg = call->n[5] * hidden, qo = call->n[6] * hidden;
      const float *from = saved + (t * batch + b) * 6 * hidden;
      const float *before = t > 0 ? saved + ((t - 1) * batch + b) * 6 * hidden + 5 * hidden : cell ? cell + b * hidden : 0;
      float *out = dx + (b * steps + t) * gates, *own = slopes + b * gates;
      for (int64_t j = 0; j < hidden; j += W) {
        const int64_t left = hidden - j;
        const vf i = load_n(from + j, left), f = load_n(from + hidden + j, left), g = load_n(from + 2 * hidden + j, left);
        const vf o = load_n(from + 3 * hidden + j, left), tc = load_n(from + 4 * hidden + j, left);
        const vf d = load_n(dh + b * hidden + j, left) + load_n(dy + (b * steps + t) * hidden + j, left);
        const vf e = vfma(d * o, 1.0f - tc * tc, load_n(dc + b * hidden + j, left));
        const vf di = e * g * i * (1.0f - i), dg = e * i * (1.0f - g * g), dout = d * tc * o * (1.0f - o);
        const vf df = before ? e * load_n(before + j, left) * f * (1.0f - f) : (vf){0};
        store_n(dc + b * hidden + j, e * f, left);
        store_n(out + qi + j, di, left);
        store_n(out + qf + j, df, left);
        store_n(out + qg + j, dg, left);
        store_n(out + qo + j, dout, left);
        store_n(own + qi + j, di, left);
        store_n(own + qf + j, df, left);
        store_n(own + qg + j, dg, left);
        store_n(own + qo + j, dout, left);
      }
    }
    if (t > 0 || call->n[7]) CK(gemm)(batch, hidden, gates, slopes, gates, 1, transposed, hidden, dh, hidden, &plain);
  }
}

// n = B, S, H, whether tanh (else relu), whether there is an initial hidden state. p = y [B,S,H], x [B,S,H], U [H,H],
// previous, the initial hidden state [B,H] where there is one, scratch of 2 B H floats.
//
// h' = activation(x + h U)
static void CK(vanilla_rnn)(const ck_call *call) {
  const int64_t batch = call->n[0], steps = call->n[1], hidden = call->n[2];
  const float *x = call->p[1], *u = call->p[2], *initial = call->n[4] ? call->p[4] : 0;
  float *y = call->p[0], *previous = call->p[3], *h = call->n[4] ? call->p[5] : call->p[4];
  float *product = h + batch * hidden;
  const CK(epilogue) plain = {0};
  recurrence_start(batch, steps, hidden, initial, h, previous);
  for (int64_t t = 0; t < steps; t++) {
    CK(gemm)(batch, hidden, hidden, h, hidden, 1, u, hidden, product, hidden, &plain);
    for (int64_t b = 0; b < batch; b++)
      for (int64_t j = 0; j < hidden; j += W) {
        const int64_t left = hidden - j, at = (b * steps + t) * hidden + j;
        const vf sum = load_n(x + at, left) + load_n(product + b * hidden + j, left);
        const vf state = call->n[3] ? math_tanh(sum) : at_least(sum, (vf){0});
        store_n(y + at, state, left);
        store_n(h + b * hidden + j, state, left);
        if (t + 1 < steps) store_n(previous + at + hidden, state, left);
      }
  }
}

// n as above; p = dx [B,S,H], dy, U, y, dinitial [B,H], scratch of H H + B H floats.
static void CK(vanilla_rnn_backward)(const ck_call *call) {
  const int64_t batch = call->n[0], steps = call->n[1], hidden = call->n[2];
  const float *dy = call->p[1], *u = call->p[2], *y = call->p[3];
  float *dx = call->p[0], *dh = call->p[4], *transposed = call->p[5], *slopes = transposed + hidden * hidden;
  const CK(epilogue) plain = {0};
  CK(transpose)(hidden, hidden, u, hidden, transposed, hidden);
  __builtin_memset(dh, 0, (size_t)(batch * hidden) * sizeof(float));
  for (int64_t t = steps - 1; t >= 0; t--) {
    for (int64_t b = 0; b < batch; b++)
      for (int64_t j = 0; j < hidden; j += W) {
        const int64_t left = hidden - j, at = (b * steps + t) * hidden + j;
        const vf state = load_n(y + at, left), d = load_n(dh + b * hidden + j, left) + load_n(dy + at, left);
        const vf slope = call->n[3] ? d * (1.0f - state * state) : choose(state <= (vf){0}, (vf){0}, d);
        store_n(dx + at, slope, left);
        store_n(slopes + b * hidden + j, slope, left);
      }
    if (t > 0 || call->n[4]) CK(gemm)(batch, hidden, hidden, slopes, hidden, 1, transposed, hidden, dh, hidden, &plain);
  }
}
