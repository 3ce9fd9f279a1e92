// Batch statistics: each column of a matrix [rows, columns] brought to mean 0 and variance 1 over the rows. Scale and
// offset are elementwise operations of the graph.

// Rows whose sum is made in one go, before it joins the total: long columns keep their digits.
#define BATCH_NORM_ROWS 256
#define BATCH_NORM_VECTORS 4

// Sums down `rows` of up to four vectors of columns, in chunks: of x, of (x - mean)^2, or of x and x y.
CK_INLINE void batch_sums(const int what, int vectors, int64_t last, int64_t rows, int64_t columns, const float *x,
                          const float *y, const vf *mean, vf *total, vf *total_y) {
  for (int v = 0; v < vectors; v++) total[v] = total_y[v] = (vf){0};
  for (int64_t start = 0; start < rows; start += BATCH_NORM_ROWS) {
    const int64_t end = rows - start < BATCH_NORM_ROWS ? rows : start + BATCH_NORM_ROWS;
    for (int v = 0; v < vectors; v++) {
      const int64_t n = v + 1 < vectors ? W : last;
      vf sum[2] = {0}, sum_y[2] = {0};
      for (int64_t r = start; r < end; r++) {
        const vf a = load_n(x + r * columns + v * W, n);
        if (what == 0) sum[r & 1] += a;
        if (what == 1) sum[r & 1] = vfma(a - mean[v], a - mean[v], sum[r & 1]);
        if (what == 2) {
          sum[r & 1] += a;
          sum_y[r & 1] = vfma(a, load_n(y + r * columns + v * W, n), sum_y[r & 1]);
        }
      }
      total[v] += sum[0] + sum[1];
      total_y[v] += sum_y[0] + sum_y[1];
    }
  }
}

#define FOR_COLUMN_BLOCKS                                                                                 \
  const int64_t rows = call->n[0], columns = call->n[1];                                                  \
  const float share = 1.0f / (float)rows;                                                                 \
  for (int64_t j = 0, left; left = columns - j, j < columns; j += BATCH_NORM_VECTORS * W)
#define COLUMN_BLOCK                                                                                      \
  const int vectors = left >= BATCH_NORM_VECTORS * W ? BATCH_NORM_VECTORS : (int)((left + W - 1) / W);    \
  const int64_t last = left - (vectors - 1) * W

// p = result, x, 1 / deviation [columns] (written); n = rows, columns; a[0] is added to the variance.
static void CK(batch_norm)(const ck_call *call) {
  const float *x = call->p[1];
  float *out = call->p[0], *inverse = call->p[2];
  FOR_COLUMN_BLOCKS {
    COLUMN_BLOCK;
    vf mean[BATCH_NORM_VECTORS], square[BATCH_NORM_VECTORS], unused[BATCH_NORM_VECTORS];
    batch_sums(0, vectors, last, rows, columns, x + j, 0, mean, mean, unused);
    for (int v = 0; v < vectors; v++) mean[v] *= share;
    batch_sums(1, vectors, last, rows, columns, x + j, 0, mean, square, unused);
    for (int v = 0; v < vectors; v++) {
      square[v] = vset1(1) / vsqrt(square[v] * share + call->a[0]);
      store_n(inverse + j + v * W, square[v], v + 1 < vectors ? W : last);
    }
    for (int64_t r = 0; r < rows; r++)
      for (int v = 0; v < vectors; v++) {
        const int64_t n = v + 1 < vectors ? W : last, at = r * columns + j + v * W;
        store_n(out + at, (load_n(x + at, n) - mean[v]) * square[v], n);
      }
  }
}

// p = dx, the result of batch_norm, its gradient d, 1 / deviation: dx = (d - mean(d) - result mean(d result)) / deviation.
static void CK(batch_norm_backward)(const ck_call *call) {
  const float *y = call->p[1], *d = call->p[2], *inverse = call->p[3];
  float *out = call->p[0];
  FOR_COLUMN_BLOCKS {
    COLUMN_BLOCK;
    vf mean[BATCH_NORM_VECTORS], along[BATCH_NORM_VECTORS];
    batch_sums(2, vectors, last, rows, columns, d + j, y + j, 0, mean, along);
    for (int v = 0; v < vectors; v++) mean[v] *= share, along[v] *= share;
    for (int64_t r = 0; r < rows; r++)
      for (int v = 0; v < vectors; v++) {
        const int64_t n = v + 1 < vectors ? W : last, at = r * columns + j + v * W;
        const vf x = load_n(d + at, n) - mean[v] - load_n(y + at, n) * along[v];
        store_n(out + at, x * load_n(inverse + j + v * W, n), n);
      }
  }
}

#undef FOR_COLUMN_BLOCKS
#undef COLUMN_BLOCK
