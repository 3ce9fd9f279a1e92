// Shared by optimizer.c and the levels: the scratch memory's measure and the levels' tables.
#pragma once
#include "ck_matrix.h"
#include "ck_optimizer.h"
#include "compute.h"

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

// Rows of Celo's and VeLO's scratch memory, which lies before that of a tensor's update.
enum {
  CK_LSTM_INPUTS = 32,   // of which VeLO uses 30 and Celo 18
  CK_BANK_NETWORK = 160, // one blended network: b0, b1, b2 (3 and padding), w0 [30, 4], w1 [4, 4], w2 [4, 3]
};
// Controls and networks of `rows` rows.
static inline int64_t ck_bank_rows(const ck_bank *bank, int64_t rows) {
  return ck_adafac_stride(rows * (bank->networks + CK_BANK_NETWORK));
}
// What an LSTM step works on: inputs, two layers, gates, multiplier; and one row more.
static inline int64_t ck_lstm_rows(const ck_celo_scheduler *lstm, int64_t rows) {
  return ck_adafac_stride(rows * (CK_LSTM_INPUTS + 6 * (int64_t)lstm->lstm_hidden + 1) + lstm->lstm_hidden);
}
