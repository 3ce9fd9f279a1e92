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

bool ck_eigenbasis(int32_t n, const float *statistic, float *out, float *scratch) {
  double *values;
  float *rest;
  const double *vectors = decompose(n, statistic, scratch, &values, &rest);
  if (!vectors) return false;
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

bool ck_damped_solve(int32_t n, const float *gram, double damping, const float *x, float *y, float *scratch) {
  const int64_t count = (int64_t)n * n;
  double *a = (double *)scratch, *right = a + ck_matrix_part(count);
  if (!widen(gram, count, a) || !widen(x, n, right)) return false;
  for (int64_t i = 0; i < n; i++) a[i * n + i] += damping;
  if (!ck_lapack_cholesky(n, a)) return false;
  ck_lapack_cholesky_solve(n, a, right);
  for (int64_t i = 0; i < n; i++) y[i] = (float)right[i];
  return true;
}
