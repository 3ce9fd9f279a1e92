// Batch normalization of a matrix [rows, columns]: each column brought to mean 0 and variance 1 over the rows, then scaled
// and shifted. The statistics are a tensor [2, columns] of means and 1 / deviations.

// Rows whose sum is made in one go, before it joins the total: long columns keep their digits.
#define BATCH_NORM_ROWS 256
#define BATCH_NORM_VECTORS 4

// Sums down `rows` of up to four vectors of columns, in chunks: of x, of (x - mean)^2, or of y and (x - mean) y.
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
          const vf d = load_n(y + r * columns + v * W, n);
          sum[r & 1] += d;
          sum_y[r & 1] = vfma(a - mean[v], d, sum_y[r & 1]);
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
#define COLUMN_VECTOR const int64_t n = v + 1 < vectors ? W : last, at = j + v * W

// p = statistics, x; n = rows, columns; a[0] is added to the variance.
static void CK(batch_statistics)(const ck_call *call) {
  const float *x = call->p[1];
  float *out = call->p[0];
  FOR_COLUMN_BLOCKS {
    COLUMN_BLOCK;
    vf mean[BATCH_NORM_VECTORS], square[BATCH_NORM_VECTORS], unused[BATCH_NORM_VECTORS];
    batch_sums(0, vectors, last, rows, columns, x + j, 0, mean, mean, unused);
    for (int v = 0; v < vectors; v++) mean[v] *= share;
    batch_sums(1, vectors, last, rows, columns, x + j, 0, mean, square, unused);
    for (int v = 0; v < vectors; v++) {
      COLUMN_VECTOR;
      store_n(out + at, mean[v], n);
      store_n(out + columns + at, vset1(1) / vsqrt(square[v] * share + call->a[0]), n);
    }
  }
}

// p = y, x, statistics, scale, offset.
static void CK(batch_norm)(const ck_call *call) {
  const float *x = call->p[1], *statistics = call->p[2];
  float *out = call->p[0];
  FOR_COLUMN_BLOCKS {
    COLUMN_BLOCK;
    vf mean[BATCH_NORM_VECTORS], factor[BATCH_NORM_VECTORS], offset[BATCH_NORM_VECTORS];
    for (int v = 0; v < vectors; v++) {
      COLUMN_VECTOR;
      mean[v] = load_n(statistics + at, n);
      factor[v] = load_n(statistics + columns + at, n) * load_n((const float *)call->p[3] + at, n);
      offset[v] = load_n((const float *)call->p[4] + at, n);
    }
    for (int64_t r = 0; r < rows; r++)
      for (int v = 0; v < vectors; v++) {
        COLUMN_VECTOR;
        const int64_t cell = r * columns + at;
        store_n(out + cell, vfma(load_n(x + cell, n) - mean[v], factor[v], offset[v]), n);
      }
  }
  (void)share;
}

// p = sums [2, columns], x, dy, statistics: the gradients of offset, the sum of dy, and of scale, that of dy times the
// normalized x.
static void CK(batch_norm_sums)(const ck_call *call) {
  const float *x = call->p[1], *dy = call->p[2], *statistics = call->p[3];
  float *out = call->p[0];
  FOR_COLUMN_BLOCKS {
    COLUMN_BLOCK;
    vf mean[BATCH_NORM_VECTORS], sum[BATCH_NORM_VECTORS], along[BATCH_NORM_VECTORS];
    for (int v = 0; v < vectors; v++) {
      COLUMN_VECTOR;
      mean[v] = load_n(statistics + at, n);
    }
    batch_sums(2, vectors, last, rows, columns, x + j, dy + j, mean, sum, along);
    for (int v = 0; v < vectors; v++) {
      COLUMN_VECTOR;
      store_n(out + at, sum[v], n);
      store_n(out + columns + at, along[v] * load_n(statistics + columns + at, n), n);
    }
  }
  (void)share;
}

// p = dx, x, dy, statistics, scale, sums: dx = scale / deviation (dy - mean(dy) - z mean(dy z)), z the normalized x.
static void CK(batch_norm_backward)(const ck_call *call) {
  const float *x = call->p[1], *dy = call->p[2], *statistics = call->p[3], *sums = call->p[5];
  float *out = call->p[0];
  FOR_COLUMN_BLOCKS {
    COLUMN_BLOCK;
    vf mean[BATCH_NORM_VECTORS], factor[BATCH_NORM_VECTORS], sum[BATCH_NORM_VECTORS], along[BATCH_NORM_VECTORS];
    for (int v = 0; v < vectors; v++) {
      COLUMN_VECTOR;
      const vf inverse = load_n(statistics + columns + at, n);
      mean[v] = load_n(statistics + at, n);
      factor[v] = inverse * load_n((const float *)call->p[4] + at, n);
      sum[v] = load_n(sums + at, n) * share;
      along[v] = load_n(sums + columns + at, n) * share * inverse;
    }
    for (int64_t r = 0; r < rows; r++)
      for (int v = 0; v < vectors; v++) {
        COLUMN_VECTOR;
        const int64_t cell = r * columns + at;
        const vf slope = load_n(dy + cell, n) - sum[v] - (load_n(x + cell, n) - mean[v]) * along[v];
        store_n(out + cell, slope * factor[v], n);
      }
  }
}

#undef FOR_COLUMN_BLOCKS
#undef COLUMN_BLOCK
#undef COLUMN_VECTOR
