// Convolutions with one filter for each channel: vectors run along the channels, and taps beyond an edge are left out. The
// gradient of the input is the same with dy for the image, once for each phase of the stride.
// compute_convolution.inc.h has the others, the lengths of a call and phase_taps.

// How the cells of a result meet those of `in` [in_height, in_width, channels] and the kernel, taps in the order of `in`.
typedef struct {
  int64_t channels, in_height, in_width;
  int64_t taps_v, taps_h, apart_v, apart_h;  // taps, and cells of `in` from one to the next
  int64_t kernel_v, kernel_h;                // floats of the kernel from one tap to the next
  int64_t next, out_next;                    // from one cell of a row to the next: cells of `in`, floats of the result
  int relu;
} CK(depthwise_plan);

// Taps first..<end of a row or column.
typedef struct {
  int64_t first, end;
} CK(depthwise_taps);

// The taps of one axis that lie within [0, length), the first of all being at `start`.
CK_INLINE CK(depthwise_taps) taps_within(int64_t start, int64_t length, int64_t taps, int64_t apart) {
  const int64_t room = length - start + apart - 1, end = room > 0 ? room / apart : 0;
  return (CK(depthwise_taps)){start < 0 ? (-start + apart - 1) / apart : 0, end < taps ? end : taps};
}

// `cells` neighbouring results that have the same taps; a constant at every call, as `whole` is: n >= W. `in` and `kernel`
// are those of tap 0, 0 and channel j.
CK_INLINE void depthwise_cells(const int cells, const int whole, int64_t n, const CK(depthwise_plan) * g, const float *in,
                               const float *kernel, float *out, const float *bias, const float *mask,
                               CK(depthwise_taps) v, CK(depthwise_taps) h) {
  const int64_t c = g->channels, lanes = whole ? W : n;
  vf sum[8];
#pragma clang loop unroll(full)
  for (int i = 0; i < cells; i++) sum[i] = (vf){0};
  for (int64_t a = v.first; a < v.end; a++)
    for (int64_t b = h.first; b < h.end; b++) {
      const vf weight = load_n(kernel + a * g->kernel_v + b * g->kernel_h, lanes);
      const float *from = in + (a * g->apart_v * g->in_width + b * g->apart_h) * c;
#pragma clang loop unroll(full)
      for (int i = 0; i < cells; i++) sum[i] = vfma(load_n(from + i * g->next * c, lanes), weight, sum[i]);
    }
#pragma clang loop unroll(full)
  for (int i = 0; i < cells; i++) {
    vf x = sum[i];
    if (bias) x += load_n(bias, lanes);
    if (g->relu) x = at_least(x, (vf){0});
    if (mask) x = choose(load_n(mask + i * g->out_next, lanes) <= (vf){0}, (vf){0}, x);
    store_n(out + i * g->out_next, x, lanes);
  }
}

CK_INLINE void depthwise_channels(const int cells, const CK(depthwise_plan) * g, const float *in, const float *kernel,
                                  float *out, const float *bias, const float *mask, CK(depthwise_taps) v,
                                  CK(depthwise_taps) h) {
  const int64_t c = g->channels;
  int64_t j = 0;
  for (; j + W <= c; j += W)
    depthwise_cells(cells, 1, W, g, in + j, kernel + j, out + j, bias ? bias + j : 0, mask ? mask + j : 0, v, h);
  if (j < c)
    depthwise_cells(cells, 0, c - j, g, in + j, kernel + j, out + j, bias ? bias + j : 0, mask ? mask + j : 0, v, h);
}

// `count` results of one row, whose first has tap 0, 0 at `row`, `column` of `in`.
static void CK(depthwise_row)(const CK(depthwise_plan) * g, const float *in, int64_t row, int64_t column, int64_t count,
                              const float *kernel, float *out, const float *bias, const float *mask) {
  const CK(depthwise_taps) v = taps_within(row, g->in_height, g->taps_v, g->apart_v);
  const int64_t reach = g->taps_h > 0 ? (g->taps_h - 1) * g->apart_h : 0;
  for (int64_t i = 0; i < count;) {
    const int64_t start = column + i * g->next;
    // Cells from here on whose taps all lie within the row.
    const int64_t room = g->in_width - 1 - reach - start, inside = start < 0 || room < 0 ? 0 : room / g->next + 1;
    const int64_t left = inside < count - i ? inside : count - i;
    const CK(depthwise_taps) h = taps_within(start, g->in_width, g->taps_h, g->apart_h);
    const float *from = in + (row * g->in_width + start) * g->channels;
    const float *m = mask ? mask + i * g->out_next : 0;
    const int cells = left >= 8 ? 8 : left >= 4 ? 4 : 1;
    if (cells == 8)
      depthwise_channels(8, g, from, kernel, out + i * g->out_next, bias, m, v, h);
    else if (cells == 4)
      depthwise_channels(4, g, from, kernel, out + i * g->out_next, bias, m, v, h);
    else
      depthwise_channels(1, g, from, kernel, out + i * g->out_next, bias, m, v, h);
    i += cells;
  }
}

static void CK(depthwise)(const ck_call *call) {
  CK(convolution_lengths) g;
  __builtin_memcpy(&g, call->n, sizeof g);
  const int64_t c = g.channels;
  const CK(depthwise_plan) plan = {c, g.height, g.width, g.kernel_height, g.kernel_width, g.dilation_down,
                                   g.dilation_right, g.kernel_width * c, c, g.right, c, g.relu != 0};
  const float *mask = call->p[4];
  for (int64_t image = 0; image < g.batch; image++)
    for (int64_t row = 0; row < g.out_height; row++) {
      const int64_t place = (image * g.out_height + row) * g.out_width * c;
      CK(depthwise_row)(&plan, (const float *)call->p[1] + image * g.height * g.width * c, row * g.down - g.top, -g.left,
                        g.out_width, call->p[2], (float *)call->p[0] + place, call->p[3], mask ? mask + place : 0);
    }
}

// p = dx, dy, kernel, bias or NULL, mask or NULL.
static void CK(depthwise_input_gradient)(const ck_call *call) {
  CK(convolution_lengths) g;
  __builtin_memcpy(&g, call->n, sizeof g);
  const int64_t c = g.channels;
  const float *mask = call->p[4];
  for (int64_t pv = 0; pv < g.down; pv++)
    for (int64_t ph = 0; ph < g.right; ph++) {
      const CK(taps) v = CK(phase_taps)(g.kernel_height, g.down, g.dilation_down, g.top, g.height, pv);
      const CK(taps) h = CK(phase_taps)(g.kernel_width, g.right, g.dilation_right, g.left, g.width, ph);
      if (h.first >= h.end) continue;
      const CK(depthwise_plan) plan = {c,
                                       g.out_height,
                                       g.out_width,
                                       v.count,
                                       h.count,
                                       v.count > 1 ? v.apart : 1,
                                       h.count > 1 ? h.apart : 1,
                                       -v.every * g.kernel_width * c,
                                       -h.every * c,
                                       1,
                                       g.right * c,
                                       g.relu != 0};
      const float *kernel = (const float *)call->p[2] + (v.last * g.kernel_width + h.last) * c;
      for (int64_t image = 0; image < g.batch; image++)
        for (int64_t q = v.first; q < v.end; q++) {
          const int64_t row = q * g.down + pv - g.top, column = h.first * g.right + ph - g.left;
          const int64_t place = ((image * g.height + row) * g.width + column) * c;
          CK(depthwise_row)(&plan, (const float *)call->p[1] + image * g.out_height * g.out_width * c, q - v.reach,
                            h.first - h.reach, h.end - h.first, kernel, (float *)call->p[0] + place, call->p[3],
                            mask ? mask + place : 0);
        }
    }
}

// The sum of x dy over the cells of one image that meet one tap; `whole` is a constant.
CK_INLINE vf depthwise_tap(const int whole, int64_t n, const CK(convolution_lengths) * g, const float *x,
                           const float *dy, int64_t v, int64_t h) {
  const int64_t c = g->channels, lanes = whole ? W : n, shift = h * g->dilation_right - g->left;
  const CK(depthwise_taps) columns = taps_within(shift, g->width, g->out_width, g->right);
  vf sum[4] = {0};
  for (int64_t row = 0; row < g->out_height; row++) {
    const int64_t from = row * g->down - g->top + v * g->dilation_down;
    if (from < 0 || from >= g->height) continue;
    const float *in = x + (from * g->width + shift) * c, *d = dy + row * g->out_width * c;
    int64_t i = columns.first;
    for (; i + 4 <= columns.end; i += 4)
#pragma clang loop unroll(full)
      for (int s = 0; s < 4; s++)
        sum[s] = vfma(load_n(in + (i + s) * g->right * c, lanes), load_n(d + (i + s) * c, lanes), sum[s]);
    for (; i < columns.end; i++) sum[0] = vfma(load_n(in + i * g->right * c, lanes), load_n(d + i * c, lanes), sum[0]);
  }
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

// p = dkernel, x, dy.
static void CK(depthwise_kernel_gradient)(const ck_call *call) {
  CK(convolution_lengths) g;
  __builtin_memcpy(&g, call->n, sizeof g);
  const int64_t c = g.channels;
  float *out = call->p[0];
  __builtin_memset(out, 0, (size_t)(g.kernel_height * g.kernel_width * c) * sizeof(float));
  for (int64_t image = 0; image < g.batch; image++)
    for (int64_t j = 0; j < c; j += W) {
      const int64_t n = c - j;
      const float *x = (const float *)call->p[1] + image * g.height * g.width * c + j;
      const float *dy = (const float *)call->p[2] + image * g.out_height * g.out_width * c + j;
      for (int64_t v = 0; v < g.kernel_height; v++)
        for (int64_t h = 0; h < g.kernel_width; h++) {
          float *place = out + (v * g.kernel_width + h) * c + j;
          const vf sum = n >= W ? depthwise_tap(1, W, &g, x, dy, v, h) : depthwise_tap(0, n, &g, x, dy, v, h);
          store_n(place, load_n(place, n) + sum, n);
        }
    }
}
