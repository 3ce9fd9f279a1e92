// The optimizer kernels at the avx512 level.
#if defined(__x86_64__)
#include <math.h>
#include <string.h>
#include <immintrin.h>

#include "optimizer.h"

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma"))), apply_to = function)
#define CK_LEVEL avx512
#define CK_OPT_LEVEL 2
#define W 16
#include "optimizer_table.inc.h"
#pragma clang attribute pop
#endif
