// OpenBLAS and the LAPACK inside it through dlopen. It is not linked because it reads its core type and thread count from the environment while
// it is being loaded, and release 0.3.21 takes a processor it does not know (Zen 5) for a Haswell: half the speed.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

#include "ck_blas.h"
#include "ck_cpu.h"

typedef void (*sgemm_function)(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha,
                               const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc);

// LAPACK's routines take everything by reference, matrices column by column; trailing lengths of strings are optional.
typedef void (*dsyevd_function)(const char *job, const char *part, const int *n, double *a, const int *lda,
                                double *values, double *work, const int *work_count, int *integers,
                                const int *integer_count, int *info);
typedef void (*dpotrf_function)(const char *part, const int *n, double *a, const int *lda, int *info);
typedef void (*dpotrs_function)(const char *part, const int *n, const int *right, const double *a, const int *lda,
                                double *b, const int *ldb, int *info);
typedef void (*sgeqrf_function)(const int *m, const int *n, float *a, const int *lda, float *tau, float *work,
                                const int *work_count, int *info);
typedef void (*sorgqr_function)(const int *m, const int *n, const int *k, float *a, const int *lda, const float *tau,
                                float *work, const int *work_count, int *info);

static struct {
  dsyevd_function dsyevd;
  dpotrf_function dpotrf;
  dpotrs_function dpotrs;
  sgeqrf_function sgeqrf;
  sorgqr_function sorgqr;
} lapack;

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
  lapack.dsyevd = (dsyevd_function)dlsym(library, "dsyevd_");
  lapack.dpotrf = (dpotrf_function)dlsym(library, "dpotrf_");
  lapack.dpotrs = (dpotrs_function)dlsym(library, "dpotrs_");
  lapack.sgeqrf = (sgeqrf_function)dlsym(library, "sgeqrf_");
  lapack.sorgqr = (sorgqr_function)dlsym(library, "sorgqr_");
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

const char *ck_lapack_load(int level) {
  const char *problem = ck_blas_load(level);
  if (problem) return problem;
  // Written once, before the lock above was released.
  if (!lapack.dsyevd || !lapack.dpotrf || !lapack.dpotrs || !lapack.sgeqrf || !lapack.sorgqr)
    return "libopenblas.so.0 is without LAPACK; install the Debian package libopenblas0-pthread";
  return 0;
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

bool ck_lapack_eigen(int n, double *a, double *values, double *work, int work_count, int *integers,
                     int integer_count) {
  int info = 0;
  lapack.dsyevd("V", "L", &n, a, &n, values, work, &work_count, integers, &integer_count, &info);
  return info == 0;
}

bool ck_lapack_cholesky(int n, double *a) {
  int info = 0;
  lapack.dpotrf("L", &n, a, &n, &info);
  return info == 0;
}

void ck_lapack_cholesky_solve(int n, const double *factor, double *x) {
  const int one = 1;
  int info = 0;
  lapack.dpotrs("L", &n, &one, factor, &n, x, &n, &info);
}

bool ck_lapack_orthonormal(int n, float *a, float *tau, float *work, int work_count) {
  int info = 0;
  lapack.sgeqrf(&n, &n, a, &n, tau, work, &work_count, &info);
  if (info == 0) lapack.sorgqr(&n, &n, &n, a, &n, tau, work, &work_count, &info);
  return info == 0;
}
