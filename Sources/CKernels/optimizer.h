// Shared by optimizer.c and the levels: the scratch memory's measure and the levels' tables.
#pragma once
#include "ck_matrix.h"
#include "ck_optimizer.h"

extern const ck_optimizer ck_optimizer_kernels_scalar;
extern const ck_optimizer ck_optimizer_kernels_avx2;
extern const ck_optimizer ck_optimizer_kernels_avx512;

// Distance of two planes of n floats: room to read and write one whole vector behind the last entry.
static inline int64_t ck_adafac_stride(int64_t n) { return (n + 15) / 16 * 16 + 16; }

// celo2's scratch memory: parts that follow one another. Floats; `line` and `lane` are entries of one plane.
enum { CK_CELO2_HIDDEN = 8, CK_CELO2_BLOCK = 512, CK_CELO2_PAD = 16 };
// Sums, three factors and the biases of both statistics, partial lane sums, one block's expanded planes.
static inline int64_t ck_celo2_statistics_floats(const ck_adafac_tensor *t) {
  const int64_t line = ck_adafac_stride(t->outer * t->a * t->middle * t->inner);
  const int64_t lane = ck_adafac_stride(t->outer * t->middle * t->b * t->inner);
  return (4 + CK_CELO2_HIDDEN) * (line + lane) + ck_adafac_stride(t->b * t->inner);
}
static inline int64_t ck_celo2_block_floats(void) {
  return (3 + 6 + CK_CELO2_HIDDEN) * (CK_CELO2_BLOCK + CK_CELO2_PAD);
}
