// OpenBLAS, found at run time.
#pragma once
#include <stdbool.h>

// Loads libopenblas.so.0 once for the process, with the kernels that suit `level` and one thread; later calls keep what
// the first one loaded. Returns NULL, or why there is no BLAS (a static string, valid for ever).
const char *ck_blas_load(int level);

// The core type whose kernels OpenBLAS runs, such as "SkylakeX"; NULL before a load has succeeded.
const char *ck_blas_core(void);

// Row-major C[m,n] = A B with contiguous operands; a or b is stored transposed where its flag is set. Only after a load.
void ck_blas_product(int m, int n, int k, const float *a, int transpose_a, const float *b, int transpose_b, float *c);

// Loads as ck_blas_load does; returns NULL if the factorisations below may be called, or why not.
const char *ck_lapack_load(int level);

// The eigenvectors and eigenvalues, in ascending order, of the symmetric a[n,n]; row i of a becomes vector i. `work` holds
// at least 1 + 6n + 2n^2 numbers, `integers` 3 + 5n. False if the iteration does not converge; all numbers must be finite.
bool ck_lapack_eigen(int n, double *a, double *values, double *work, int work_count, int *integers, int integer_count);

// The Cholesky factor of the symmetric a[n,n] in its own place, for ck_lapack_cholesky_solve; false if a is not positive.
bool ck_lapack_cholesky(int n, double *a);

// x becomes the solution of A y = x.
void ck_lapack_cholesky_solve(int n, const double *factor, double *x);

// The rows of a[n,n] become orthonormal, each within the span of those before it and itself. tau: n; work: 64 n is good.
bool ck_lapack_orthonormal(int n, float *a, float *tau, float *work, int work_count);
