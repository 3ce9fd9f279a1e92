// Small matrix products C[M,N] = A[M,K] B[K,N] with a fused epilogue; compute_product.inc.h chooses the operands.
//
// C is made of tiles of ROWS x (VECTORS * W) that stay in registers for a whole block of K: one step of k loads
// VECTORS vectors of B and broadcasts ROWS elements of A. A is read through two strides, so A transposed costs
// nothing; B must have contiguous rows. Nothing depends on the address of a buffer, so neither do the bits.

// What happens to an element of C before it is stored.
typedef struct {
  const float *bias;  // [N], added to every row; NULL for none
  const float *mask;  // [M, N] with C's stride: C is zero where mask <= 0 (gradient through relu); NULL for none
  int relu;           // C = max(C, 0), NaN kept
  int accumulate;     // the product is added to what C holds, before all of the above
} CK(epilogue);

// K is cut here so that the panel of B of one tile column stays in L1: 256 * 32 floats are 32 KB at W 16.
#define GEMM_K_BLOCK 256

#if W == 16
#define GEMM_ROWS 8
#define GEMM_VECTORS 2
#define GEMM_ROWS_NARROW 16
#elif W == 8
#define GEMM_ROWS 6
#define GEMM_VECTORS 2
#define GEMM_ROWS_NARROW 8
#else
#define GEMM_ROWS 4
#define GEMM_VECTORS 2
#define GEMM_ROWS_NARROW 8
#endif

// One tile. `rows` and `vectors` are constants at every call; `last` counts the lanes of the last vector.
CK_INLINE void gemm_tile(const int rows, const int vectors, const int whole, int last, int64_t k, const float *a,
                         int64_t a_row, int64_t a_col, const float *b, int64_t b_row, float *c, int64_t c_row,
                         int first, int final, const float *bias, const float *mask, int relu) {
  vf sum[16][GEMM_VECTORS];
#pragma clang loop unroll(full)
  for (int i = 0; i < rows; i++)
#pragma clang loop unroll(full)
    for (int v = 0; v < vectors; v++) sum[i][v] = (vf){0};
  // Every fourth row has a base pointer and the rows after it three common offsets, which together fit the registers
  // and the addressing modes of x86. Left alone, the compiler walks from row to row by additions that wait for each
  // other, and tiles of one vector run at half their speed; the empty assembly hides that the values are related.
  const float *base[4] = {a, a + 4 * a_row, a + 8 * a_row, a + 12 * a_row};
  int64_t offset[4] = {0, a_row, 2 * a_row, 3 * a_row};
#pragma clang loop unroll(full)
  for (int q = 0; q < 4; q++) {
    __asm__("" : "+r"(base[q]));
    __asm__("" : "+r"(offset[q]));
  }
  for (int64_t j = 0; j < k; j++) {
    vf right[GEMM_VECTORS];
#pragma clang loop unroll(full)
    for (int v = 0; v < vectors; v++)
      right[v] = v + 1 < vectors || whole ? vload(b + v * W) : part_load(b + v * W, last);
#pragma clang loop unroll(full)
    for (int i = 0; i < rows; i++) {
      const vf left = vset1(i % 4 ? base[i / 4][offset[i % 4]] : base[i / 4][0]);
#pragma clang loop unroll(full)
      for (int v = 0; v < vectors; v++) sum[i][v] = vfma(left, right[v], sum[i][v]);
    }
#pragma clang loop unroll(full)
    for (int q = 0; q < 4; q++) base[q] += a_col;
    b += b_row;
  }
#pragma clang loop unroll(full)
  for (int i = 0; i < rows; i++) {
    float *row = c + i * c_row;
#pragma clang loop unroll(full)
    for (int v = 0; v < vectors; v++) {
      const int partial = v + 1 == vectors && !whole;
      vf x = sum[i][v];
      if (!first) x += partial ? part_load(row + v * W, last) : vload(row + v * W);
      if (final) {
        if (bias) x += partial ? part_load(bias + v * W, last) : vload(bias + v * W);
        if (relu) x = at_least(x, (vf){0});
        if (mask) {
          const float *m = mask + i * c_row + v * W;
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

// One column of tiles: all M rows of up to VECTORS vectors.
CK_INLINE void gemm_column(const int vectors, const int whole, const int tallest, int last, int64_t m, int64_t k,
                           const float *a, int64_t a_row, int64_t a_col, const float *b, int64_t b_row, float *c,
                           int64_t c_row, int first, int final, const float *bias, const float *mask, int relu) {
  int64_t i = 0;
#define GEMM_STEP(ROWS)                                                                                              \
  for (; i + (ROWS) <= m; i += (ROWS))                                                                               \
  gemm_tile(ROWS, vectors, whole, last, k, a + i * a_row, a_row, a_col, b, b_row, c + i * c_row, c_row, first, final, \
            bias, mask ? mask + i * c_row : mask, relu)
  if (tallest == 16) GEMM_STEP(16);
  if (tallest >= 8) GEMM_STEP(8);
  if (tallest == 6) GEMM_STEP(6);
  GEMM_STEP(4);
  GEMM_STEP(2);
  GEMM_STEP(1);
#undef GEMM_STEP
}

static void CK(gemm)(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row, int64_t a_col, const float *b,
                     int64_t b_row, float *c, int64_t c_row, const CK(epilogue) * e) {
  for (int64_t start = 0; start == 0 || start < k; start += GEMM_K_BLOCK) {
    const int64_t length = k - start < GEMM_K_BLOCK ? k - start : GEMM_K_BLOCK;
    const int first = start == 0 && !e->accumulate, final = start + length == k;
    const float *a0 = a + start * a_col;
    for (int64_t j = 0; j < n;) {
      const int64_t left = n - j;
      const float *b0 = b + start * b_row + j;
      const float *bias = e->bias ? e->bias + j : 0, *mask = e->mask ? e->mask + j : 0;
      if (left >= GEMM_VECTORS * W) {
        gemm_column(GEMM_VECTORS, 1, GEMM_ROWS, W, m, length, a0, a_row, a_col, b0, b_row, c + j, c_row, first, final,
                    bias, mask, e->relu);
        j += GEMM_VECTORS * W;
      } else if (left > W) {
        gemm_column(2, 0, GEMM_ROWS, (int)(left - W), m, length, a0, a_row, a_col, b0, b_row, c + j, c_row, first,
                    final, bias, mask, e->relu);
        j = n;
      } else if (left == W) {
        gemm_column(1, 1, GEMM_ROWS_NARROW, W, m, length, a0, a_row, a_col, b0, b_row, c + j, c_row, first, final,
                    bias, mask, e->relu);
        j = n;
      } else {
        gemm_column(1, 0, GEMM_ROWS_NARROW, (int)left, m, length, a0, a_row, a_col, b0, b_row, c + j, c_row, first,
                    final, bias, mask, e->relu);
        j = n;
      }
    }
  }
}

// out[N, M] = in[M, N] transposed, in blocks of W x W within registers.
CK_INLINE void transpose_block(vf r[W]) {
  // Stage by stage: lanes whose index has the stage's bit set change places with the partner row.
#pragma clang loop unroll(full)
  for (int s = 1; s < W; s *= 2) {
#pragma clang loop unroll(full)
    for (int i = 0; i < W; i++)
      if (!(i & s)) {
        const vf x = r[i], y = r[i + s];
#if W == 16
#define LANES(f) f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), f(13), f(14), f(15)
#elif W == 8
#define LANES(f) f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7)
#else
#define LANES(f) f(0), f(1), f(2), f(3)
#endif
#define EVEN(S, l) ((l) & (S) ? W + ((l) ^ (S)) : (l))
#define ODD(S, l) ((l) & (S) ? W + (l) : ((l) ^ (S)))
#define E1(l) EVEN(1, l)
#define O1(l) ODD(1, l)
#define E2(l) EVEN(2, l)
#define O2(l) ODD(2, l)
#define E4(l) EVEN(4, l)
#define O4(l) ODD(4, l)
#define E8(l) EVEN(8, l)
#define O8(l) ODD(8, l)
        if (s == 1) r[i] = __builtin_shufflevector(x, y, LANES(E1)), r[i + s] = __builtin_shufflevector(x, y, LANES(O1));
        if (s == 2) r[i] = __builtin_shufflevector(x, y, LANES(E2)), r[i + s] = __builtin_shufflevector(x, y, LANES(O2));
#if W >= 8
        if (s == 4) r[i] = __builtin_shufflevector(x, y, LANES(E4)), r[i + s] = __builtin_shufflevector(x, y, LANES(O4));
#endif
#if W >= 16
        if (s == 8) r[i] = __builtin_shufflevector(x, y, LANES(E8)), r[i + s] = __builtin_shufflevector(x, y, LANES(O8));
#endif
      }
  }
}

static void CK(transpose)(int64_t m, int64_t n, const float *in, int64_t in_row, float *out, int64_t out_row) {
  for (int64_t i = 0; i < m; i += W)
    for (int64_t j = 0; j < n; j += W) {
      const int64_t rows = m - i, columns = n - j;
      vf r[W];
#pragma clang loop unroll(full)
      for (int q = 0; q < W; q++) r[q] = q < rows ? load_n(in + (i + q) * in_row + j, columns) : (vf){0};
      transpose_block(r);
#pragma clang loop unroll(full)
      for (int q = 0; q < W; q++)
        if (q < columns) store_n(out + (j + q) * out_row + i, r[q], rows);
    }
}
