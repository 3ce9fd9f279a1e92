// The gated recurrent unit (Cho et al. 2014, arXiv 1406.1078), after compute_recurrence.inc.h.
//
// z, r = sigmoid(x + h U); a = tanh(x_a + (r h) V); h' = (1 - z) h + z a

// n = B, S, H, whether there is an initial hidden state. p = y [B,S,H], x [B,S,3H] (z, r, a), U [H,2H], V [H,H],
// saved [S,B,3H] (z, r, a), states [2,B,S,H] (the h that each step starts from, and r h), the initial hidden state [B,H]
// where there is one, scratch of 4 B H floats.
static void CK(gru)(const ck_call *call) {
  const int64_t batch = call->n[0], steps = call->n[1], hidden = call->n[2];
  const float *x = call->p[1], *u = call->p[2], *v = call->p[3], *initial = call->n[3] ? call->p[6] : 0;
  float *y = call->p[0], *saved = call->p[4], *previous = call->p[5], *reset = previous + batch * steps * hidden;
  float *h = call->n[3] ? call->p[7] : call->p[6], *product = h + batch * hidden, *rh = product + 2 * batch * hidden;
  const CK(epilogue) plain = {0};
  recurrence_start(batch, steps, hidden, initial, h, previous);
  for (int64_t t = 0; t < steps; t++) {
    CK(gemm)(batch, 2 * hidden, hidden, h, hidden, 1, u, 2 * hidden, product, 2 * hidden, &plain);
    for (int64_t b = 0; b < batch; b++) {
      const float *xs = x + (b * steps + t) * 3 * hidden, *ps = product + b * 2 * hidden;
      float *to = saved + (t * batch + b) * 3 * hidden;
      for (int64_t j = 0; j < hidden; j += W) {
        const int64_t left = hidden - j;
        const vf z = math_sigmoid(load_n(xs + j, left) + load_n(ps + j, left));
        const vf r = math_sigmoid(load_n(xs + hidden + j, left) + load_n(ps + hidden + j, left));
        const vf kept = r * load_n(h + b * hidden + j, left);
        store_n(to + j, z, left);
        store_n(to + hidden + j, r, left);
        store_n(rh + b * hidden + j, kept, left);
        store_n(reset + (b * steps + t) * hidden + j, kept, left);
      }
    }
    CK(gemm)(batch, hidden, hidden, rh, hidden, 1, v, hidden, product, hidden, &plain);
    for (int64_t b = 0; b < batch; b++) {
      const float *xs = x + (b * steps + t) * 3 * hidden + 2 * hidden;
      float *to = saved + (t * batch + b) * 3 * hidden;
      for (int64_t j = 0; j < hidden; j += W) {
        const int64_t left = hidden - j;
        const vf a = math_tanh(load_n(xs + j, left) + load_n(product + b * hidden + j, left));
        const vf before = load_n(h + b * hidden + j, left), state = vfma(load_n(to + j, left), a - before, before);
        store_n(to + 2 * hidden + j, a, left);
        store_n(h + b * hidden + j, state, left);
        store_n(y + (b * steps + t) * hidden + j, state, left);
        if (t + 1 < steps) store_n(previous + (b * steps + t + 1) * hidden + j, state, left);
      }
    }
  }
}

// n as above; p = dx [B,S,3H], dy, U, V, saved, states, dinitial [B,H], scratch of 3 H H + 4 B H floats.
static void CK(gru_backward)(const ck_call *call) {
  const int64_t batch = call->n[0], steps = call->n[1], hidden = call->n[2];
  const float *dy = call->p[1], *u = call->p[2], *v = call->p[3], *saved = call->p[4], *previous = call->p[5];
  float *dx = call->p[0], *dh = call->p[6], *u_transposed = call->p[7];
  float *v_transposed = u_transposed + 2 * hidden * hidden, *gates = v_transposed + hidden * hidden;
  float *candidate = gates + 2 * batch * hidden, *drh = candidate + batch * hidden;
  const CK(epilogue) plain = {0}, more = {.accumulate = 1};
  CK(transpose)(hidden, 2 * hidden, u, 2 * hidden, u_transposed, hidden);
  CK(transpose)(hidden, hidden, v, hidden, v_transposed, hidden);
  __builtin_memset(dh, 0, (size_t)(batch * hidden) * sizeof(float));
  for (int64_t t = steps - 1; t >= 0; t--) {
    for (int64_t b = 0; b < batch; b++) {
      const float *from = saved + (t * batch + b) * 3 * hidden;
      float *out = dx + (b * steps + t) * 3 * hidden;
      for (int64_t j = 0; j < hidden; j += W) {
        const int64_t left = hidden - j, at = (b * steps + t) * hidden + j;
        const vf z = load_n(from + j, left), a = load_n(from + 2 * hidden + j, left), h = load_n(previous + at, left);
        const vf d = load_n(dh + b * hidden + j, left) + load_n(dy + at, left);
        const vf dz = d * (a - h) * z * (1.0f - z), da = d * z * (1.0f - a * a);
        store_n(dh + b * hidden + j, d * (1.0f - z), left);
        store_n(gates + b * 2 * hidden + j, dz, left);
        store_n(candidate + b * hidden + j, da, left);
        store_n(out + j, dz, left);
        store_n(out + 2 * hidden + j, da, left);
      }
    }
    CK(gemm)(batch, hidden, hidden, candidate, hidden, 1, v_transposed, hidden, drh, hidden, &plain);
    for (int64_t b = 0; b < batch; b++) {
      const float *from = saved + (t * batch + b) * 3 * hidden;
      float *out = dx + (b * steps + t) * 3 * hidden;
      for (int64_t j = 0; j < hidden; j += W) {
        const int64_t left = hidden - j;
        const vf r = load_n(from + hidden + j, left), d = load_n(drh + b * hidden + j, left);
        const vf h = load_n(previous + (b * steps + t) * hidden + j, left), dr = d * h * r * (1.0f - r);
        store_n(dh + b * hidden + j, vfma(d, r, load_n(dh + b * hidden + j, left)), left);
        store_n(gates + b * 2 * hidden + hidden + j, dr, left);
        store_n(out + hidden + j, dr, left);
      }
    }
    CK(gemm)(batch, hidden, 2 * hidden, gates, 2 * hidden, 1, u_transposed, hidden, dh, hidden, &more);
  }
}
