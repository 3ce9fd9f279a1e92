// CPU probe: which kernel levels this machine can run.
#include "ck_cpu.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

int ck_cpu_best_level(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma"))
    return CK_AVX512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return CK_AVX2;
#endif
  return CK_SCALAR;
}

unsigned ck_denormals_flush(void) {
#if defined(__x86_64__)
  unsigned saved = _mm_getcsr();
  // Flush to zero (results) and denormals are zero (operands).
  _mm_setcsr(saved | 0x8040);
  return saved;
#elif defined(__aarch64__)
  unsigned long saved;
  __asm__ volatile("mrs %0, fpcr" : "=r"(saved));
  __asm__ volatile("msr fpcr, %0" : : "r"(saved | 1ul << 24));
  return (unsigned)saved;
#else
  return 0;
#endif
}

void ck_denormals_restore(unsigned saved) {
#if defined(__x86_64__)
  _mm_setcsr(saved);
#elif defined(__aarch64__)
  __asm__ volatile("msr fpcr, %0" : : "r"((unsigned long)saved));
#else
  (void)saved;
#endif
}
