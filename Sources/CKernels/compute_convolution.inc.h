// Convolutions in NHWC as products whose operand A is not a matrix in memory: an element of A lies at the sum of an offset
// of its row and an offset of its column, so that no patch is ever written out. Padding is the only copy: of a band of
// image rows that fits L2 (compute_convolution_depthwise.inc.h has the case of a filter for each channel).

// Three nested counters, outermost first, and how far a step of each moves.
typedef struct {
  int64_t count[3], step[3];
} CK(axes);

// The rows of one product whose offsets are written out at once.
#define INDEXED_ROWS 256
// How much of the inner axis is taken at once: the panel of B, 2 vectors wide, then stays in L1.
#define INDEXED_INNER 256

#if W == 16
#define INDEXED_TILE 8
#define INDEXED_TILE_SMALL 4
#elif W == 8
#define INDEXED_TILE 6
#define INDEXED_TILE_SMALL 3
#else
#define INDEXED_TILE 4
#define INDEXED_TILE_SMALL 2
#endif

// A tile of C in registers: `rows` offsets of A and C, of which the first `stored` are rows of their own.
CK_INLINE void indexed_tile(const int rows, const int vectors, const int whole, int last, const CK(axes) * k,
                            const float *a, const int64_t *a_rows, const float *b, int64_t b_row, float *c,
                            const int64_t *c_rows, int stored, int first, int final, const CK(epilogue) * e,
                            int64_t column) {
  vf sum[INDEXED_TILE][2];
#pragma clang loop unroll(full)
  for (int i = 0; i < rows; i++)
#pragma clang loop unroll(full)
    for (int v = 0; v < vectors; v++) sum[i][v] = (vf){0};
  const float *outer = a + a_rows[0];
  int64_t offset[INDEXED_TILE];
#pragma clang loop unroll(full)
  for (int i = 1; i < rows; i++) {
    offset[i] = a_rows[i] - a_rows[0];
    __asm__("" : "+r"(offset[i]));
  }
  const int64_t inner_step = k->step[2];
  for (int64_t k0 = 0; k0 < k->count[0]; k0++, outer += k->step[0]) {
    const float *middle = outer;
    for (int64_t k1 = 0; k1 < k->count[1]; k1++, middle += k->step[1]) {
      const float *inner = middle;
      for (int64_t k2 = k->count[2]; k2 > 0; k2--, inner += inner_step, b += b_row) {
        vf right[2];
#pragma clang loop unroll(full)
        for (int v = 0; v < vectors; v++)
          right[v] = v + 1 < vectors || whole ? vload(b + v * W) : part_load(b + v * W, last);
#pragma clang loop unroll(full)
        for (int i = 0; i < rows; i++) {
          const vf left = vset1(i ? inner[offset[i]] : inner[0]);
#pragma clang loop unroll(full)
          for (int v = 0; v < vectors; v++) sum[i][v] = vfma(left, right[v], sum[i][v]);
        }
      }
    }
  }
#pragma clang loop unroll(full)
  for (int i = 0; i < rows; i++) {
    if (i >= stored) continue;
    float *row = c + c_rows[i];
#pragma clang loop unroll(full)
    for (int v = 0; v < vectors; v++) {
      const int partial = v + 1 == vectors && !whole;
      vf x = sum[i][v];
      if (!first) x += partial ? part_load(row + v * W, last) : vload(row + v * W);
      if (final) {
        if (e->bias) {
          const float *bias = e->bias + column + v * W;
          x += partial ? part_load(bias, last) : vload(bias);
        }
        if (e->relu) x = at_least(x, (vf){0});
        if (e->mask) {
          const float *m = e->mask + c_rows[i] + column + v * W;
          const vf y = partial ? part_load(m, last) : vload(m);
          x = choose(y <= (vf){0}, (vf){0}, x);
        }
      }
      if (partial)
        part_store(row + v * W, x, last);
      else
        vstore(row + v * W, x);
    }
  }
}

CK_INLINE void indexed_column(const int vectors, const int whole, int last, int64_t rows, const CK(axes) * k,
                              const float *a, const int64_t *a_rows, const float *b, int64_t b_row, float *c,
                              const int64_t *c_rows, int first, int final, const CK(epilogue) * e, int64_t column) {
  for (int64_t i = 0; i < rows;) {
    const int64_t left = rows - i;
    if (left > INDEXED_TILE_SMALL) {
      const int stored = left < INDEXED_TILE ? (int)left : INDEXED_TILE;
      indexed_tile(INDEXED_TILE, vectors, whole, last, k, a, a_rows + i, b, b_row, c, c_rows + i, stored, first, final, e,
                   column);
      i += stored;
    } else {
      indexed_tile(INDEXED_TILE_SMALL, vectors, whole, last, k, a, a_rows + i, b, b_row, c, c_rows + i, (int)left, first,
                   final, e, column);
      i += left;
    }
  }
}

// The offsets of rows start.. of a product in A and C; a tile beyond the last repeats it.
static void CK(indexed_rows)(const CK(axes) * m, const int64_t c_step[3], int64_t start, int64_t count, int64_t *a_rows,
                             int64_t *c_rows) {
  int64_t i2 = start % m->count[2], i1 = start / m->count[2] % m->count[1], i0 = start / m->count[2] / m->count[1];
  for (int64_t i = 0; i < count;) {
    const int64_t left = m->count[2] - i2, run = left < count - i ? left : count - i;
    const int64_t a = i0 * m->step[0] + i1 * m->step[1] + i2 * m->step[2];
    const int64_t c = i0 * c_step[0] + i1 * c_step[1] + i2 * c_step[2];
    for (int64_t j = 0; j < run; j++) {
      a_rows[i + j] = a + j * m->step[2];
      c_rows[i + j] = c + j * c_step[2];
    }
    i += run;
    i2 = 0;
    if (++i1 == m->count[1]) i1 = 0, i0++;
  }
  for (int64_t i = count; i < count + INDEXED_TILE; i++) a_rows[i] = a_rows[count - 1], c_rows[i] = c_rows[count - 1];
}

// C[m, n] = (C[m, n] where `adds`) + the sum over k of A[m, k] B[k, n], with an epilogue: the rows of C and both axes of A
// are counted by three nested counters each, and B is [k in that order, n] with contiguous rows.
static void CK(indexed_product)(const CK(axes) * m, const int64_t c_step[3], CK(axes) k, int64_t n, const float *a,
                                const float *b, int64_t b_row, float *c, int adds, const CK(epilogue) * e) {
  // Longer innermost loops where two counters run through one stretch of memory.
  for (int i = 0; i < 2; i++)
    if (k.count[1] == 1 || k.step[1] == k.count[2] * k.step[2]) {
      k.count[2] *= k.count[1], k.count[1] = k.count[0], k.count[0] = 1;
      k.step[1] = k.step[0];
    }
  int64_t part[3] = {1, 1, k.count[2]};
  if (k.count[2] > INDEXED_INNER)
    part[2] = INDEXED_INNER;
  else if (k.count[1] * k.count[2] > INDEXED_INNER)
    part[1] = INDEXED_INNER / k.count[2];
  else
    part[1] = k.count[1], part[0] = INDEXED_INNER / (k.count[1] * k.count[2]);

  int64_t a_rows[INDEXED_ROWS + INDEXED_TILE], c_rows[INDEXED_ROWS + INDEXED_TILE];
  const int64_t rows_all = m->count[0] * m->count[1] * m->count[2];
  for (int64_t start = 0; start < rows_all; start += INDEXED_ROWS) {
    const int64_t rows = rows_all - start < INDEXED_ROWS ? rows_all - start : INDEXED_ROWS;
    CK(indexed_rows)(m, c_step, start, rows, a_rows, c_rows);
    for (int64_t k0 = 0; k0 < k.count[0]; k0 += part[0])
      for (int64_t k1 = 0; k1 < k.count[1]; k1 += part[1])
        for (int64_t k2 = 0; k2 < k.count[2]; k2 += part[2]) {
          CK(axes) slab = k;
          slab.count[0] = k.count[0] - k0 < part[0] ? k.count[0] - k0 : part[0];
          slab.count[1] = k.count[1] - k1 < part[1] ? k.count[1] - k1 : part[1];
          slab.count[2] = k.count[2] - k2 < part[2] ? k.count[2] - k2 : part[2];
          const int first = !adds && k0 + k1 + k2 == 0;
          const int final = k0 + slab.count[0] == k.count[0] && k1 + slab.count[1] == k.count[1] &&
                            k2 + slab.count[2] == k.count[2];
          const float *a0 = a + k0 * k.step[0] + k1 * k.step[1] + k2 * k.step[2];
          const float *b0 = b + ((k0 * k.count[1] + k1) * k.count[2] + k2) * b_row;
          for (int64_t j = 0; j < n;) {
            const int64_t left = n - j;
#define INDEXED_COLUMN(VECTORS, WHOLE, LAST)                                                                              \
  indexed_column(VECTORS, WHOLE, LAST, rows, &slab, a0, a_rows, b0 + j, b_row, c + j, c_rows, first, final, e, j)
            if (left >= 2 * W)
              INDEXED_COLUMN(2, 1, W);
            else if (left > W)
              INDEXED_COLUMN(2, 0, (int)(left - W));
            else if (left == W)
              INDEXED_COLUMN(1, 1, W);
            else
              INDEXED_COLUMN(1, 0, (int)left);
#undef INDEXED_COLUMN
            j += 2 * W;
          }
        }
  }
}

// The lengths of a convolution's call, as Convolution.swift writes them.
typedef struct {
  int64_t batch, height, width, channels, kernel_height, kernel_width, filters, groups, out_height, out_width;
  int64_t down, right;                  // stride
  int64_t dilation_down, dilation_right;
  int64_t top, left;                    // padding
  int64_t images, rows;                 // of a band
  int64_t relu;
} CK(convolution_lengths);

// Rows and columns of some images with zeros around them: where they lie and how far apart images and rows are.
typedef struct {
  const float *start;
  int64_t image, row;
} CK(band);

// Copies rows and columns of [.., height, width, channels] that may reach beyond the edges; points into it if they do not.
static CK(band) CK(padded)(const float *in, int64_t height, int64_t width, int64_t channels, int64_t image,
                           int64_t images, int64_t row, int64_t rows, int64_t column, int64_t columns, float *scratch) {
  const float *base = in + image * height * width * channels;
  if (row >= 0 && column >= 0 && row + rows <= height && column + columns <= width)
    return (CK(band)){base + (row * width + column) * channels, height * width * channels, width * channels};
  const int64_t from = column < 0 ? 0 : column, to = column + columns < width ? column + columns : width;
  const int64_t lead = (from - column) * channels, length = to > from ? (to - from) * channels : 0;
  const int64_t trail = columns * channels - lead - length;
  float *out = scratch;
  for (int64_t i = 0; i < images; i++)
    for (int64_t r = row; r < row + rows; r++, out += columns * channels) {
      if (r < 0 || r >= height || length == 0) {
        __builtin_memset(out, 0, (size_t)(columns * channels) * sizeof(float));
        continue;
      }
      for (int64_t j = 0; j < lead; j++) out[j] = 0;
      __builtin_memcpy(out + lead, base + ((i * height + r) * width + from) * channels, (size_t)length * sizeof(float));
      for (int64_t j = 0; j < trail; j++) out[lead + length + j] = 0;
    }
  return (CK(band)){scratch, rows * columns * channels, columns * channels};
}

// The band of x that some output rows of some images read.
static CK(band) CK(convolution_band)(const CK(convolution_lengths) * g, const float *x, int64_t image, int64_t images,
                                     int64_t row, int64_t rows, float *scratch) {
  return CK(padded)(x, g->height, g->width, g->channels, image, images, row * g->down - g->top,
                    (rows - 1) * g->down + (g->kernel_height - 1) * g->dilation_down + 1, -g->left,
                    (g->out_width - 1) * g->right + (g->kernel_width - 1) * g->dilation_right + 1, scratch);
}

#define FOR_BANDS(ROWS_ALL)                                                                 \
  for (int64_t image = 0; image < g.batch; image += g.images)                               \
    for (int64_t row = 0, images = g.batch - image < g.images ? g.batch - image : g.images, \
                 all = (ROWS_ALL), rows = all < g.rows ? all : g.rows;                      \
         row < all; row += g.rows, rows = all - row < g.rows ? all - row : g.rows)

static void CK(convolution)(const ck_call *call) {
  CK(convolution_lengths) g;
  __builtin_memcpy(&g, call->n, sizeof g);
  const int64_t inner = g.channels / g.groups, outer = g.filters / g.groups;
  FOR_BANDS(g.out_height) {
    const CK(band) x = CK(convolution_band)(&g, call->p[1], image, images, row, rows, call->p[5]);
    const CK(axes) m = {{images, rows, g.out_width}, {x.image, g.down * x.row, g.right * g.channels}};
    const CK(axes) k = {{g.kernel_height, g.kernel_width, inner},
                        {g.dilation_down * x.row, g.dilation_right * g.channels, 1}};
    const int64_t c_step[3] = {g.out_height * g.out_width * g.filters, g.out_width * g.filters, g.filters};
    for (int64_t group = 0; group < g.groups; group++) {
      const int64_t place = (image * g.out_height + row) * g.out_width * g.filters + group * outer;
      const float *bias = call->p[3], *mask = call->p[4];
      const CK(epilogue) e = {bias ? bias + group * outer : 0, mask ? mask + place : 0, g.relu != 0};
      CK(indexed_product)(&m, c_step, k, outer, x.start + group * inner, (const float *)call->p[2] + group * outer,
                          g.filters, (float *)call->p[0] + place, 0, &e);
    }
  }
}

static void CK(convolution_kernel_gradient)(const ck_call *call) {
  CK(convolution_lengths) g;
  __builtin_memcpy(&g, call->n, sizeof g);
  const int64_t inner = g.channels / g.groups, outer = g.filters / g.groups;
  const CK(epilogue) e = {0};
  FOR_BANDS(g.out_height) {
    const CK(band) x = CK(convolution_band)(&g, call->p[1], image, images, row, rows, call->p[3]);
    const CK(axes) m = {{g.kernel_height, g.kernel_width, inner},
                        {g.dilation_down * x.row, g.dilation_right * g.channels, 1}};
    const CK(axes) k = {{images, rows, g.out_width}, {x.image, g.down * x.row, g.right * g.channels}};
    const int64_t c_step[3] = {g.kernel_width * inner * g.filters, inner * g.filters, g.filters};
    for (int64_t group = 0; group < g.groups; group++)
      CK(indexed_product)(&m, c_step, k, outer, x.start + group * inner,
                          (const float *)call->p[2] + (image * g.out_height + row) * g.out_width * g.filters + group * outer,
                          g.filters, (float *)call->p[0] + group * outer, image + row > 0, &e);
  }
}

// The taps of one axis that meet the input positions of one phase: positions whose padded index is `phase` modulo the
// stride. Position q * stride + phase receives tap t from output q - (t * dilation - phase) / stride.
typedef struct {
  int64_t count;        // how many taps
  int64_t last;         // the last of them, which reaches furthest back
  int64_t every;        // taps from one to the next
  int64_t reach;        // outputs from q back to the last tap's
  int64_t apart;        // outputs from one tap to the next
  int64_t first, end;   // the q of positions within the input
} CK(taps);

static CK(taps) CK(phase_taps)(int64_t kernel, int64_t stride, int64_t dilation, int64_t padding, int64_t length,
                               int64_t phase) {
  CK(taps) t = {0};
  for (int64_t tap = 0, before = -1; tap < kernel; tap++) {
    if (tap * dilation % stride != phase) continue;
    if (before >= 0) t.every = tap - before, t.apart = (tap - before) * dilation / stride;
    before = t.last = tap;
    t.reach = (tap * dilation - phase) / stride;
    t.count++;
  }
  t.first = padding > phase ? (padding - phase + stride - 1) / stride : 0;
  const int64_t beyond = length + padding - phase;
  t.end = beyond > 0 ? (beyond + stride - 1) / stride : 0;
  return t;
}

// The kernel of one phase with its taps from last to first and each [filters, channels] of a group.
static void CK(phase_kernel)(const CK(convolution_lengths) * g, const CK(taps) * v, const CK(taps) * h, int64_t group,
                             const float *kernel, float *out) {
  const int64_t inner = g->channels / g->groups, outer = g->filters / g->groups;
  for (int64_t i = 0; i < v->count; i++)
    for (int64_t j = 0; j < h->count; j++, out += inner * outer) {
      const int64_t tap = (v->last - i * v->every) * g->kernel_width + h->last - j * h->every;
      CK(transpose)(inner, outer, kernel + tap * inner * g->filters + group * outer, g->filters, out, inner);
    }
}

// The gradient of the input: for each phase of the stride a convolution of dy by the taps that meet it. p[2] is the kernel;
// scratch begins with its phases, then comes a band of dy whose rows are counted in q.
static void CK(convolution_input_gradient)(const ck_call *call) {
  CK(convolution_lengths) g;
  __builtin_memcpy(&g, call->n, sizeof g);
  const int64_t inner = g.channels / g.groups, outer = g.filters / g.groups;
  float *kernels = call->p[5], *scratch = kernels + g.kernel_height * g.kernel_width * inner * g.filters;
  float *packed = kernels;
  for (int64_t pv = 0; pv < g.down; pv++)
    for (int64_t ph = 0; ph < g.right; ph++) {
      const CK(taps) v = CK(phase_taps)(g.kernel_height, g.down, g.dilation_down, g.top, g.height, pv);
      const CK(taps) h = CK(phase_taps)(g.kernel_width, g.right, g.dilation_right, g.left, g.width, ph);
      for (int64_t group = 0; group < g.groups; group++, packed += v.count * h.count * inner * outer)
        CK(phase_kernel)(&g, &v, &h, group, call->p[2], packed);
    }
  const int64_t reach_v = (g.kernel_height - 1) * g.dilation_down / g.down;
  const int64_t reach_h = (g.kernel_width - 1) * g.dilation_right / g.right;
  const int64_t top = g.top / g.down, bottom = (g.height - 1 + g.top) / g.down + 1;
  const int64_t left = g.left / g.right, columns = (g.width - 1 + g.left) / g.right + 1 - left + reach_h;
  FOR_BANDS(bottom - top) {
    const int64_t q0 = top + row, q1 = q0 + rows;
    const CK(band) dy = CK(padded)(call->p[1], g.out_height, g.out_width, g.filters, image, images, q0 - reach_v,
                                   rows + reach_v, left - reach_h, columns, scratch);
    packed = kernels;
    for (int64_t pv = 0; pv < g.down; pv++)
      for (int64_t ph = 0; ph < g.right; ph++) {
        const CK(taps) v = CK(phase_taps)(g.kernel_height, g.down, g.dilation_down, g.top, g.height, pv);
        const CK(taps) h = CK(phase_taps)(g.kernel_width, g.right, g.dilation_right, g.left, g.width, ph);
        const float *kernel = packed;
        packed += v.count * h.count * inner * g.filters;
        const int64_t from = v.first > q0 ? v.first : q0, to = v.end < q1 ? v.end : q1;
        if (from >= to || h.first >= h.end) continue;
        const int64_t c_step[3] = {g.height * g.width * g.channels, g.down * g.width * g.channels, g.right * g.channels};
        const int64_t place = ((image * g.height + from * g.down + pv - g.top) * g.width + h.first * g.right + ph - g.left) *
                              g.channels;
        float *dx = (float *)call->p[0] + place;
        const float *mask = call->p[4], *bias = call->p[3];
        if (v.count * h.count == 0) {
          // Positions between the patches that a stride longer than the kernel leaves.
          for (int64_t i = 0; i < images; i++)
            for (int64_t r = 0; r < to - from; r++)
              for (int64_t q = 0; q < h.end - h.first; q++)
                for (int64_t j = 0; j < g.channels; j++) {
                  const int64_t at = i * c_step[0] + r * c_step[1] + q * c_step[2] + j;
                  const float x = bias && (!g.relu || bias[j] > 0 || bias[j] != bias[j]) ? bias[j] : 0;
                  dx[at] = mask && mask[place + at] <= 0 ? 0 : x;
                }
          continue;
        }
        const CK(axes) m = {{images, to - from, h.end - h.first}, {dy.image, dy.row, g.filters}};
        const CK(axes) k = {{v.count, h.count, outer}, {v.apart * dy.row, h.apart * g.filters, 1}};
        const float *start =
            dy.start + (from - q0 + reach_v - v.reach) * dy.row + (h.first - left + reach_h - h.reach) * g.filters;
        for (int64_t group = 0; group < g.groups; group++) {
          const CK(epilogue) e = {bias ? bias + group * inner : 0, mask ? mask + place + group * inner : 0, g.relu != 0};
          CK(indexed_product)(&m, c_step, k, inner, start + group * outer, kernel + group * v.count * h.count * inner * outer,
                              inner, dx + group * inner, 0, &e);
        }
      }
  }
}
