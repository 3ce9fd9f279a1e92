// One level's vector vocabulary. Included at the head of each <area>_<level>.c, after that file has defined
// CK_LEVEL as scalar, avx2 or avx512 and included every system header (the target pragma below must not
// cover them). All kernels of an area live in <area>_*.inc.h files that this vocabulary makes level-neutral.
//
//   W            floats in a vector (4, 8, 16)
//   vf, vi       float and int32 vectors of W lanes
//   CK(name)     name with the level's suffix
//   vload/vstore unaligned memory access; vset1 broadcast; vfma(a,b,c) = a*b+c; vsum horizontal sum
//   vload_n, vstore_n  the first n lanes only (n < W); the other lanes read as zero and are not written
#define CK_PASTE2(a, b) a##_##b
#define CK_PASTE(a, b) CK_PASTE2(a, b)
#define CK(name) CK_PASTE(name, CK_LEVEL)

typedef float vf __attribute__((vector_size(4 * W), aligned(4 * W)));
typedef float vf_u __attribute__((vector_size(4 * W), aligned(4)));
typedef int32_t vi __attribute__((vector_size(4 * W), aligned(4 * W)));
typedef int32_t vi_u __attribute__((vector_size(4 * W), aligned(4)));
typedef uint32_t vu __attribute__((vector_size(4 * W), aligned(4 * W)));

#define CK_INLINE static inline __attribute__((always_inline))

CK_INLINE vf vload(const float *p) { return *(const vf_u *)p; }
CK_INLINE void vstore(float *p, vf x) { *(vf_u *)p = x; }
// Minus zero keeps every x, -0 too, so that it costs no instruction; plus zero would.
CK_INLINE vf vset1(float x) { return x - (vf){0}; }
CK_INLINE vf vload_n(const float *p, int n) {
  vf x = {0};
  __builtin_memcpy(&x, p, (size_t)n * 4);
  return x;
}
CK_INLINE void vstore_n(float *p, vf x, int n) { __builtin_memcpy(p, &x, (size_t)n * 4); }
CK_INLINE vf vmax(vf a, vf b) { return __builtin_elementwise_max(a, b); }
CK_INLINE vf vmin(vf a, vf b) { return __builtin_elementwise_min(a, b); }
CK_INLINE vf vabs(vf a) { return __builtin_elementwise_abs(a); }
CK_INLINE vf vsqrt(vf a) { return __builtin_elementwise_sqrt(a); }
#if W > 4 || defined(__ARM_FEATURE_FMA)
CK_INLINE vf vfma(vf a, vf b, vf c) { return __builtin_elementwise_fma(a, b, c); }
#else
// Baseline x86-64 has no fused multiply-add; calling libm for each lane would be ten times slower.
CK_INLINE vf vfma(vf a, vf b, vf c) { return a * b + c; }
#endif
CK_INLINE float vsum(vf x) {
  float s = 0;
  float lanes[W];
  __builtin_memcpy(lanes, &x, sizeof x);
  for (int width = W / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++) lanes[i] += lanes[i + width];
  s = lanes[0];
  return s;
}
