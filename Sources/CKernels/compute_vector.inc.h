// Partial vectors and NaN-keeping choices for the compute kernels, over vector.inc.h.
// Included first by compute_table.inc.h; compute_math, compute_gemm and the others build on it.

// The first n lanes (0 < n < W) of memory with the other lanes zero, and their store.
#if W == 16
CK_INLINE __mmask16 part_mask(int n) { return (__mmask16)((1u << n) - 1u); }
CK_INLINE vf part_load(const float *p, int n) { return (vf)_mm512_maskz_loadu_ps(part_mask(n), p); }
CK_INLINE void part_store(float *p, vf x, int n) { _mm512_mask_storeu_ps(p, part_mask(n), (__m512)x); }
#elif W == 8
static const int32_t CK(part_lanes)[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
CK_INLINE __m256i part_mask(int n) { return _mm256_loadu_si256((const __m256i *)(CK(part_lanes) + 8 - n)); }
CK_INLINE vf part_load(const float *p, int n) { return (vf)_mm256_maskload_ps(p, part_mask(n)); }
CK_INLINE void part_store(float *p, vf x, int n) { _mm256_maskstore_ps(p, part_mask(n), (__m256)x); }
#else
CK_INLINE vf part_load(const float *p, int n) {
  vf x = {0};
  for (int i = 0; i < W; i++)
    if (i < n) x[i] = p[i];
  return x;
}
CK_INLINE void part_store(float *p, vf x, int n) {
  for (int i = 0; i < W; i++)
    if (i < n) p[i] = x[i];
}
#endif

// A whole vector for n >= W (a constant at most calls), else the first n lanes.
CK_INLINE vf load_n(const float *p, int64_t n) { return n >= W ? vload(p) : part_load(p, (int)n); }
CK_INLINE void store_n(float *p, vf x, int64_t n) {
  if (n >= W)
    vstore(p, x);
  else
    part_store(p, x, (int)n);
}

// mask ? a : b, lane by lane; a mask is the result of a comparison (all bits set, or none).
CK_INLINE vf choose(vi mask, vf a, vf b) { return (vf)(((vi)a & mask) | ((vi)b & ~mask)); }
// The lanes from n on replaced by `other`.
CK_INLINE vf keep_n(vf x, int64_t n, float other) {
  vi lane;
  for (int i = 0; i < W; i++) lane[i] = i;
  return n >= W ? x : choose(lane < (int32_t)n, x, vset1(other));
}
// a > b ? a : b and a < b ? a : b, one instruction on x86: b where either is NaN.
#if W == 16
CK_INLINE vf greater_or(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
CK_INLINE vf less_or(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
#elif W == 8
CK_INLINE vf greater_or(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
CK_INLINE vf less_or(vf a, vf b) { return (vf)_mm256_min_ps((__m256)a, (__m256)b); }
#else
CK_INLINE vf greater_or(vf a, vf b) { return choose(a > b, a, b); }
CK_INLINE vf less_or(vf a, vf b) { return choose(a < b, a, b); }
#endif
// x kept within a bound, NaN where x is NaN; relu(NaN) is NaN, so that a loss shows it.
CK_INLINE vf at_least(vf x, vf bound) { return greater_or(bound, x); }
CK_INLINE vf at_most(vf x, vf bound) { return less_or(bound, x); }
// NaN where either is NaN.
CK_INLINE vf larger(vf a, vf b) { return choose((a > b) | (a != a), a, b); }
CK_INLINE vf smaller(vf a, vf b) { return choose((a < b) | (a != a), a, b); }
CK_INLINE float max_lanes(vf x) {
  float lanes[W];
  __builtin_memcpy(lanes, &x, sizeof x);
  for (int width = W / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++)
      lanes[i] = lanes[i] > lanes[i + width] || lanes[i] != lanes[i] ? lanes[i] : lanes[i + width];
  return lanes[0];
}
