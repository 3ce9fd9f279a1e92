// The levels' tables of matrix functions, for matrix.c alone.
#pragma once
#include "ck_matrix.h"

extern const ck_matrix ck_matrix_functions_scalar, ck_matrix_functions_avx2, ck_matrix_functions_avx512;

// Floats of a part of scratch memory: whole cache lines.
static inline int64_t ck_matrix_part(int64_t floats) { return (floats + 15) / 16 * 16; }
