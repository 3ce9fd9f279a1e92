// What optimizers take from factorisations of symmetric matrices: inverse roots, eigenbases, damped solutions. On the
// LAPACK of blas.c, in double: a statistic's smallest eigenvalues are a millionth of its largest.
#include <math.h>
#include <string.h>

#include "ck_blas.h"
#include "matrix.h"

enum { BLOCK = 64 };

static int64_t eigen_work(int64_t n) { return 1 + 6 * n + 2 * n * n; }

// Doubles: the matrix, its values, work; then integers.
int64_t ck_eigen_scratch(int32_t n) {
  const int64_t size = n;
  return 2 * ck_matrix_part(size * size) + 2 * ck_matrix_part(size) + 2 * ck_matrix_part(eigen_work(size)) +
         ck_matrix_part(3 + 5 * size) + ck_matrix_part(size * size);
}

static bool widen(const float *x, int64_t count, double *out) {
  for (int64_t i = 0; i < count; i++) {
    if (!isfinite(x[i])) return false;
    out[i] = (double)x[i];
  }
  return true;
}

// Row i of the returned matrix is the eigenvector of values[i], ascending. NULL where there is none.
static double *decompose(int32_t n, const float *statistic, float *scratch, double **values, float **rest) {
  const int64_t count = (int64_t)n * n;
  double *a = (double *)scratch, *w = a + ck_matrix_part(count), *work = w + ck_matrix_part(n);
  float *integers = (float *)(work + ck_matrix_part(eigen_work(n)));
  *values = w;
  *rest = integers + ck_matrix_part(3 + 5 * (int64_t)n);
  if (!widen(statistic, count, a)) return 0;
  const bool done = ck_lapack_eigen(n, a, w, work, (int)eigen_work(n), (int *)integers, 3 + 5 * n);
  return done ? a : 0;
}

bool ck_inverse_root(const ck_matrix *functions, int32_t n, const float *statistic, double root, double ridge,
                     double floor, float *out, float *scratch) {
  double *values;
  float *x;
  const double *vectors = decompose(n, statistic, scratch, &values, &x);
  if (!vectors) return false;
  const double largest = values[n - 1] > floor ? values[n - 1] : floor;
  for (int64_t i = 0; i < n; i++) {
    // Half of the power on either side: the result is the Gram matrix of the scaled vectors.
    const double value = (values[i] > 0 ? values[i] : 0) + ridge * largest, scale = pow(value, -0.5 / root);
    if (!isfinite(scale)) return false;
    for (int64_t j = 0; j < n; j++) x[i * n + j] = (float)(vectors[i * n + j] * scale);
  }
  functions->gram(n, n, x, out, false);
  return true;
}

// Replaces the first `count` rows of the orthonormal v[n,n] by others of the same span: the projections of unit vectors
// on it, the longest first, made orthogonal to those before. `length` holds n numbers.
static void settle_null_space(int64_t n, int64_t count, double *v, double *basis, double *length) {
  // length[j] = squared length of unit vector j's projection on what of the span is still to be covered.
  for (int64_t j = 0; j < n; j++) {
    length[j] = 0;
    for (int64_t i = 0; i < count; i++) length[j] += v[i * n + j] * v[i * n + j];
  }
  for (int64_t k = 0; k < count; k++) {
    int64_t best = 0;
    // A little longer is not enough: vectors that tie but for rounding are taken in order.
    for (int64_t j = 1; j < n; j++)
      if (length[j] > length[best] * (1 + 1e-6)) best = j;
    double *row = basis + k * n;
    memset(row, 0, (size_t)n * sizeof *row);
    for (int64_t i = 0; i < count; i++)
      for (int64_t j = 0; j < n; j++) row[j] += v[i * n + best] * v[i * n + j];
    // Twice is enough to be orthogonal up to rounding.
    for (int pass = 0; pass < 2; pass++)
      for (int64_t q = 0; q < k; q++) {
        double dot = 0;
        for (int64_t j = 0; j < n; j++) dot += basis[q * n + j] * row[j];
        for (int64_t j = 0; j < n; j++) row[j] -= dot * basis[q * n + j];
      }
    double square = 0;
    for (int64_t j = 0; j < n; j++) square += row[j] * row[j];
    const double scale = 1 / sqrt(square);
    for (int64_t j = 0; j < n; j++) {
      row[j] *= scale;
      length[j] -= row[j] * row[j];
    }
  }
  memcpy(v, basis, (size_t)(count * n) * sizeof *v);
}

bool ck_eigenbasis(int32_t n, const float *statistic, float *out, float *scratch) {
  double *values;
  float *rest;
  double *vectors = decompose(n, statistic, scratch, &values, &rest);
  if (!vectors) return false;
  // What sums of rounded products leave of zero.
  const double zero = 1e-6 * values[n - 1];
  int64_t count = 0;
  while (count < n && values[count] <= zero) count++;
  double *basis = values + ck_matrix_part(n);  // LAPACK's work is done
  if (count > 0) settle_null_space(n, count, vectors, basis, values);
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < n; j++) out[i * n + j] = (float)vectors[(n - 1 - i) * n + j];
  return true;
}

int64_t ck_orthonormalize_scratch(int32_t n) { return ck_matrix_part(n) + ck_matrix_part((int64_t)BLOCK * n); }

bool ck_orthonormalize(int32_t n, float *x, float *scratch) {
  const int64_t count = (int64_t)n * n;
  for (int64_t i = 0; i < count; i++)
    if (!isfinite(x[i])) return false;
  return ck_lapack_orthonormal(n, x, scratch, scratch + ck_matrix_part(n), BLOCK * n);
}

int64_t ck_damped_solve_scratch(int32_t n) { return 2 * ck_matrix_part((int64_t)n * n) + 2 * ck_matrix_part(n); }

bool ck_damped_solve(int32_t n, const float *gram, int64_t gram_row, double damping, int32_t unit, float *y,
                     float *scratch) {
  double *a = (double *)scratch, *right = a + ck_matrix_part((int64_t)n * n);
  for (int64_t i = 0; i < n; i++) {
    if (!widen(gram + i * gram_row, n, a + i * n)) return false;
    a[i * n + i] += damping;
    right[i] = i == unit;
  }
  if (!ck_lapack_cholesky(n, a)) return false;
  ck_lapack_cholesky_solve(n, a, right);
  for (int64_t i = 0; i < n; i++) y[i] = (float)right[i];
  return true;
}
