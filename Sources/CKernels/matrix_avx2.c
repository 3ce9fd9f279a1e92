// The matrix functions at the avx2 level.
#if defined(__x86_64__)
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <immintrin.h>

#include "matrix.h"

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define CK_LEVEL avx2
#define W 8
#include "matrix_table.inc.h"
#pragma clang attribute pop
#endif
