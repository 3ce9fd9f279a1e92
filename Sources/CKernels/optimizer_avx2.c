// The optimizer kernels at the avx2 level.
#if defined(__x86_64__)
#include <math.h>
#include <string.h>
#include <immintrin.h>

#include "optimizer.h"

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define CK_LEVEL avx2
#define CK_OPT_LEVEL 1
#define W 8
#include "optimizer_table.inc.h"
#pragma clang attribute pop
#endif
