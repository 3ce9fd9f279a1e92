// Shared by optimizer.c and the levels: the scratch memory's measure and the levels' tables.
#pragma once
#include "ck_optimizer.h"

extern const ck_optimizer ck_optimizer_kernels_scalar;
extern const ck_optimizer ck_optimizer_kernels_avx2;
extern const ck_optimizer ck_optimizer_kernels_avx512;

// Distance of two planes of n floats: room to read and write one whole vector behind the last entry.
static inline int64_t ck_adafac_stride(int64_t n) { return (n + 15) / 16 * 16 + 16; }
