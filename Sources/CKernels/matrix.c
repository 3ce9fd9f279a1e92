// Chooses the matrix functions of a level and sizes their scratch memory.
#include "matrix.h"

#include <stddef.h>

#include "ck_cpu.h"

const ck_matrix *ck_matrix_table(int level) {
  switch (level) {
    case CK_SCALAR: return &ck_matrix_functions_scalar;
#if defined(__x86_64__)
    case CK_AVX2: return &ck_matrix_functions_avx2;
    case CK_AVX512: return &ck_matrix_functions_avx512;
#endif
    default: return NULL;
  }
}

int64_t ck_newton_schulz_scratch(int64_t rows, int64_t columns) {
  const int64_t narrow = rows < columns ? rows : columns;
  // The next iterate, for a wide matrix also the first one transposed; A and its polynomial.
  return (rows < columns ? 2 : 1) * ck_matrix_part(rows * columns) + 2 * ck_matrix_part(narrow * narrow);
}
