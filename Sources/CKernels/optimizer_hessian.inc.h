// AdaHessian (Yao et al. 2021, arXiv 2006.00719): a random point on either side of the parameters, the size of the
// Hessian's diagonal from the gradients there, and the step. Learning/Optimizers/AdaHessian.swift has the rule.

// The words of one Philox4x32-10 block, as Compute's RandomKey.words(block:) has them.
CK_INLINE void CK(opt_words)(uint64_t key, uint32_t block, uint32_t x[4]) {
  uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
  x[0] = block;
  x[1] = x[2] = x[3] = 0;
  for (int round = 0; round < 10; round++) {
    const uint64_t a = (uint64_t)x[0] * 0xD2511F53u, b = (uint64_t)x[2] * 0xCD9E8D57u;
    x[0] = (uint32_t)(b >> 32) ^ x[1] ^ k0;
    x[1] = (uint32_t)b;
    x[2] = (uint32_t)(a >> 32) ^ x[3] ^ k1;
    x[3] = (uint32_t)a;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

// out = x + size * z for n floats, a multiple of 16; z_i is 1 where bit i of the key's words is 0, -1 where it is 1.
static void CK(opt_scatter)(float *out, const float *x, int64_t n, uint64_t key, float size) {
  vu shift;
  for (int lane = 0; lane < W; lane++) shift[lane] = (uint32_t)(31 - lane);
  const vu magnitude = (vu)vset1(size);
  for (int64_t i = 0; i < n; i += 128) {
    uint32_t words[4];
    CK(opt_words)(key, (uint32_t)(i / 128), words);
    const int64_t end = n - i < 128 ? n - i : 128;
    for (int64_t j = 0; j < end; j += W) {
      const vu word = (vu){0} + (words[j / 32] >> (j % 32));
      const vf z = (vf)(((word << shift) & 0x80000000u) ^ magnitude);
      vstore(out + i + j, vload(x + i + j) + z);
    }
  }
}

// The mean over rows of |above - below| * scale for W columns: floats over a few rows, doubles across them.
CK_INLINE vf CK(opt_column_means)(const float *above, const float *below, int64_t rows, int64_t columns, double scale,
                                  bool part, int lanes) {
  enum { ROWS = 32 };
  double total[W] = {0};
  for (int64_t from = 0; from < rows; from += ROWS) {
    const int64_t to = rows - from < ROWS ? rows : from + ROWS;
    vf sum = {0};
    for (int64_t row = from; row < to; row++)
      sum += vabs(opt_load(above + row * columns, part, lanes) - opt_load(below + row * columns, part, lanes));
    for (int lane = 0; lane < W; lane++) total[lane] += (double)sum[lane];
  }
  vf mean;
  for (int lane = 0; lane < W; lane++) mean[lane] = (float)(total[lane] * scale);
  return mean;
}

// For each column of [rows, columns]: D = the mean over rows of |above - below| * scale, v = b2*v + (1-b2)*D*D, and in
// place of the first row of `above` the divisor (v*correction)^(power/2) + epsilon.
static void CK(opt_curvature)(float *above, const float *below, float *v, int64_t rows, int64_t columns, double scale,
                              float b2, float correction, float power, float epsilon) {
  scale /= (double)rows;
  for (int64_t i = 0; i < columns; i += W) {
    const bool part = columns - i < W;
    const int lanes = part ? (int)(columns - i) : W;
    const vf d = part ? CK(opt_column_means)(above + i, below + i, rows, columns, scale, true, lanes)
                      : CK(opt_column_means)(above + i, below + i, rows, columns, scale, false, W);
    const vf v1 = vfma(vset1(b2), opt_load(v + i, part, lanes), vset1(1.0f - b2) * d * d);
    opt_store(v + i, v1, part, lanes);
    vf root = vsqrt(v1 * correction);
    if (power != 1.0f)
      for (int lane = 0; lane < lanes; lane++) root[lane] = powf(root[lane], power);
    opt_store(above + i, root + epsilon, part, lanes);
  }
}

CK_INLINE void CK(opt_descend)(float *p, const float *g, float *m, const float *divisor, vf b1, vf c1, vf rate,
                               vf kept, bool part, int lanes) {
  const vf m1 = vfma(b1, opt_load(m, part, lanes), c1 * opt_load(g, part, lanes));
  opt_store(m, m1, part, lanes);
  const vf by = opt_load(divisor, part, lanes);
  opt_store(p, kept * opt_load(p, part, lanes) - rate * m1 / by, part, lanes);
}

// For each row of [rows, columns]: m = b1*m + (1-b1)*g; p = kept*p - rate*m/divisor, with one divisor for each column.
static void CK(opt_divided_step)(float *p, const float *g, float *m, const float *divisor, int64_t rows,
                                 int64_t columns, float b1, float rate, float kept) {
  const vf b = vset1(b1), c = vset1(1.0f - b1), r = vset1(rate), k = vset1(kept);
  for (int64_t row = 0; row < rows; row++, p += columns, g += columns, m += columns) {
    int64_t i = 0;
    for (; i + W <= columns; i += W) CK(opt_descend)(p + i, g + i, m + i, divisor + i, b, c, r, k, false, W);
    if (i < columns)
      CK(opt_descend)(p + i, g + i, m + i, divisor + i, b, c, r, k, true, (int)(columns - i));
  }
}
