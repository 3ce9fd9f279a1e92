// Sums, copies and fills. Sums run in vector lanes in a fixed order and, every SUM_CHUNK elements, into a double, so that
// a mean over millions of elements keeps its digits.

#define SUM_CHUNK 4096

CK_INLINE double sum_row(const float *x, int64_t n) {
  double total = 0;
  for (int64_t start = 0; start < n; start += SUM_CHUNK) {
    const int64_t end = n - start < SUM_CHUNK ? n : start + SUM_CHUNK;
    vf s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
    int64_t i = start;
    for (; i + 4 * W <= end; i += 4 * W) {
      s0 += vload(x + i);
      s1 += vload(x + i + W);
      s2 += vload(x + i + 2 * W);
      s3 += vload(x + i + 3 * W);
    }
    for (; i + W <= end; i += W) s0 += vload(x + i);
    if (i < end) s1 += part_load(x + i, (int)(end - i));
    total += (double)vsum((s0 + s1) + (s2 + s3));
  }
  return total;
}

static void CK(sum_all)(const ck_call *call) {
  *(float *)call->p[0] = (float)(sum_row(call->p[1], call->n[0]) * (double)call->a[0]);
}

static void CK(sum_last)(const ck_call *call) {
  const int64_t rows = call->n[0], columns = call->n[1];
  float *out = call->p[0];
  const float *in = call->p[1];
  for (int64_t r = 0; r < rows; r++) out[r] = (float)(sum_row(in + r * columns, columns) * (double)call->a[0]);
}

// Up to four vectors of columns at once, down all rows; added to what `out` holds unless these rows are the first. Fewer
// vectors run down several rows at once, because an addition waits for the one before.
CK_INLINE void sum_down(const int vectors, int64_t rows, int64_t columns, const float *in, float *out, float scale,
                        int64_t last, int first) {
  const int ways = 4 / vectors;
  vf s[4] = {0};
  int64_t r = 0;
  for (; r + ways <= rows; r += ways)
#pragma clang loop unroll(full)
    for (int i = 0; i < 4; i++) {
      const int v = i % vectors;
      const float *x = in + (r + i / vectors) * columns + v * W;
      s[i] += v + 1 < vectors ? vload(x) : load_n(x, last);
    }
  for (; r < rows; r++)
#pragma clang loop unroll(full)
    for (int v = 0; v < vectors; v++) {
      const float *x = in + r * columns + v * W;
      s[v] += v + 1 < vectors ? vload(x) : load_n(x, last);
    }
#pragma clang loop unroll(full)
  for (int v = 0; v < vectors; v++) {
    const int64_t n = v + 1 < vectors ? W : last;
    vf sum = ways == 4 ? (s[0] + s[1]) + (s[2] + s[3]) : ways == 2 ? s[v] + s[(v + 2) % 4] : s[v];
    sum *= scale;
    if (!first) sum += load_n(out + v * W, n);
    store_n(out + v * W, sum, n);
  }
}

// Down at most SUM_CHUNK rows at once, so that long columns keep their digits.
CK_INLINE void sum_columns(int64_t rows, int64_t columns, const float *in, float *out, float scale) {
  for (int64_t start = 0; start < rows; start += SUM_CHUNK) {
    const int64_t chunk = rows - start < SUM_CHUNK ? rows - start : SUM_CHUNK;
    const float *x = in + start * columns;
    const int first = start == 0;
    int64_t j = 0;
    for (; j + 4 * W <= columns; j += 4 * W) sum_down(4, chunk, columns, x + j, out + j, scale, W, first);
    for (; j + 2 * W <= columns; j += 2 * W) sum_down(2, chunk, columns, x + j, out + j, scale, W, first);
    for (; j + W <= columns; j += W) sum_down(1, chunk, columns, x + j, out + j, scale, W, first);
    if (j < columns) sum_down(1, chunk, columns, x + j, out + j, scale, columns - j, first);
  }
}

static void CK(sum_axis)(const ck_call *call) {
  const int64_t outer = call->n[0], rows = call->n[1], columns = call->n[2];
  for (int64_t o = 0; o < outer; o++)
    sum_columns(rows, columns, (const float *)call->p[1] + o * rows * columns, (float *)call->p[0] + o * columns,
                call->a[0]);
}

// The largest or, with `sign` -1, the smallest along an axis: extremes of sign * x. NaN where a NaN is.
CK_INLINE void extreme_axis(const ck_call *call, const float sign) {
  const int64_t outer = call->n[0], rows = call->n[1], columns = call->n[2];
  const float *in = call->p[1];
  float *out = call->p[0];
  if (columns == 1) {
    for (int64_t o = 0; o < outer; o++) {
      const float *x = in + o * rows;
      vf top = vset1(-INFINITY);
      for (int64_t i = 0; i < rows; i += W)
        top = larger(top, keep_n(load_n(x + i, rows - i) * sign, rows - i, -INFINITY));
      out[o] = max_lanes(top) * sign;
    }
    return;
  }
  for (int64_t o = 0; o < outer; o++)
    for (int64_t j = 0; j < columns; j += W) {
      const float *x = in + o * rows * columns + j;
      vf top = vset1(-INFINITY);
      for (int64_t r = 0; r < rows; r++) top = larger(top, load_n(x + r * columns, columns - j) * sign);
      store_n(out + o * columns + j, top * sign, columns - j);
    }
}

static void CK(maximum_axis)(const ck_call *call) { extreme_axis(call, 1); }
static void CK(minimum_axis)(const ck_call *call) { extreme_axis(call, -1); }

// The elements that equal the extreme share its gradient; all of a NaN's elements get NaN.
static void CK(extreme_backward)(const ck_call *call) {
  const int64_t outer = call->n[0], rows = call->n[1], columns = call->n[2];
  for (int64_t o = 0; o < outer; o++) {
    const float *x = (const float *)call->p[1] + o * rows * columns, *y = (const float *)call->p[2] + o * columns;
    const float *dy = (const float *)call->p[3] + o * columns;
    float *dx = (float *)call->p[0] + o * rows * columns;
    if (columns == 1) {
      const vf top = vset1(*y);
      vf ties = {0};
      for (int64_t i = 0; i < rows; i += W)
        ties += keep_n(choose(load_n(x + i, rows - i) == top, vset1(1), (vf){0}), rows - i, 0);
      const vf share = vset1(*dy / vsum(ties)), other = choose(top != top, vset1(NAN), (vf){0});
      for (int64_t i = 0; i < rows; i += W)
        store_n(dx + i, choose(load_n(x + i, rows - i) == top, share, other), rows - i);
      continue;
    }
    for (int64_t j = 0; j < columns; j += W) {
      const int64_t n = columns - j;
      const vf top = load_n(y + j, n);
      vf ties = {0};
      for (int64_t r = 0; r < rows; r++) ties += choose(load_n(x + r * columns + j, n) == top, vset1(1), (vf){0});
      const vf share = load_n(dy + j, n) / ties, other = choose(top != top, vset1(NAN), (vf){0});
      for (int64_t r = 0; r < rows; r++)
        store_n(dx + r * columns + j, choose(load_n(x + r * columns + j, n) == top, share, other), n);
    }
  }
}

static void CK(copy)(const ck_call *call) {
  __builtin_memmove(call->p[0], (const float *)call->p[1] + call->n[1], (size_t)call->n[0] * sizeof(float));
}

static void CK(zero)(const ck_call *call) { __builtin_memset(call->p[0], 0, (size_t)call->n[0] * sizeof(float)); }
