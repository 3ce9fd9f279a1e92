// The optimizer kernels' dispatch table and scratch sizes.
#include "optimizer.h"

const ck_optimizer *ck_optimizer_table(int level) {
  switch (level) {
    case CK_SCALAR: return &ck_optimizer_kernels_scalar;
#if defined(__x86_64__)
    case CK_AVX2: return &ck_optimizer_kernels_avx2;
    case CK_AVX512: return &ck_optimizer_kernels_avx512;
#endif
    default: return 0;
  }
}

int64_t ck_adafac_scratch(const ck_adafac_tensor *tensors, int64_t tensor_count, int32_t hidden) {
  int64_t most = 0;
  for (int64_t i = 0; i < tensor_count; i++) {
    const ck_adafac_tensor *t = tensors + i;
    if (!t->factored) continue;
    const int64_t line = ck_adafac_stride(t->outer * t->a * t->middle * t->inner);
    const int64_t lane = ck_adafac_stride(t->outer * t->middle * t->b * t->inner);
    // Sums, three factors and the biases of both statistics; partial lane sums; one block's factors and biases.
    const int64_t floats =
        (4 + hidden) * (line + lane) + ck_adafac_stride(t->b * t->inner) + (3 + hidden) * (512 + 16);
    if (floats > most) most = floats;
  }
  return most;
}

int64_t ck_celo2_scratch(const ck_celo2_tensor *tensors, int64_t tensor_count, bool orthogonalize) {
  int64_t most = 0;
  for (int64_t i = 0; i < tensor_count; i++) {
    const ck_celo2_tensor *t = tensors + i;
    if (t->adam) continue;
    int64_t floats = ck_celo2_block_floats() + ck_adafac_stride(t->rows * t->columns);
    if (t->slots.factored) floats += ck_celo2_statistics_floats(&t->slots);
    if (t->slots.factored && orthogonalize) floats += ck_newton_schulz_scratch(t->rows, t->columns);
    if (floats > most) most = floats;
  }
  return most;
}

int64_t ck_celo_scratch(const ck_celo *rule, const ck_adafac_tensor *tensors, int64_t tensor_count) {
  return ck_bank_rows(&rule->bank, 1) + ck_adafac_scratch(tensors, tensor_count, 4);
}

int64_t ck_velo_scratch(const ck_velo *rule, const ck_adafac_tensor *tensors, int64_t tensor_count) {
  return ck_bank_rows(&rule->bank, tensor_count) + ck_lstm_rows(&rule->scheduler, tensor_count) +
         ck_adafac_scratch(tensors, tensor_count, 4);
}

int64_t ck_adafactor_scratch(const ck_adafac_tensor *t) {
  if (!t->factored) return 0;
  return ck_adafac_stride(t->outer * t->a * t->middle * t->inner) +
         ck_adafac_stride(t->outer * t->middle * t->b * t->inner) + ck_adafac_stride(t->b * t->inner);
}

int64_t ck_optimus_scratch(int64_t count, int64_t block) {
  const int64_t stride = (block + 15) / 16 * 16 + 16;
  // Features, updates, direction and move; then rows of one encoder: its own, normalised, attended and three wide, and
  // the statistics; last a block of queries and its scores.
  return 2 * ((count + 15) / 16 * 16 + 16) + (41 + CK_OPTIMUS_ENCODERS + 2) * stride +
         block * (6 * CK_OPTIMUS_WIDTH + CK_OPTIMUS_HEADS) + 80 * (block + CK_OPTIMUS_WIDTH / CK_OPTIMUS_HEADS) + 16;
}
