// OpenBLAS, found at run time.
#pragma once

// Loads libopenblas.so.0 once for the process, with the kernels that suit `level` and one thread; later calls keep what
// the first one loaded. Returns NULL, or why there is no BLAS (a static string, valid for ever).
const char *ck_blas_load(int level);

// The core type whose kernels OpenBLAS runs, such as "SkylakeX"; NULL before a load has succeeded.
const char *ck_blas_core(void);

// Row-major C[m,n] = A B with contiguous operands; a or b is stored transposed where its flag is set. Only after a load.
void ck_blas_product(int m, int n, int k, const float *a, int transpose_a, const float *b, int transpose_b, float *c);
