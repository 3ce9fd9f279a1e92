// The recurrent half of Celo and VeLO: features of the loss and of time, small matrix products, and one LSTM step for
// some rows. optimizer_celo.inc.h and optimizer_velo.inc.h make the rows; optimizer_bank.inc.h uses what comes out.

// The loss buffer's update with this loss, then its nine features. The averages' time constants go from 10 updates to
// `horizon`, evenly in the logarithm.
static void CK(opt_loss_features)(const ck_celo_scheduler *lstm, float *state, int64_t horizon, float loss, float *features) {
  float *mean = state + lstm->loss_means, *minimum = state + lstm->loss_minima, *decay = state + lstm->loss_decays;
  float *count = state + lstm->loss_count;
  // Zero marks a buffer that no loss has entered yet.
  if (decay[0] == 0) {
    const float last = log10f((float)horizon);
    for (int j = 0; j < CK_LOSS_DECAYS; j++) {
      const float along = (float)j / (CK_LOSS_DECAYS - 1);
      const float exponent = horizon == 10 ? 1.0f : 1.0f - along + along * last;
      // From 3e7 updates on it rounds to 1, and an average that forgets nothing has no correction.
      const float kept = expf(-1.0f / powf(10.0f, exponent));
      decay[j] = kept < 0x1.fffffep-1f ? kept : 0x1.fffffep-1f;
    }
  }
  float correction[CK_LOSS_DECAYS], largest = 0;
  for (int j = 0; j < CK_LOSS_DECAYS; j++) {
    // x^n in float32, as the reference has it: over long horizons the difference from 1 is all rounding.
    correction[j] = 1.0f - powf(decay[j], *count + 1.0f);
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

// tanh(10 (t/n - c)) for nine centres c. Writes 16 floats, nine of them features.
enum { OPT_TIMES = 9 };
static void CK(opt_time_features)(int64_t iteration, int64_t total_steps, float *out) {
  static const float centres[16] = {0.03f, 0.1f, 0.2f, 0.4f, 0.6f, 0.8f, 0.9f, 1.0f, 1.1f};
  const float fraction = (float)iteration / (float)total_steps;
  for (int i = 0; i < 16; i += W) vstore(out + i, opt_tanh(10.0f * (fraction - vload(centres + i))));
}

// c += a b on a tile of rows x vectors; the last vector holds n entries.
CK_INLINE void CK(opt_tile)(const int rows, const int vectors, const bool part, int n, int64_t k, const float *a,
                            int64_t a_row, const float *b, int64_t b_row, float *c, int64_t c_row) {
  vf sum[8][8];
  OPT_UNROLL for (int i = 0; i < rows; i++)
    OPT_UNROLL for (int v = 0; v < vectors; v++) sum[i][v] = opt_load(c + i * c_row + v * W, part, n);
  for (int64_t x = 0; x < k; x++) {
    vf right[8];
    OPT_UNROLL for (int v = 0; v < vectors; v++) right[v] = opt_load(b + x * b_row + v * W, part, n);
    OPT_UNROLL for (int i = 0; i < rows; i++)
      OPT_UNROLL for (int v = 0; v < vectors; v++) sum[i][v] = vfma(vset1(a[i * a_row + x]), right[v], sum[i][v]);
  }
  OPT_UNROLL for (int i = 0; i < rows; i++)
    OPT_UNROLL for (int v = 0; v < vectors; v++) opt_store(c + i * c_row + v * W, sum[i][v], part, n);
}

#if W == 16
enum { OPT_TILE_ROWS = 8 };
#else
enum { OPT_TILE_ROWS = 4 };
#endif
// Rows of b that are read side by side: as many streams as a core follows.
enum { OPT_TILE_DEPTH = 16 };

// The columns [j, j + vectors * W) of a product, all rows.
CK_INLINE void CK(opt_product_column)(const int vectors, const bool part, int n, int64_t m, int64_t k, const float *a,
                                      int64_t a_row, const float *b, int64_t b_row, float *c, int64_t c_row) {
  int64_t i = 0;
#define OPT_ROWS(rows) \
  for (; i + rows <= m; i += rows) \
  CK(opt_tile)(rows, vectors, part, n, k, a + i * a_row, a_row, b, b_row, c + i * c_row, c_row)
  if (OPT_TILE_ROWS == 8) OPT_ROWS(8);
  OPT_ROWS(4);
  OPT_ROWS(2);
  OPT_ROWS(1);
#undef OPT_ROWS
}

// c[m, n] += a[m, k] b[k, n]; rows of a, b and c are a_row, b_row and c_row floats apart. b, which may be far larger than
// the caches, is read once.
static void CK(opt_product)(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row, const float *b,
                            int64_t b_row, float *c, int64_t c_row) {
  const int64_t depth = m == 1 ? k : OPT_TILE_DEPTH;
  for (int64_t x = 0; x < k; x += depth) {
    const int64_t length = k - x < depth ? k - x : depth;
    const float *left = a + x, *right = b + x * b_row;
    int64_t j = 0;
    if (m == 1)
      for (; j + 8 * W <= n; j += 8 * W)
        CK(opt_tile)(1, 8, false, W, length, left, a_row, right + j, b_row, c + j, c_row);
    for (; j + 2 * W <= n; j += 2 * W)
      CK(opt_product_column)(2, false, W, m, length, left, a_row, right + j, b_row, c + j, c_row);
    for (; j + W <= n; j += W)
      CK(opt_product_column)(1, false, W, m, length, left, a_row, right + j, b_row, c + j, c_row);
    if (j < n) CK(opt_product_column)(1, true, (int)(n - j), m, length, left, a_row, right + j, b_row, c + j, c_row);
  }
}

// out[m, n] = bias + x w, w: [k, n].
static void CK(opt_affine)(int64_t m, int64_t n, int64_t k, const float *x, int64_t x_row, const float *w,
                           const float *bias, float *out) {
  for (int64_t i = 0; i < m; i++) memcpy(out + i * n, bias, (size_t)n * 4);
  CK(opt_product)(m, n, k, x, x_row, w, n, out, n);
}

// The memory of an LSTM step, `rows` rows of each. ck_lstm_rows (optimizer.h) sizes it.
typedef struct {
  float *input;       // CK_LSTM_INPUTS
  float *mixed;       // h; then the LSTM's output
  float *other;       // h
  float *gates;       // 4 h
  float *multiplier;  // 1
  float *most;        // h, one row
} CK(opt_rows);

static CK(opt_rows) CK(opt_carve_rows)(const ck_celo_scheduler *lstm, int64_t rows, float *scratch) {
  const int64_t h = lstm->lstm_hidden;
  CK(opt_rows) r;
  r.input = scratch;
  r.mixed = r.input + rows * CK_LSTM_INPUTS;
  r.other = r.mixed + rows * h;
  r.gates = r.other + rows * h;
  r.most = r.gates + rows * 4 * h;
  r.multiplier = r.most + h;
  return r;
}

// r->mixed = x W_2 + b_2 + max over rows of relu(x W_1 + b_1). `counts` (or NULL) tells the rows that take part in the
// maximum: those of tensors with elements.
static void CK(opt_mix)(const ck_celo_scheduler *lstm, const CK(opt_rows) * r, int64_t rows, int64_t inputs,
                        const ck_adafac_tensor *counts, const float *theta) {
  const int64_t h = lstm->lstm_hidden;
  CK(opt_affine)(rows, h, inputs, r->input, CK_LSTM_INPUTS, theta + lstm->mix_max_w, theta + lstm->mix_max_b,
                 r->other);
  const float *bias = theta + lstm->mix_direct_b;
  for (int64_t x = 0; x < h; x += W) {
    const bool part = h - x < W;
    const int n = part ? (int)(h - x) : W;
    vf most = {0};
    for (int64_t i = 0; i < rows; i++) {
      if (counts && counts[i].count == 0) continue;
      // NaN stays: a poisoned row must show.
      const vf y = opt_load(r->other + i * h + x, part, n);
      const vi take = (vi)(y > most) | (vi)(y != y);
      most = (vf)((take & (vi)y) | (~take & (vi)most));
    }
    opt_store(r->most + x, most + opt_load(bias + x, part, n), part, n);
  }
  CK(opt_affine)(rows, h, inputs, r->input, CK_LSTM_INPUTS, theta + lstm->mix_direct_w, r->most, r->mixed);
}

// The gates z [4 h] of one row: y gets the output, and the cell c moves unless `fixed`. Gates stand in the order input,
// candidate, forget, output; the forget gate's bias of 1 is not stored.
static void CK(opt_lstm_gates)(int64_t h, const float *z, bool fixed, float *c, float *y) {
  for (int64_t i = 0; i < h; i += W) {
    const bool part = h - i < W;
    const int n = part ? (int)(h - i) : W;
#define OPT_GATE(k) (part ? opt_load_n(z + (k)*h + i, n) : vload(z + (k)*h + i))
    const vf old = part ? opt_load_n(c + i, n) : vload(c + i);
    const vf keep = opt_sigmoid(OPT_GATE(2) + 1.0f) * old;
    const vf next = vfma(opt_sigmoid(OPT_GATE(0)), opt_tanh(OPT_GATE(1)), keep);
    const vf out = opt_sigmoid(OPT_GATE(3)) * opt_tanh(next);
#undef OPT_GATE
    opt_store(y + i, out, part, n);
    if (!fixed) opt_store(c + i, next, part, n);
  }
}

// One step of the LSTM on the rows of r->mixed, which become its output, and the learning rates of r->multiplier as the
// last layer gives them; the state is moved unless `fixed`.
static void CK(opt_lstm_rows)(const ck_celo_scheduler *lstm, const CK(opt_rows) * r, int64_t rows, bool fixed, float *state,
                         const float *theta) {
  const int64_t h = lstm->lstm_hidden;
  float *hidden = state + lstm->hidden, *cell = state + lstm->cell;
  const float *w = theta + lstm->gates_w;
  CK(opt_affine)(rows, 4 * h, h, r->mixed, h, w, theta + lstm->gates_b, r->gates);
  CK(opt_product)(rows, 4 * h, h, hidden, h, w + h * 4 * h, 4 * h, r->gates, 4 * h);
  for (int64_t row = 0; row < rows; row++)
    CK(opt_lstm_gates)(h, r->gates + row * 4 * h, fixed, cell + row * h, r->mixed + row * h);
  if (!fixed) memcpy(hidden, r->mixed, (size_t)(rows * h) * 4);
  const float *out = theta + lstm->step_size_w;
  for (int64_t row = 0; row < rows; row++) {
    vf product = {0};
    for (int64_t i = 0; i < h; i += W) {
      const bool part = h - i < W;
      const int n = part ? (int)(h - i) : W;
      product = vfma(opt_load(r->mixed + row * h + i, part, n), opt_load(out + i, part, n), product);
    }
    r->multiplier[row] = vsum(product) + theta[lstm->step_size_b];
  }
}
