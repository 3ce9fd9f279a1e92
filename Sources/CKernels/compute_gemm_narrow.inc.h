// C[M,N] = A' B for fewer columns than a vector has lanes, such as the gradient of the weights of a layer with 10 classes:
// the lanes run along M, where compute_gemm.inc.h would leave those beyond N empty.

// One step of k. `columns` >= n of B are read; results beyond n are dropped.
CK_INLINE void gemm_narrow_step(const int columns, const int vectors, const int whole, int64_t m, const float *a,
                                const float *b, vf sum[2][W]) {
  vf left[2];
#pragma clang loop unroll(full)
  for (int v = 0; v < vectors; v++)
    left[v] = whole || v + 1 < vectors ? vload(a + v * W) : load_n(a + v * W, m - v * W);
#pragma clang loop unroll(full)
  for (int j = 0; j < columns; j++) {
    const vf right = vset1(b[j]);
#pragma clang loop unroll(full)
    for (int v = 0; v < vectors; v++) sum[v][j] = vfma(left[v], right, sum[v][j]);
  }
}

// `vectors` vectors of C's rows, the last of them cut off at m where not `whole`.
CK_INLINE void gemm_narrow_tile(const int columns, const int vectors, const int whole, int64_t m, int64_t n, int64_t k,
                                const float *a, int64_t a_col, const float *b, int64_t b_row, float *c) {
  vf sum[2][W];
#pragma clang loop unroll(full)
  for (int j = 0; j < W; j++) sum[0][j] = sum[1][j] = (vf){0};
  // Beyond its last column a row of B goes on into the next one; the last rows are copied.
  int64_t l = 0;
  for (; l * b_row + columns <= (k - 1) * b_row + n; l++)
    gemm_narrow_step(columns, vectors, whole, m, a + l * a_col, b + l * b_row, sum);
  for (; l < k; l++) {
    float row[W] = {0};
    for (int64_t j = 0; j < n; j++) row[j] = b[l * b_row + j];
    gemm_narrow_step(columns, vectors, whole, m, a + l * a_col, row, sum);
  }
#pragma clang loop unroll(full)
  for (int v = 0; v < vectors; v++) {
    transpose_block(sum[v]);
#pragma clang loop unroll(full)
    for (int i = 0; i < W; i++)
      if (whole || v * W + i < m) part_store(c + (v * W + i) * n, sum[v][i], (int)n);
  }
}

// All rows of C, which lie n apart.
CK_INLINE void gemm_narrow_columns(const int columns, const int vectors, int64_t m, int64_t n, int64_t k, const float *a,
                                   int64_t a_col, const float *b, int64_t b_row, float *c) {
  int64_t i = 0;
  for (; i + vectors * W <= m; i += vectors * W)
    gemm_narrow_tile(columns, vectors, 1, m - i, n, k, a + i, a_col, b, b_row, c + i * n);
  for (; i < m; i += W) gemm_narrow_tile(columns, 1, 0, m - i, n, k, a + i, a_col, b, b_row, c + i * n);
}

static void CK(gemm_narrow)(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_col, const float *b, int64_t b_row,
                            float *c) {
  // As many columns at once as the registers hold beside two vectors of A.
  if (n <= 4 && W > 4) gemm_narrow_columns(4, 2, m, n, k, a, a_col, b, b_row, c);
#if W == 16
  else if (n <= 8) gemm_narrow_columns(8, 2, m, n, k, a, a_col, b, b_row, c);
  else if (n <= 10) gemm_narrow_columns(10, 2, m, n, k, a, a_col, b, b_row, c);
  else if (n <= 12) gemm_narrow_columns(12, 2, m, n, k, a, a_col, b, b_row, c);
#elif W == 8
  else if (n <= 6) gemm_narrow_columns(6, 2, m, n, k, a, a_col, b, b_row, c);
#endif
  else gemm_narrow_columns(W, 1, m, n, k, a, a_col, b, b_row, c);
}
