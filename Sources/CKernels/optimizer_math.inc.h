// Vector mathematics of the optimizer kernels: partial vectors, NaN-keeping clamps, exact 1/sqrt, exp.
// Built on vector.inc.h; used by the other optimizer_*.inc.h files.

// The first n lanes (0 < n < W) of memory, the other lanes zero; and its store.
#if CK_OPT_LEVEL == 2
CK_INLINE __mmask16 opt_mask(int n) { return (__mmask16)((1u << n) - 1u); }
CK_INLINE vf opt_load_n(const float *p, int n) { return (vf)_mm512_maskz_loadu_ps(opt_mask(n), p); }
CK_INLINE void opt_store_n(float *p, vf x, int n) { _mm512_mask_storeu_ps(p, opt_mask(n), (__m512)x); }
CK_INLINE vf opt_keep(vf x, int n) { return (vf)_mm512_maskz_mov_ps(opt_mask(n), (__m512)x); }
#elif CK_OPT_LEVEL == 1
static const int32_t CK(opt_lanes)[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
CK_INLINE __m256i opt_mask(int n) { return _mm256_loadu_si256((const __m256i *)(CK(opt_lanes) + 8 - n)); }
CK_INLINE vf opt_load_n(const float *p, int n) { return (vf)_mm256_maskload_ps(p, opt_mask(n)); }
CK_INLINE void opt_store_n(float *p, vf x, int n) { _mm256_maskstore_ps(p, opt_mask(n), (__m256)x); }
CK_INLINE vf opt_keep(vf x, int n) { return (vf)((vi)x & (vi)opt_mask(n)); }
#else
CK_INLINE vf opt_load_n(const float *p, int n) {
  vf x = {0};
  for (int i = 0; i < W; i++)
    if (i < n) x[i] = p[i];
  return x;
}
CK_INLINE void opt_store_n(float *p, vf x, int n) {
  for (int i = 0; i < W; i++)
    if (i < n) p[i] = x[i];
}
CK_INLINE vf opt_keep(vf x, int n) {
  for (int i = 0; i < W; i++)
    if (i >= n) x[i] = 0;
  return x;
}
#endif

// A whole vector when `part` is false (a constant at every call), else the first n lanes.
CK_INLINE vf opt_load(const float *p, bool part, int n) { return part ? opt_load_n(p, n) : vload(p); }
CK_INLINE void opt_store(float *p, vf x, bool part, int n) {
  if (part)
    opt_store_n(p, x, n);
  else
    vstore(p, x);
}

// The greater (lesser) of a bound and x; x where x is NaN: a poisoned gradient must show in the parameters.
#if CK_OPT_LEVEL == 2
CK_INLINE vf opt_at_least(vf bound, vf x) { return (vf)_mm512_max_ps((__m512)bound, (__m512)x); }
CK_INLINE vf opt_at_most(vf bound, vf x) { return (vf)_mm512_min_ps((__m512)bound, (__m512)x); }
#elif CK_OPT_LEVEL == 1
CK_INLINE vf opt_at_least(vf bound, vf x) { return (vf)_mm256_max_ps((__m256)bound, (__m256)x); }
CK_INLINE vf opt_at_most(vf bound, vf x) { return (vf)_mm256_min_ps((__m256)bound, (__m256)x); }
#else
CK_INLINE vf opt_at_least(vf bound, vf x) {
  const vi use = (vi)(bound > x);
  return (vf)((use & (vi)bound) | (~use & (vi)x));
}
CK_INLINE vf opt_at_most(vf bound, vf x) {
  const vi use = (vi)(bound < x);
  return (vf)((use & (vi)bound) | (~use & (vi)x));
}
#endif
CK_INLINE vf opt_relu(vf x) { return opt_at_least((vf){0}, x); }
CK_INLINE vf opt_floor(vf x, float low) { return opt_at_least(vset1(low), x); }
CK_INLINE vf opt_clamp(vf x, float low, float high) { return opt_at_most(vset1(high), opt_floor(x, low)); }

// 1/sqrt(x), correctly rounded in both steps: approximations differ between processors.
CK_INLINE vf opt_rsqrt(vf x) { return 1.0f / vsqrt(x); }

// exp(x) within 2 ulp for x in [-87, 88]; beyond, the value at the nearer end.
CK_INLINE vf opt_exp(vf x) {
  x = opt_clamp(x, -87.0f, 88.0f);
  // Adding 1.5 * 2^23 rounds to the nearest integer, which is then in the low bits.
  vf shifted = vfma(x, vset1(1.44269504088896341f), vset1(12582912.0f));
  vf n = shifted - 12582912.0f;
  vf r = vfma(n, vset1(-0.693359375f), x);
  r = vfma(n, vset1(2.12194440e-4f), r);
  vf y = vset1(1.9875691500e-4f);
  y = vfma(y, r, vset1(1.3981999507e-3f));
  y = vfma(y, r, vset1(8.3334519073e-3f));
  y = vfma(y, r, vset1(4.1665795894e-2f));
  y = vfma(y, r, vset1(1.6666665459e-1f));
  y = vfma(y, r, vset1(5.0000001201e-1f));
  y = vfma(y, r * r, r + 1.0f);
  vu bits = (vu)shifted - 0x4B400000u;
  return y * (vf)((bits + 127u) << 23);
}
CK_INLINE vf opt_sigmoid(vf x) { return 1.0f / (1.0f + opt_exp(-x)); }
// Absolute error about 1e-7, which is what an additive input of a network needs.
CK_INLINE vf opt_tanh(vf x) { return 1.0f - 2.0f / (opt_exp(x + x) + 1.0f); }

// out[k] = a[k] + scale * b[k] for a row of a small network's weights; four at a time, which is how wide the narrow
// network is at every level.
typedef float opt_four __attribute__((vector_size(16), aligned(4)));
CK_INLINE void opt_row(float *out, const float *a, const float *b, float scale, const int n) {
  int k = 0;
  for (; k + 4 <= n; k += 4) *(opt_four *)(out + k) = *(const opt_four *)(a + k) + *(const opt_four *)(b + k) * scale;
  for (; k < n; k++) out[k] = a[k] + b[k] * scale;
}
// out[k] = b[k] * scale.
CK_INLINE void opt_scale_row(float *out, const float *b, float scale, const int n) {
  int k = 0;
  for (; k + 4 <= n; k += 4) *(opt_four *)(out + k) = *(const opt_four *)(b + k) * scale;
  for (; k < n; k++) out[k] = b[k] * scale;
}

CK_INLINE double opt_sum(vf x) { return (double)vsum(x); }
