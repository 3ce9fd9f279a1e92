// Pooling over windows of images in NHWC: vectors run along the channels, and cells beyond an edge are left out.

// The lengths of a call, as Pooling.swift writes them.
typedef struct {
  int64_t batch, height, width, channels, out_height, out_width, window_height, window_width, down, right, top, left;
  int64_t counts_padding;
} CK(pool_lengths);

// One window's cells within the image.
typedef struct {
  int64_t v0, v1, h0, h1;
} CK(pool_window);

CK_INLINE CK(pool_window) pool_window(const CK(pool_lengths) * g, int64_t row, int64_t column) {
  const int64_t v = row * g->down - g->top, h = column * g->right - g->left;
  return (CK(pool_window)){v < 0 ? 0 : v, v + g->window_height < g->height ? v + g->window_height : g->height,
                           h < 0 ? 0 : h, h + g->window_width < g->width ? h + g->window_width : g->width};
}

// What a window's sum is multiplied by for its mean.
CK_INLINE float pool_share(const CK(pool_lengths) * g, CK(pool_window) w) {
  return 1.0f / (float)(g->counts_padding ? g->window_height * g->window_width : (w.v1 - w.v0) * (w.h1 - w.h0));
}

#define FOR_WINDOWS                                                   \
  CK(pool_lengths) g;                                                 \
  __builtin_memcpy(&g, call->n, sizeof g);                            \
  const int64_t c = g.channels;                                       \
  for (int64_t image = 0; image < g.batch; image++)                   \
    for (int64_t row = 0; row < g.out_height; row++)                  \
      for (int64_t column = 0; column < g.out_width; column++)
#define WINDOW_PLACES                                                                    \
  const CK(pool_window) w = pool_window(&g, row, column);                                \
  const int64_t start = image * g.height * g.width * c;                                  \
  const int64_t place = ((image * g.out_height + row) * g.out_width + column) * c
#define FOR_CELLS                                      \
  for (int64_t v = w.v0; v < w.v1; v++)                \
    for (int64_t h = w.h0; h < w.h1; h++)
#define CELL (start + (v * g.width + h) * c + j)

static void CK(max_pool)(const ck_call *call) {
  const float *x = call->p[1];
  float *y = call->p[0];
  FOR_WINDOWS {
    WINDOW_PLACES;
    for (int64_t j = 0; j < c; j += W) {
      vf best = vset1(-INFINITY);
      FOR_CELLS best = larger(load_n(x + CELL, c - j), best);
      store_n(y + place + j, best, c - j);
    }
  }
}

// p = dx, x, y, dy: the gradient of a window goes to its first cell that holds the maximum.
static void CK(max_pool_backward)(const ck_call *call) {
  const float *x = call->p[1], *y = call->p[2], *dy = call->p[3];
  float *dx = call->p[0];
  __builtin_memset(dx, 0, (size_t)(call->n[0] * call->n[1] * call->n[2] * call->n[3]) * sizeof(float));
  FOR_WINDOWS {
    WINDOW_PLACES;
    for (int64_t j = 0; j < c; j += W) {
      const vf best = load_n(y + place + j, c - j), amount = load_n(dy + place + j, c - j);
      vi open = ~(vi){0};
      FOR_CELLS {
        const vf cell = load_n(x + CELL, c - j);
        const vi wins = ((cell == best) | (cell != cell)) & open;
        open &= ~wins;
        store_n(dx + CELL, load_n(dx + CELL, c - j) + choose(wins, amount, (vf){0}), c - j);
      }
    }
  }
}

static void CK(average_pool)(const ck_call *call) {
  const float *x = call->p[1];
  float *y = call->p[0];
  FOR_WINDOWS {
    WINDOW_PLACES;
    const float share = pool_share(&g, w);
    for (int64_t j = 0; j < c; j += W) {
      vf sum = {0};
      FOR_CELLS sum += load_n(x + CELL, c - j);
      store_n(y + place + j, sum * share, c - j);
    }
  }
}

// p = dx, dy.
static void CK(average_pool_backward)(const ck_call *call) {
  const float *dy = call->p[1];
  float *dx = call->p[0];
  __builtin_memset(dx, 0, (size_t)(call->n[0] * call->n[1] * call->n[2] * call->n[3]) * sizeof(float));
  FOR_WINDOWS {
    WINDOW_PLACES;
    const float share = pool_share(&g, w);
    for (int64_t j = 0; j < c; j += W) {
      const vf amount = load_n(dy + place + j, c - j) * share;
      FOR_CELLS store_n(dx + CELL, load_n(dx + CELL, c - j) + amount, c - j);
    }
  }
}

#undef FOR_WINDOWS
#undef WINDOW_PLACES
#undef FOR_CELLS
#undef CELL
