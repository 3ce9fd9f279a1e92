// OpenBLAS through dlopen. It is not linked because it reads its core type and thread count from the environment while
// it is being loaded, and release 0.3.21 takes a processor it does not know (Zen 5) for a Haswell: half the speed.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

#include "ck_blas.h"
#include "ck_cpu.h"

typedef void (*sgemm_function)(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha,
                               const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static sgemm_function sgemm;
static const char *core;

static const char *load(int level) {
#if defined(__x86_64__)
  static const char *const cores[CK_LEVELS] = {"Prescott", "Haswell", "SkylakeX"};
  if (level >= 0 && level < CK_LEVELS) setenv("OPENBLAS_CORETYPE", cores[level], 1);
#endif
  // One thread: two gain nothing on these sizes and the caller owns the parallelism.
  setenv("OPENBLAS_NUM_THREADS", "1", 1);
  void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
  if (!library) return "libopenblas.so.0 was not found; install the Debian package libopenblas0-pthread";
  void (*set_threads)(int) = (void (*)(int))dlsym(library, "openblas_set_num_threads");
  char *(*corename)(void) = (char *(*)(void))dlsym(library, "openblas_get_corename");
  sgemm_function found = (sgemm_function)dlsym(library, "cblas_sgemm");
  if (!set_threads || !corename || !found)
    return "libopenblas.so.0 lacks cblas_sgemm; install the Debian package libopenblas0-pthread";
  set_threads(1);
  core = corename();
  sgemm = found;
  return 0;
}

const char *ck_blas_load(int level) {
  pthread_mutex_lock(&lock);
  const char *problem = sgemm ? 0 : load(level);
  pthread_mutex_unlock(&lock);
  return problem;
}

const char *ck_blas_core(void) {
  pthread_mutex_lock(&lock);
  const char *name = core;
  pthread_mutex_unlock(&lock);
  return name;
}

void ck_blas_product(int m, int n, int k, const float *a, int transpose_a, const float *b, int transpose_b, float *c) {
  enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };
  sgemm(ROW_MAJOR, transpose_a ? TRANSPOSED : PLAIN, transpose_b ? TRANSPOSED : PLAIN, m, n, k, 1, a,
        transpose_a ? m : k, b, transpose_b ? k : n, 0, c, n);
}
