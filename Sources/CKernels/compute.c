// Chooses the table of a level and runs a plan's calls.
#include "ck_compute.h"

#include <stddef.h>

#include "ck_cpu.h"
#include "compute.h"

const ck_compute *ck_compute_table(int level) {
  switch (level) {
    case CK_SCALAR: return &ck_compute_kernels_scalar;
#if defined(__x86_64__)
    case CK_AVX2: return &ck_compute_kernels_avx2;
    case CK_AVX512: return &ck_compute_kernels_avx512;
#endif
    default: return NULL;
  }
}

void ck_move(const ck_operand *operands, int64_t count, const float *base) {
  for (int64_t i = 0; i < count; i++) *operands[i].slot = (void *)(base + operands[i].offset);
}

void ck_run(const ck_call *calls, int64_t count) {
  unsigned saved = ck_denormals_flush();
  for (int64_t i = 0; i < count; i++) calls[i].kernel(&calls[i]);
  ck_denormals_restore(saved);
}
