// Layer and RMS normalisation over rows. The forward pass leaves each row's mean and 1 / sqrt(variance + epsilon), which
// the backward pass reads; RMS normalisation is the same with a mean of zero.

// y = (x - mean) / sqrt(variance + epsilon) * scale + offset
CK_INLINE void norm_rows(const int centred, int64_t rows, int64_t n, const float *x, const float *scale,
                         const float *offset, float *statistics, float *y, float epsilon) {
  for (int64_t r = 0; r < rows; r++, x += n, y += n, statistics += 2) {
    float mean = 0;
    if (centred) {
      vf sum = {0};
      for (int64_t i = 0; i < n; i += W) sum += load_n(x + i, n - i);
      mean = vsum(sum) / (float)n;
    }
    vf squares = {0};
    for (int64_t i = 0; i < n; i += W) {
      const vf d = keep_n(load_n(x + i, n - i) - mean, n - i, 0);
      squares = vfma(d, d, squares);
    }
    const float inverse = 1.0f / __builtin_sqrtf(vsum(squares) / (float)n + epsilon);
    statistics[0] = mean;
    statistics[1] = inverse;
    for (int64_t i = 0; i < n; i += W) {
      vf z = (load_n(x + i, n - i) - mean) * inverse * load_n(scale + i, n - i);
      if (centred) z += load_n(offset + i, n - i);
      store_n(y + i, z, n - i);
    }
  }
}

static void CK(layer_norm)(const ck_call *call) {
  norm_rows(1, call->n[0], call->n[1], call->p[1], call->p[2], call->p[3], call->p[4], call->p[0], call->a[0]);
}

static void CK(rms_norm)(const ck_call *call) {
  norm_rows(0, call->n[0], call->n[1], call->p[1], call->p[2], 0, call->p[3], call->p[0], call->a[0]);
}

// With z the normalised x and g = dy scale: dx = inverse (g - mean(g) - z mean(g z)), dscale = sum dy z over rows,
// doffset = sum dy.
CK_INLINE void norm_rows_backward(const int centred, int64_t rows, int64_t n, const float *x, const float *scale,
                                  const float *statistics, const float *dy, float *dx, float *dscale, float *doffset) {
  __builtin_memset(dscale, 0, (size_t)n * sizeof(float));
  if (centred) __builtin_memset(doffset, 0, (size_t)n * sizeof(float));
  for (int64_t r = 0; r < rows; r++, x += n, dy += n, dx += n, statistics += 2) {
    const float mean = statistics[0], inverse = statistics[1];
    vf sum = {0}, product = {0};
    for (int64_t i = 0; i < n; i += W) {
      const vf d = load_n(dy + i, n - i), z = (load_n(x + i, n - i) - mean) * inverse, g = d * load_n(scale + i, n - i);
      sum += g;
      product = vfma(g, z, product);
      store_n(dscale + i, vfma(d, z, load_n(dscale + i, n - i)), n - i);
      if (centred) store_n(doffset + i, load_n(doffset + i, n - i) + d, n - i);
    }
    const float mean_g = centred ? vsum(sum) / (float)n : 0, mean_gz = vsum(product) / (float)n;
    for (int64_t i = 0; i < n; i += W) {
      const vf z = (load_n(x + i, n - i) - mean) * inverse, g = load_n(dy + i, n - i) * load_n(scale + i, n - i);
      store_n(dx + i, inverse * (g - mean_g - z * mean_gz), n - i);
    }
  }
}

static void CK(layer_norm_backward)(const ck_call *call) {
  norm_rows_backward(1, call->n[0], call->n[1], call->p[1], call->p[2], call->p[3], call->p[4], call->p[0], call->p[5],
                     call->p[6]);
}

static void CK(rms_norm_backward)(const ck_call *call) {
  norm_rows_backward(0, call->n[0], call->n[1], call->p[1], call->p[2], call->p[3], call->p[4], call->p[0], call->p[5],
                     0);
}
