// Convolutions with one filter for each channel: vectors run along the channels, and taps beyond an edge are left out.
// compute_convolution.inc.h has the others and the lengths of a call.

// The taps of one axis that lie within [0, length) from `start` on.
#define TAPS_WITHIN(START, LENGTH, TAPS, DILATION, FIRST, END)                              \
  const int64_t FIRST = (START) < 0 ? (-(START) + (DILATION)-1) / (DILATION) : 0;           \
  const int64_t FIRST##_room = (LENGTH) - (START) + (DILATION)-1;                           \
  const int64_t FIRST##_end = FIRST##_room > 0 ? FIRST##_room / (DILATION) : 0;             \
  const int64_t END = FIRST##_end < (TAPS) ? FIRST##_end : (TAPS)

CK_INLINE vf depthwise_end(vf x, const float *bias, const float *mask, int relu, int64_t n) {
  if (bias) x += load_n(bias, n);
  if (relu) x = at_least(x, (vf){0});
  if (mask) x = choose(load_n(mask, n) <= (vf){0}, (vf){0}, x);
  return x;
}

// `cells` neighbouring outputs of one row, all of whose taps lie within the image; a constant at every call.
CK_INLINE void depthwise_cells(const int cells, const CK(convolution_lengths) * g, const float *x, const float *kernel,
                               float *y, const float *bias, const float *mask, int64_t v0, int64_t v1, int64_t h0,
                               int64_t h1) {
  const int64_t c = g->channels;
  for (int64_t j = 0; j < c; j += W) {
    const int64_t n = c - j;
    vf sum[4];
#pragma clang loop unroll(full)
    for (int i = 0; i < cells; i++) sum[i] = (vf){0};
    for (int64_t v = v0; v < v1; v++)
      for (int64_t h = h0; h < h1; h++) {
        const vf weight = load_n(kernel + (v * g->kernel_width + h) * c + j, n);
        const float *from = x + (v * g->dilation_down * g->width + h * g->dilation_right) * c + j;
#pragma clang loop unroll(full)
        for (int i = 0; i < cells; i++) sum[i] = vfma(load_n(from + i * g->right * c, n), weight, sum[i]);
      }
#pragma clang loop unroll(full)
    for (int i = 0; i < cells; i++)
      store_n(y + i * c + j,
              depthwise_end(sum[i], bias ? bias + j : 0, mask ? mask + i * c + j : 0, g->relu != 0, n), n);
  }
}

static void CK(depthwise)(const ck_call *call) {
  CK(convolution_lengths) g;
  __builtin_memcpy(&g, call->n, sizeof g);
  const int64_t c = g.channels, reach = (g.kernel_width - 1) * g.dilation_right;
  const float *x = call->p[1], *mask = call->p[4];
  for (int64_t image = 0; image < g.batch; image++)
    for (int64_t row = 0; row < g.out_height; row++) {
      const int64_t from = row * g.down - g.top;
      TAPS_WITHIN(from, g.height, g.kernel_height, g.dilation_down, v0, v1);
      for (int64_t column = 0; column < g.out_width;) {
        const int64_t start = column * g.right - g.left;
        TAPS_WITHIN(start, g.width, g.kernel_width, g.dilation_right, h0, h1);
        const int64_t place = ((image * g.out_height + row) * g.out_width + column) * c;
        const float *in = x + ((image * g.height + from) * g.width + start) * c;
        const int four = column + 4 <= g.out_width && start >= 0 && start + 3 * g.right + reach < g.width;
        if (four)
          depthwise_cells(4, &g, in, call->p[2], (float *)call->p[0] + place, call->p[3], mask ? mask + place : 0, v0, v1,
                          h0, h1);
        else
          depthwise_cells(1, &g, in, call->p[2], (float *)call->p[0] + place, call->p[3], mask ? mask + place : 0, v0, v1,
                          h0, h1);
        column += four ? 4 : 1;
      }
    }
}

// p = dkernel, x, dy: four taps' sums at a time stay in registers for an image.
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
          const int64_t shift = h * g.dilation_right - g.left;
          const int64_t first = shift < 0 ? (-shift + g.right - 1) / g.right : 0;
          const int64_t room = g.width - shift + g.right - 1;
          const int64_t beyond = room > 0 ? room / g.right : 0, end = beyond < g.out_width ? beyond : g.out_width;
          vf sum[4] = {0};
          for (int64_t row = 0; row < g.out_height; row++) {
            const int64_t from = row * g.down - g.top + v * g.dilation_down;
            if (from < 0 || from >= g.height) continue;
            const float *in = x + (from * g.width + shift) * c, *d = dy + row * g.out_width * c;
            int64_t column = first;
            for (; column + 4 <= end; column += 4)
#pragma clang loop unroll(full)
              for (int i = 0; i < 4; i++)
                sum[i] = vfma(load_n(in + (column + i) * g.right * c, n), load_n(d + (column + i) * c, n), sum[i]);
            for (; column < end; column++)
              sum[0] = vfma(load_n(in + column * g.right * c, n), load_n(d + column * c, n), sum[0]);
          }
          float *place = out + (v * g.kernel_width + h) * c + j;
          store_n(place, load_n(place, n) + ((sum[0] + sum[1]) + (sum[2] + sum[3])), n);
        }
    }
}

// p = dx, dy, kernel, bias or NULL, mask or NULL: each input position gathers the taps that meet it.
static void CK(depthwise_input_gradient)(const ck_call *call) {
  CK(convolution_lengths) g;
  __builtin_memcpy(&g, call->n, sizeof g);
  const int64_t c = g.channels;
  const float *kernel = call->p[2], *bias = call->p[3], *mask = call->p[4];
  float *dx = call->p[0];
  for (int64_t image = 0; image < g.batch; image++) {
    const float *dy = (const float *)call->p[1] + image * g.out_height * g.out_width * c;
    for (int64_t row = 0; row < g.height; row++)
      for (int64_t column = 0; column < g.width; column++) {
        const int64_t place = ((image * g.height + row) * g.width + column) * c;
        for (int64_t j = 0; j < c; j += W) {
          const int64_t n = c - j;
          vf sum = {0};
          for (int64_t v = 0; v < g.kernel_height; v++) {
            const int64_t down = row + g.top - v * g.dilation_down;
            if (down < 0 || down % g.down || down / g.down >= g.out_height) continue;
            for (int64_t h = 0; h < g.kernel_width; h++) {
              const int64_t right = column + g.left - h * g.dilation_right;
              if (right < 0 || right % g.right || right / g.right >= g.out_width) continue;
              sum = vfma(load_n(dy + (down / g.down * g.out_width + right / g.right) * c + j, n),
                         load_n(kernel + (v * g.kernel_width + h) * c + j, n), sum);
            }
          }
          store_n(dx + place + j,
                  depthwise_end(sum, bias ? bias + j : 0, mask ? mask + place + j : 0, g.relu != 0, n), n);
        }
      }
  }
}
#undef TAPS_WITHIN
