// Softmax and log-softmax over rows. The row's maximum is subtracted first, so that no finite row overflows. A NaN
// anywhere in a row makes the row's results NaN: the sum of the exponentials shows it, so the maximum need not.

CK_INLINE float row_max(const float *x, int64_t n) {
  vf top = vset1(-INFINITY);
  for (int64_t i = 0; i < n; i += W) top = greater_or(keep_n(load_n(x + i, n - i), n - i, -INFINITY), top);
  return max_lanes(top);
}

// The sum of exp(x - top); each exp is stored where `out` is given.
CK_INLINE float row_exp(const float *x, float top, float *out, int64_t n) {
  vf sum = {0};
  for (int64_t i = 0; i < n; i += W) {
    const vf e = keep_n(math_exp(load_n(x + i, n - i) - top), n - i, 0);
    sum += e;
    if (out) store_n(out + i, e, n - i);
  }
  return vsum(sum);
}

CK_INLINE float log_of(float x) { return math_log(vset1(x))[0]; }

static void CK(softmax)(const ck_call *call) {
  const int64_t rows = call->n[0], n = call->n[1];
  for (int64_t r = 0; r < rows; r++) {
    const float *x = (const float *)call->p[1] + r * n;
    float *out = (float *)call->p[0] + r * n;
    const float scale = 1.0f / row_exp(x, row_max(x, n), out, n);
    for (int64_t i = 0; i < n; i += W) store_n(out + i, load_n(out + i, n - i) * scale, n - i);
  }
}

static void CK(log_softmax)(const ck_call *call) {
  const int64_t rows = call->n[0], n = call->n[1];
  for (int64_t r = 0; r < rows; r++) {
    const float *x = (const float *)call->p[1] + r * n;
    float *out = (float *)call->p[0] + r * n;
    const float top = row_max(x, n), logarithm = log_of(row_exp(x, top, 0, n));
    for (int64_t i = 0; i < n; i += W) store_n(out + i, load_n(x + i, n - i) - top - logarithm, n - i);
  }
}

// dx = y (dy - sum(dy y))
static void CK(softmax_backward)(const ck_call *call) {
  const int64_t rows = call->n[0], n = call->n[1];
  for (int64_t r = 0; r < rows; r++) {
    const float *y = (const float *)call->p[1] + r * n, *dy = (const float *)call->p[2] + r * n;
    float *dx = (float *)call->p[0] + r * n;
    vf sum = {0};
    for (int64_t i = 0; i < n; i += W) sum += load_n(dy + i, n - i) * load_n(y + i, n - i);
    const float total = vsum(sum);
    for (int64_t i = 0; i < n; i += W)
      store_n(dx + i, load_n(y + i, n - i) * (load_n(dy + i, n - i) - total), n - i);
  }
}

// dx = dy - exp(y) sum(dy)
static void CK(log_softmax_backward)(const ck_call *call) {
  const int64_t rows = call->n[0], n = call->n[1];
  for (int64_t r = 0; r < rows; r++) {
    const float *y = (const float *)call->p[1] + r * n, *dy = (const float *)call->p[2] + r * n;
    float *dx = (float *)call->p[0] + r * n;
    vf sum = {0};
    for (int64_t i = 0; i < n; i += W) sum += load_n(dy + i, n - i);
    const float total = vsum(sum);
    for (int64_t i = 0; i < n; i += W)
      store_n(dx + i, load_n(dy + i, n - i) - math_exp(load_n(y + i, n - i)) * total, n - i);
  }
}
