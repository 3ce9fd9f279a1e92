// A step of an LSTM on many rows at once, one for each tensor: NN-Adam's and RNN-MLP's.

// x: [rows, inputs]; w: [inputs + units, 4 units]; hidden and cell: [rows, units], brought up to date; z: scratch of
// [rows, 4 units].
static void CK(opt_lstm)(int64_t rows, int64_t inputs, int64_t units, const float *x, const float *w,
                         const float *bias, float *hidden, float *cell, float *z) {
  const int64_t columns = 4 * units;
  CK(opt_affine)(rows, columns, inputs, x, inputs, w, bias, z);
  CK(opt_product)(rows, columns, units, hidden, units, w + inputs * columns, columns, z, columns);
  for (int64_t r = 0; r < rows; r++)
    CK(opt_lstm_gates)(units, z + r * columns, false, cell + r * units, hidden + r * units);
}

// -1, 0 or 1; NaN where x is.
CK_INLINE float CK(opt_sign)(float x) { return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x; }

// ln(1e-8 + |x|) within +-5; NaN where x is.
CK_INLINE float CK(opt_log_magnitude)(float x) {
  const float y = logf(1e-8f + fabsf(x));
  return y > 5.0f ? 5.0f : y < -5.0f ? -5.0f : y;
}
