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

// Up to four vectors of columns at once, down all rows.
CK_INLINE void sum_down(const int vectors, int64_t rows, int64_t columns, const float *in, float *out, float scale,
                        int64_t last) {
  vf s[4] = {0};
  for (int64_t r = 0; r < rows; r++)
#pragma clang loop unroll(full)
    for (int v = 0; v < vectors; v++)
      s[v] += v + 1 < vectors ? vload(in + r * columns + v * W) : load_n(in + r * columns + v * W, last);
#pragma clang loop unroll(full)
  for (int v = 0; v < vectors; v++) store_n(out + v * W, s[v] * scale, v + 1 < vectors ? W : last);
}

static void CK(sum_leading)(const ck_call *call) {
  const int64_t rows = call->n[0], columns = call->n[1];
  float *out = call->p[0];
  const float *in = call->p[1], scale = call->a[0];
  int64_t j = 0;
  for (; j + 4 * W <= columns; j += 4 * W) sum_down(4, rows, columns, in + j, out + j, scale, W);
  for (; j + 2 * W <= columns; j += 2 * W) sum_down(2, rows, columns, in + j, out + j, scale, W);
  for (; j + W <= columns; j += W) sum_down(1, rows, columns, in + j, out + j, scale, W);
  if (j < columns) sum_down(1, rows, columns, in + j, out + j, scale, columns - j);
}

static void CK(copy)(const ck_call *call) {
  __builtin_memmove(call->p[0], (const float *)call->p[1] + call->n[1], (size_t)call->n[0] * sizeof(float));
}

static void CK(zero)(const ck_call *call) { __builtin_memset(call->p[0], 0, (size_t)call->n[0] * sizeof(float)); }
