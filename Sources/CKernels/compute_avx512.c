// The compute kernels at the avx512 level.
#if defined(__x86_64__)
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <immintrin.h>

#include "ck_blas.h"
#include "compute.h"

#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl"))), apply_to = function)
#define CK_LEVEL avx512
#define W 16
#include "compute_table.inc.h"
#pragma clang attribute pop
#endif
