// Group normalisation (Wu and He 2018, arXiv 1803.08494) over [B, positions, C]: one mean and variance for each example
// and group of neighbouring channels. Sums run down the positions channel by channel, then over a group's channels.

// out[c] = the mean of `in` over the channels of c's group.
CK_INLINE void group_means(const float *in, float *out, int64_t channels, int64_t groups, int64_t positions) {
  const int64_t wide = channels / groups;
  for (int64_t g = 0; g < groups; g++) {
    double sum = 0;
    for (int64_t c = g * wide; c < (g + 1) * wide; c++) sum += (double)in[c];
    const float mean = (float)(sum / (double)(wide * positions));
    for (int64_t c = g * wide; c < (g + 1) * wide; c++) out[c] = mean;
  }
}

static void CK(group_norm)(const ck_call *call) {
  const int64_t batch = call->n[0], positions = call->n[1], n = call->n[2], groups = call->n[3];
  const float *scale = call->p[2], *offset = call->p[3];
  float *mean = call->p[5], *sum = mean + n;
  for (int64_t b = 0; b < batch; b++) {
    const float *x = (const float *)call->p[1] + b * positions * n;
    float *y = (float *)call->p[0] + b * positions * n, *statistics = (float *)call->p[4] + b * groups * 2;
    for (int64_t i = 0; i < n; i += W) {
      vf s = {0};
      for (int64_t r = 0; r < positions; r++) s += load_n(x + r * n + i, n - i);
      store_n(sum + i, s, n - i);
    }
    group_means(sum, mean, n, groups, positions);
    for (int64_t i = 0; i < n; i += W) {
      const vf m = load_n(mean + i, n - i);
      vf s = {0};
      for (int64_t r = 0; r < positions; r++) {
        const vf d = load_n(x + r * n + i, n - i) - m;
        s = vfma(d, d, s);
      }
      store_n(sum + i, s, n - i);
    }
    for (int64_t g = 0; g < groups; g++) statistics[2 * g] = mean[g * (n / groups)];
    group_means(sum, sum, n, groups, positions);
    for (int64_t g = 0; g < groups; g++)
      statistics[2 * g + 1] = 1.0f / __builtin_sqrtf(sum[g * (n / groups)] + call->a[0]);
    for (int64_t c = 0; c < n; c++) sum[c] = statistics[2 * (c / (n / groups)) + 1] * scale[c];
    for (int64_t r = 0; r < positions; r++)
      for (int64_t i = 0; i < n; i += W)
        store_n(y + r * n + i,
                vfma(load_n(x + r * n + i, n - i) - load_n(mean + i, n - i), load_n(sum + i, n - i),
                     load_n(offset + i, n - i)),
                n - i);
  }
}

// With z the normalised x and g = dy scale: dx = inverse (g - mean(g) - z mean(g z)), means over the group.
static void CK(group_norm_backward)(const ck_call *call) {
  const int64_t batch = call->n[0], positions = call->n[1], n = call->n[2], groups = call->n[3], wide = n / groups;
  const float *scale = call->p[2];
  float *dscale = call->p[5], *doffset = call->p[6];
  float *mean = call->p[7], *inverse = mean + n, *mean_g = inverse + n, *mean_gz = mean_g + n;
  __builtin_memset(dscale, 0, (size_t)n * sizeof(float));
  __builtin_memset(doffset, 0, (size_t)n * sizeof(float));
  for (int64_t b = 0; b < batch; b++) {
    const int64_t start = b * positions * n;
    const float *x = (const float *)call->p[1] + start, *dy = (const float *)call->p[4] + start;
    const float *statistics = (const float *)call->p[3] + b * groups * 2;
    float *dx = (float *)call->p[0] + start;
    for (int64_t c = 0; c < n; c++) {
      mean[c] = statistics[2 * (c / wide)];
      inverse[c] = statistics[2 * (c / wide) + 1];
    }
    for (int64_t i = 0; i < n; i += W) {
      const vf m = load_n(mean + i, n - i);
      vf sum = {0}, product = {0};
      for (int64_t r = 0; r < positions; r++) {
        const vf d = load_n(dy + r * n + i, n - i);
        sum += d;
        product = vfma(d, load_n(x + r * n + i, n - i) - m, product);
      }
      product *= load_n(inverse + i, n - i);
      store_n(doffset + i, load_n(doffset + i, n - i) + sum, n - i);
      store_n(dscale + i, load_n(dscale + i, n - i) + product, n - i);
      store_n(mean_g + i, sum * load_n(scale + i, n - i), n - i);
      store_n(mean_gz + i, product * load_n(scale + i, n - i), n - i);
    }
    group_means(mean_g, mean_g, n, groups, positions);
    group_means(mean_gz, mean_gz, n, groups, positions);
    for (int64_t r = 0; r < positions; r++)
      for (int64_t i = 0; i < n; i += W) {
        const vf k = load_n(inverse + i, n - i), z = (load_n(x + r * n + i, n - i) - load_n(mean + i, n - i)) * k;
        const vf g = load_n(dy + r * n + i, n - i) * load_n(scale + i, n - i);
        store_n(dx + r * n + i, k * (g - load_n(mean_g + i, n - i) - z * load_n(mean_gz + i, n - i)), n - i);
      }
  }
}
