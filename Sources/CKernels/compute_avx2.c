// The compute kernels at the avx2 level.
#if defined(__x86_64__)
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <immintrin.h>

#include "ck_blas.h"
#include "compute.h"

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define CK_LEVEL avx2
#define W 8
#include "compute_table.inc.h"
#pragma clang attribute pop
#endif
