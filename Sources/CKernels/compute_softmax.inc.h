// Softmax, log-softmax and the mean cross-entropy over rows of classes. The row's maximum is subtracted first, so that
// no finite row overflows. A NaN anywhere in a row makes the row's results NaN: the sum of the exponentials shows it, so
// the maximum need not.

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

// W rows of at most W classes at once: transposed in registers, so that maximum, sum and choice of the label are plain
// lane-wise operations. Twice as fast as row by row at 10 classes. Returns the sum of the rows' losses.
CK_INLINE double cross_entropy_block(int64_t rows, int64_t classes, const float *logits, const int32_t *labels,
                                     float *gradient, float weight) {
  vf x[W];
#pragma clang loop unroll(full)
  for (int r = 0; r < W; r++) x[r] = r < rows ? load_n(logits + r * classes, classes) : (vf){0};
  transpose_block(x);
  const vi label = (vi)load_n((const float *)labels, rows);
  vf top = x[0], sum = {0}, picked = {0};
  vi known = {0};
  for (int c = 1; c < classes; c++) top = greater_or(x[c], top);
  for (int c = 0; c < classes; c++) {
    const vf shifted = x[c] - top;
    const vi here = label == c;
    picked = choose(here, shifted, picked);
    known |= here;
    x[c] = math_exp(shifted);
    sum += x[c];
  }
  const vf loss = choose(known, math_log(sum) - picked, vset1(NAN));
  if (gradient) {
    const vf scale = choose(known, weight / sum, vset1(NAN));
    for (int c = 0; c < classes; c++) x[c] = x[c] * scale - choose(label == c, vset1(weight), (vf){0});
    transpose_block(x);
#pragma clang loop unroll(full)
    for (int r = 0; r < W; r++)
      if (r < rows) store_n(gradient + r * classes, x[r], classes);
  }
  return (double)vsum(keep_n(loss, rows, 0));
}

CK_INLINE double cross_entropy_row(int64_t classes, const float *logits, int32_t label, float *gradient, float weight) {
  const int known = label >= 0 && label < classes;
  const float top = row_max(logits, classes), sum = row_exp(logits, top, gradient, classes);
  const float loss = known ? log_of(sum) - (logits[label] - top) : NAN;
  if (gradient) {
    const float scale = known ? weight / sum : NAN;
    for (int64_t i = 0; i < classes; i += W)
      store_n(gradient + i, load_n(gradient + i, classes - i) * scale, classes - i);
    if (known) gradient[label] -= weight;
  }
  return (double)loss;
}

static void CK(cross_entropy)(const ck_call *call) {
  const int64_t rows = call->n[0], classes = call->n[1];
  const float *logits = call->p[1], *upstream = call->p[4];
  const int32_t *labels = call->p[2];
  float *loss = call->p[0], *gradient = call->p[3];
  const float weight = (upstream ? *upstream : call->a[0]) / (float)rows;
  double total = 0;
  if (classes <= W) {
    // The count of rows is a constant for all blocks but the last.
    int64_t r = 0;
    for (; r + W <= rows; r += W)
      total += cross_entropy_block(W, classes, logits + r * classes, labels + r,
                                   gradient ? gradient + r * classes : 0, weight);
    if (r < rows)
      total += cross_entropy_block(rows - r, classes, logits + r * classes, labels + r,
                                   gradient ? gradient + r * classes : 0, weight);
  } else
    for (int64_t r = 0; r < rows; r++)
      total += cross_entropy_row(classes, logits + r * classes, labels[r], gradient ? gradient + r * classes : 0, weight);
  if (loss) *loss = (float)(total / (double)rows);
}
