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
  // Two factors, because 2^n itself leaves the range at both ends.
  const vi power = (vi)shifted - 0x4B400000;
  const vi half = power >> 1;
  return y * (vf)((half + 127) << 23) * (vf)((power - half + 127) << 23);
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

// The tanh form of gelu: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) (Hendrycks and Gimpel, arXiv 1606.08415).
#define GELU_SCALE 0.7978845608028654f
#define GELU_CUBE 0.044715f
CK_INLINE vf gelu_tanh(vf x) { return math_tanh(GELU_SCALE * vfma(x * x * GELU_CUBE, x, x)); }
CK_INLINE vf math_gelu(vf x) { return 0.5f * x * (1.0f + gelu_tanh(x)); }
CK_INLINE vf math_gelu_slope(vf x) {
  const vf t = gelu_tanh(x);
  const vf inner = GELU_SCALE * vfma(x * x, vset1(3.0f * GELU_CUBE), vset1(1.0f));
  return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * inner;
}

CK_INLINE vf math_silu(vf x) { return x * math_sigmoid(x); }
CK_INLINE vf math_silu_slope(vf x) {
  const vf s = math_sigmoid(x);
  return s * (1.0f + x * (1.0f - s));
}
