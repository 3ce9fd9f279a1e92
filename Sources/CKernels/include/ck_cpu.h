// The CPU levels of the C kernels and the probe that picks one.
#pragma once

// Levels in ascending order. `CK_SCALAR` is the compiler's baseline (SSE2 on x86-64, NEON on arm64).
enum { CK_SCALAR = 0, CK_AVX2 = 1, CK_AVX512 = 2, CK_LEVELS = 3 };

// The highest level that this machine and its operating system support.
int ck_cpu_best_level(void);

// Makes this thread take numbers below the smallest normal one for zero, and returns what to give to
// `ck_denormals_restore`. Momenta of weights that no longer get gradients decay into that range, where each operation
// costs many ordinary ones; all kernels run like this, so the bits do not depend on the caller's thread.
unsigned ck_denormals_flush(void);
void ck_denormals_restore(unsigned saved);
