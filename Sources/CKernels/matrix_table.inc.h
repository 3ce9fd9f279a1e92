// One level of the matrix functions, on the tiles of compute_gemm.inc.h; included last by matrix_<level>.c.
#include "vector.inc.h"
#include "compute_vector.inc.h"
#include "compute_gemm.inc.h"

static void CK(matrix_product)(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row, int64_t a_column,
                               const float *b, int64_t b_row, float *c, int64_t c_row, bool accumulate) {
  const CK(epilogue) e = {0, 0, 0, accumulate};
  CK(gemm)(m, n, k, a, a_row, a_column, b, b_row, c, c_row, &e);
}

// Columns of a strip of a symmetric result: only strips down to the diagonal are computed, the rest is mirrored.
enum { MATRIX_STRIP = 64 };

static void CK(matrix_gram)(int64_t m, int64_t n, const float *x, float *out, bool accumulate) {
  for (int64_t j = 0; j < n; j += MATRIX_STRIP) {
    const int64_t end = n - j < MATRIX_STRIP ? n : j + MATRIX_STRIP;
    CK(matrix_product)(end, end - j, m, x, 1, n, x + j, n, out + j, n, accumulate);
    if (j > 0) CK(transpose)(j, end - j, out + j, n, out + j * n, n);
  }
}

static double CK(matrix_squares)(const float *x, int64_t count) {
  double total = 0;
  for (int64_t start = 0; start < count; start += 4096) {
    const int64_t end = count - start < 4096 ? count : start + 4096;
    vf sum = {0};
    for (int64_t i = start; i < end; i += W) {
      const vf v = load_n(x + i, end - i);
      sum = vfma(v, v, sum);
    }
    total += (double)vsum(sum);
  }
  return total;
}

static void CK(newton_schulz)(int64_t rows, int64_t columns, float *x, const float coefficients[3], int32_t iterations,
                              float epsilon, float *scratch) {
  const int64_t count = rows * columns;
  if (count == 0) return;
  const bool wide = rows < columns;
  // The iterates are kept tall: y[tall, narrow], A = y^T y and y (b A + c A A), which is the same rule transposed.
  const int64_t tall = wide ? columns : rows, narrow = wide ? rows : columns;
  float *y = x;
  if (wide) {
    y = scratch;
    scratch += ck_matrix_part(count);
    CK(transpose)(rows, columns, x, columns, y, rows);
  }
  float *next = scratch;
  float *a = next + ck_matrix_part(count), *polynomial = a + ck_matrix_part(narrow * narrow);
  const float scale = 1.0f / ((float)__builtin_sqrt(CK(matrix_squares)(y, count)) + epsilon);
  for (int64_t i = 0; i < count; i += W) store_n(y + i, load_n(y + i, count - i) * scale, count - i);
  float *first = y;
  for (int32_t step = 0; step < iterations; step++) {
    CK(matrix_gram)(tall, narrow, y, a, false);
    CK(matrix_gram)(narrow, narrow, a, polynomial, false);
    const vf b = vset1(coefficients[1]), c = vset1(coefficients[2]);
    for (int64_t i = 0; i < narrow * narrow; i += W) {
      const int64_t left = narrow * narrow - i;
      store_n(polynomial + i, vfma(b, load_n(a + i, left), c * load_n(polynomial + i, left)), left);
    }
    for (int64_t i = 0; i < narrow; i++) polynomial[i * (narrow + 1)] += coefficients[0];
    CK(matrix_product)(tall, narrow, narrow, y, narrow, 1, polynomial, narrow, next, narrow, false);
    float *old = y;
    y = next;
    next = old;
  }
  if (wide)
    CK(transpose)(columns, rows, y, rows, x, columns);
  else if (y != first)
    memcpy(x, y, (size_t)count * 4);
}

const ck_matrix CK(ck_matrix_functions) = {
    .product = CK(matrix_product),
    .transpose = CK(transpose),
    .gram = CK(matrix_gram),
    .newton_schulz = CK(newton_schulz),
};
