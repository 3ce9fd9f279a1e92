// What prepares gradients before a rule sees them: their norm, their bounds, whether they are finite.

// Sum of x^2: floats within a block, doubles across blocks and where floats overflow, always in the same order.
static double CK(opt_squares)(const float *x, int64_t n) {
  enum { BLOCK = 4096 };
  double total = 0;
  for (int64_t from = 0; from < n; from += BLOCK) {
    const int64_t to = n - from < BLOCK ? n : from + BLOCK;
    vf sum = {0};
    int64_t i = from;
    for (; i + W <= to; i += W) sum = vfma(vload(x + i), vload(x + i), sum);
    if (i < to) {
      const vf last = opt_load_n(x + i, (int)(to - i));
      sum = vfma(last, last, sum);
    }
    double block = opt_sum(sum);
    if (!(block <= 3e38)) {
      block = 0;
      for (i = from; i < to; i++) block += (double)x[i] * (double)x[i];
    }
    total += block;
  }
  return total;
}

// x * 0 is 0 for finite x and NaN for all others.
static bool CK(opt_are_finite)(const float *x, int64_t n) {
  vf sum = {0};
  int64_t i = 0;
  for (; i + W <= n; i += W) sum += vload(x + i) * 0.0f;
  if (i < n) sum += opt_load_n(x + i, (int)(n - i)) * 0.0f;
  return vsum(sum) == 0.0f;
}

static void CK(opt_clamp_all)(float *g, int64_t n, float bound) {
  int64_t i = 0;
  for (; i + W <= n; i += W) vstore(g + i, opt_clamp(vload(g + i), -bound, bound));
  if (i < n) opt_store_n(g + i, opt_clamp(opt_load_n(g + i, (int)(n - i)), -bound, bound), (int)(n - i));
}

static void CK(opt_blend)(float *g, const float *p, int64_t n, float scale, float share) {
  const vf a = vset1(scale), b = vset1(share);
  int64_t i = 0;
  for (; i + W <= n; i += W) vstore(g + i, vfma(a, vload(g + i), b * vload(p + i)));
  if (i < n) {
    const int lanes = (int)(n - i);
    opt_store_n(g + i, vfma(a, opt_load_n(g + i, lanes), b * opt_load_n(p + i, lanes)), lanes);
  }
}
