// Rearrangements: strided copies (transposes, slices, broadcasts), padding, concatenation, and choosing along an axis.
//
// A strided copy has LAYOUT_AXES axes, the unused ones in front with length 1 (Operations/StridedCopy.swift merges axes
// and fills them in). Nothing here computes, so that NaN and infinities arrive as they are, but for scatter_add.

#define LAYOUT_AXES 7

CK_INLINE void copy_row(float *out, const float *in, int64_t n) {
  int64_t i = 0;
  for (; i + W <= n; i += W) vstore(out + i, vload(in + i));
  if (i < n) part_store(out + i, part_load(in + i, (int)(n - i)), (int)(n - i));
}

CK_INLINE void fill_row(float *out, float x, int64_t n) {
  int64_t i = 0;
  for (; i + W <= n; i += W) vstore(out + i, vset1(x));
  if (i < n) part_store(out + i, vset1(x), (int)(n - i));
}

// The next position over the axes but `skip_a` and `skip_b`, innermost first, with both offsets; 0 at the end.
CK_INLINE int layout_next(const int64_t *length, const int64_t *in_stride, const int64_t *out_stride, int skip_a,
                          int skip_b, int64_t *position, int64_t *in, int64_t *out) {
  for (int axis = LAYOUT_AXES - 1; axis >= 0; axis--) {
    if (axis == skip_a || axis == skip_b) continue;
    *in += in_stride[axis];
    *out += out_stride[axis];
    if (++position[axis] < length[axis]) return 1;
    *in -= in_stride[axis] * length[axis];
    *out -= out_stride[axis] * length[axis];
    position[axis] = 0;
  }
  return 0;
}

static void CK(strided_copy)(const ck_call *call) {
  const int64_t *length = call->n, *stride = call->n + LAYOUT_AXES;
  const float *in = (const float *)call->p[1] + call->n[2 * LAYOUT_AXES];
  float *out = call->p[0];
  int64_t out_stride[LAYOUT_AXES], position[LAYOUT_AXES] = {0}, from = 0, to = 0;
  for (int64_t axis = LAYOUT_AXES - 1, count = 1; axis >= 0; count *= length[axis--]) out_stride[axis] = count;
  const int last = LAYOUT_AXES - 1;
  const int64_t n = length[last], step = stride[last];
  if (step == 1) {
    do copy_row(out + to, in + from, n);
    while (layout_next(length, stride, out_stride, last, last, position, &from, &to));
    return;
  }
  if (step == 0) {
    do fill_row(out + to, in[from], n);
    while (layout_next(length, stride, out_stride, last, last, position, &from, &to));
    return;
  }
  // The axis along which the operand is contiguous changes places with the innermost, block by block in registers.
  int contiguous = -1;
  for (int axis = 0; axis < last; axis++)
    if (stride[axis] == 1 && length[axis] > 1) contiguous = axis;
  if (contiguous >= 0) {
    do
      CK(transpose)(n, length[contiguous], in + from, step, out + to, out_stride[contiguous]);
    while (layout_next(length, stride, out_stride, last, contiguous, position, &from, &to));
    return;
  }
  do
    for (int64_t i = 0; i < n; i++) out[to + i] = in[from + i * step];
  while (layout_next(length, stride, out_stride, last, last, position, &from, &to));
}

static void CK(pad)(const ck_call *call) {
  const int64_t *length = call->n, *stride = call->n + LAYOUT_AXES;
  const float *in = call->p[1];
  float *out = (float *)call->p[0] + call->n[2 * LAYOUT_AXES];
  int64_t in_stride[LAYOUT_AXES], position[LAYOUT_AXES] = {0}, from = 0, to = 0;
  for (int64_t axis = LAYOUT_AXES - 1, count = 1; axis >= 0; count *= length[axis--]) in_stride[axis] = count;
  fill_row(call->p[0], call->a[0], call->n[2 * LAYOUT_AXES + 1]);
  const int last = LAYOUT_AXES - 1;
  const int64_t n = length[last], step = stride[last];
  do
    if (step == 1)
      copy_row(out + to, in + from, n);
    else
      for (int64_t i = 0; i < n; i++) out[to + i * step] = in[from + i];
  while (layout_next(length, in_stride, stride, last, last, position, &from, &to));
}

static void CK(concatenate)(const ck_call *call) {
  const int64_t rows = call->n[0], operands = call->n[1], *lengths = call->n + 2;
  float *out = call->p[0];
  for (int64_t r = 0; r < rows; r++)
    for (int64_t o = 0; o < operands; o++) {
      copy_row(out, (const float *)call->p[1 + o] + r * lengths[o], lengths[o]);
      out += lengths[o];
    }
}

static void CK(gather)(const ck_call *call) {
  const int64_t outer = call->n[0], length = call->n[1], inner = call->n[2], count = call->n[3];
  const float *in = call->p[1];
  const int32_t *indices = call->p[2];
  float *out = call->p[0];
  for (int64_t o = 0; o < outer; o++)
    for (int64_t i = 0; i < count; i++) copy_row(out + (o * count + i) * inner, in + (o * length + indices[i]) * inner, inner);
}

static void CK(scatter_add)(const ck_call *call) {
  const int64_t outer = call->n[0], length = call->n[1], inner = call->n[2], count = call->n[3];
  const float *in = call->p[1];
  const int32_t *indices = call->p[2];
  float *out = call->p[0];
  __builtin_memset(out, 0, (size_t)(outer * length * inner) * sizeof(float));
  for (int64_t o = 0; o < outer; o++)
    for (int64_t i = 0; i < count; i++) {
      float *row = out + (o * length + indices[i]) * inner;
      const float *amount = in + (o * count + i) * inner;
      for (int64_t j = 0; j < inner; j += W)
        store_n(row + j, load_n(row + j, inner - j) + load_n(amount + j, inner - j), inner - j);
    }
}
