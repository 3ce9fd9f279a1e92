// The matrix functions at the avx512 level.
#if defined(__x86_64__)
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <immintrin.h>

#include "matrix.h"

#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl"))), apply_to = function)
#define CK_LEVEL avx512
#define W 16
#include "matrix_table.inc.h"
#pragma clang attribute pop
#endif
