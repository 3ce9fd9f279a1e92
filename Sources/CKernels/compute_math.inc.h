// Transcendental functions on vectors, by range reduction and polynomials (coefficients of the Cephes library's
// single-precision functions, S. Moshier). Errors are given in units in the last place (ulp) of the Float32 result,
// with fused multiply-add and without. NaN in gives NaN out; infinities and zeros give their limits.

// exp: 1 ulp (2 without FMA). 0 below -104, infinity above 88.73; subnormal results are kept.
CK_INLINE vf math_exp(vf x) {
  x = at_most(at_least(x, vset1(-104.0f)), vset1(89.0f));
  // Adding 1.5 * 2^23 rounds to the nearest integer, which is then in the low bits.
  const vf shifted = vfma(x, vset1(1.44269504088896341f), vset1(12582912.0f));
  const vf n = shifted - 12582912.0f;
  vf r = vfma(n, vset1(-0.693359375f), x);
  r = vfma(n, vset1(2.12194440e-4f), r);
  vf y = vset1(1.9875691500e-4f);
  y = vfma(y, r, vset1(1.3981999507e-3f));
  y = vfma(y, r, vset1(8.3334519073e-3f));
  y = vfma(y, r, vset1(4.1665795894e-2f));
  y = vfma(y, r, vset1(1.6666665459e-1f));
  y = vfma(y, r, vset1(5.0000001201e-1f));
  y = vfma(y, r * r, r) + 1.0f;
#if W == 16
  return (vf)_mm512_scalef_ps((__m512)y, (__m512)n);
#else
  // Two factors, because 2^n itself leaves the range at both ends.
  const vi power = (vi)shifted - 0x4B400000;
  const vi half = power >> 1;
  return y * (vf)((half + 127) << 23) * (vf)((power - half + 127) << 23);
#endif
}

// Natural logarithm: 1 ulp. -infinity at 0, NaN below.
CK_INLINE vf math_log(vf x) {
  const vi tiny = x < 1.17549435e-38f;
  const vf scaled = choose(tiny, x * 8388608.0f, x);
  // The mantissa in [sqrt(1/2), sqrt(2)) and its exponent.
  const vi bits = (vi)scaled;
  const vi exponent = (bits - 0x3F3504F3) >> 23;
  const vf f = (vf)(bits - (exponent << 23)) - 1.0f;
  const vf e = __builtin_convertvector(exponent, vf) - choose(tiny, vset1(23.0f), (vf){0});
  const vf z = f * f;
  vf y = vset1(7.0376836292e-2f);
  y = vfma(y, f, vset1(-1.1514610310e-1f));
  y = vfma(y, f, vset1(1.1676998740e-1f));
  y = vfma(y, f, vset1(-1.2420140846e-1f));
  y = vfma(y, f, vset1(1.4249322787e-1f));
  y = vfma(y, f, vset1(-1.6668057665e-1f));
  y = vfma(y, f, vset1(2.0000714765e-1f));
  y = vfma(y, f, vset1(-2.4999993993e-1f));
  y = vfma(y, f, vset1(3.3333331174e-1f));
  y = y * f * z;
  y = vfma(e, vset1(-2.12194440e-4f), y);
  y = vfma(z, vset1(-0.5f), y);
  y = vfma(e, vset1(0.693359375f), f + y);
  y = choose(x == 0.0f, vset1(-INFINITY), y);
  y = choose((x < 0.0f) | (x != x), vset1(NAN), y);
  return choose(x == vset1(INFINITY), x, y);
}

// log(1 + u) for u >= 0: 2 ulp. The rounding error of 1 + u is divided out.
CK_INLINE vf math_log1p(vf u) {
  const vf w = 1.0f + u;
  const vf d = w - 1.0f;
  return choose(d == 0.0f, u, math_log(w) * (u / d));
}

// tanh: 2 ulp.
CK_INLINE vf math_tanh(vf x) {
  const vf z = x * x;
  vf p = vset1(-5.70498872745e-3f);
  p = vfma(p, z, vset1(2.06390887954e-2f));
  p = vfma(p, z, vset1(-5.37397155531e-2f));
  p = vfma(p, z, vset1(1.33314422036e-1f));
  p = vfma(p, z, vset1(-3.33332819422e-1f));
  const vf near = vfma(p * z, x, x);
  const vf magnitude = 1.0f - 2.0f / (math_exp(vabs(x) * 2.0f) + 1.0f);
  const vi sign = (vi)x & (int32_t)0x80000000;
  const vf far = (vf)((vi)magnitude | sign);
  return choose(vabs(x) < 0.625f, near, far);
}

// 1 / (1 + exp(-x)): 2 ulp down to -87; 0 where the result would be subnormal.
CK_INLINE vf math_sigmoid(vf x) { return 1.0f / (1.0f + math_exp(-x)); }

// log(1 + exp(x)) without overflow: 2 ulp.
CK_INLINE vf math_softplus(vf x) { return at_least(x, (vf){0}) + math_log1p(math_exp(-vabs(x))); }

// The tanh form of gelu, x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) (Hendrycks and Gimpel, arXiv 1606.08415), which
// is x sigmoid of twice the tanh's argument.
#define GELU_LINE 1.5957691216057308f
#define GELU_CUBE 0.0713548162726f
CK_INLINE vf gelu_exp(vf x) { return math_exp(-x * vfma(x * x, vset1(GELU_CUBE), vset1(GELU_LINE))); }
CK_INLINE vf math_gelu(vf x) { return x / (1.0f + gelu_exp(x)); }
CK_INLINE vf math_gelu_slope(vf x) {
  const vf s = 1.0f / (1.0f + gelu_exp(x));
  return vfma(x * s * (1.0f - s), vfma(x * x, vset1(3.0f * GELU_CUBE), vset1(GELU_LINE)), s);
}

CK_INLINE vf math_silu(vf x) { return x * math_sigmoid(x); }
CK_INLINE vf math_silu_slope(vf x) {
  const vf s = math_sigmoid(x);
  return s * (1.0f + x * (1.0f - s));
}

// The error function: 2 ulp. Near 0 a polynomial in x^2; else erfc is the exponential of a polynomial, which is 0 in
// Float32 from 4 on. Both were fitted by reweighted least squares.
CK_INLINE vf math_erf(vf x) {
  const vf z = x * x;
  vf p = vset1(-5.9195480e-4f);
  p = vfma(p, z, vset1(4.9791620e-3f));
  p = vfma(p, z, vset1(-2.6757063e-2f));
  p = vfma(p, z, vset1(1.1281554e-1f));
  p = vfma(p, z, vset1(-3.7612468e-1f));
  p = vfma(p, z, vset1(1.2837915e-1f));
  const vf near = vfma(p, x, x);
  const vf t = at_most(vabs(x), vset1(4.0f));
  vf q = vset1(2.1327692e-4f);
  q = vfma(q, t, vset1(-3.2091921e-3f));
  q = vfma(q, t, vset1(2.2871740e-2f));
  q = vfma(q, t, vset1(-1.0523386e-1f));
  q = vfma(q, t, vset1(-6.3573921e-1f));
  q = vfma(q, t, vset1(-1.1285083f));
  const vf magnitude = 1.0f - math_exp(q * t);
  const vf far = (vf)((vi)magnitude | ((vi)x & (int32_t)0x80000000));
  return choose(vabs(x) < 0.9375f, near, far);
}

// The exact form of gelu: x times the normal distribution function of x.
CK_INLINE vf normal_cumulative(vf x) { return vfma(math_erf(x * 0.70710678f), vset1(0.5f), vset1(0.5f)); }
CK_INLINE vf math_gelu_exact(vf x) { return x * normal_cumulative(x); }
CK_INLINE vf math_gelu_exact_slope(vf x) {
  // Far out the density is 0, also where its product with an infinity would not be.
  const vf density = 0.39894228f * math_exp(-0.5f * x * x);
  return normal_cumulative(x) + choose(density == (vf){0}, (vf){0}, x * density);
}

// Sine, or cosine with `turns` 1: 2 ulp of 1. Beyond 8192 the range reduction
// would lose digits without fused multiply-add, so the C library is asked.
CK_INLINE vf sine_of(vf x, const int turns) {
  const vf shifted = vfma(x, vset1(0.63661977f), vset1(12582912.0f));
  const vf n = shifted - 12582912.0f;
  // Pi / 2 in three parts, of which the first two have few enough digits for exact products.
  vf r = vfma(n, vset1(-1.5703125f), x);
  r = vfma(n, vset1(-4.83751297e-4f), r);
  r = vfma(n, vset1(-7.5497899549e-8f), r);
  const vi quarter = (vi)shifted + turns;
  const vf z = r * r;
  vf s = vset1(-1.9515295891e-4f);
  s = vfma(s, z, vset1(8.3321608736e-3f));
  s = vfma(s, z, vset1(-1.6666654611e-1f));
  s = vfma(s * z, r, r);
  vf c = vset1(2.443315711809948e-5f);
  c = vfma(c, z, vset1(-1.388731625493765e-3f));
  c = vfma(c, z, vset1(4.166664568298827e-2f));
  c = vfma(c * z, z, vfma(z, vset1(-0.5f), vset1(1.0f)));
  vf y = choose((quarter & 1) != 0, c, s);
  y = (vf)((vi)y ^ ((quarter & 2) << 30));
  const vi far = (vi)(vabs(x) > 8192.0f);
  if (__builtin_reduce_or(far))
    for (int i = 0; i < W; i++)
      if (far[i]) y[i] = turns ? cosf(x[i]) : sinf(x[i]);
  return y;
}
CK_INLINE vf math_sin(vf x) { return sine_of(x, 0); }
CK_INLINE vf math_cos(vf x) { return sine_of(x, 1); }

// exp(x) - 1: 2 ulp; near 0 it keeps its digits.
CK_INLINE vf math_expm1(vf x) {
  vf p = vset1(1.9875691500e-4f);
  p = vfma(p, x, vset1(1.3981999507e-3f));
  p = vfma(p, x, vset1(8.3334519073e-3f));
  p = vfma(p, x, vset1(4.1665795894e-2f));
  p = vfma(p, x, vset1(1.6666665459e-1f));
  p = vfma(p, x, vset1(5.0000001201e-1f));
  return choose(vabs(x) < 0.34657359f, vfma(p, x * x, x), math_exp(x) - 1.0f);
}

// x^p: by squaring where p is whole and at most 64 in size, each product within half an ulp; else exp(p log |x|), whose error is about |p log x| ulp, with
// the sign of an odd power and NaN for other powers of negative numbers.
CK_INLINE vf math_power(vf x, float p) {
  const int whole = p == __builtin_rintf(p);
  if (whole && p >= -64 && p <= 64) {
    vf y = vset1(1), base = x;
    for (int n = (int)(p < 0 ? -p : p); n; n >>= 1) {
      if (n & 1) y *= base;
      base *= base;
    }
    return p < 0 ? 1.0f / y : y;
  }
  const vf y = math_exp(p * math_log(vabs(x)));
  if (!whole) return choose(x < (vf){0}, vset1(NAN), y);
  const int odd = whole && __builtin_fmodf(p, 2) != 0;
  return odd ? (vf)((vi)y | ((vi)x & (int32_t)0x80000000)) : y;
}
