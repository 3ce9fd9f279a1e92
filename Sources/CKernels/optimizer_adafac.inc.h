// The update of one tensor by a per-parameter network on Adafactor features, in three passes over its memory:
//   1. sums of g^2 along lines and lanes, the factored statistics           (optimizer_factored.inc.h)
//   2. momentum and second moment, the sum of squares of every feature       (opt_accumulate)
//   3. the features once more, the network, the new parameters               (opt_apply_*)
// Data rows of a whole number of vectors, and long ones, are walked row by row ("rows"); short or interleaved ones in
// flat blocks whose factors and biases are expanded first ("blocks"); tensors of at most one axis are walked flat.

enum { OPT_BLOCK = 512 };

// The caller's scratch memory, carved for one tensor. ck_adafac_scratch (optimizer.c) sizes it.
typedef struct {
  CK(opt_stat) line, lane;
  float *part;                       // b*inner
  float *line_bias, *lane_bias;      // `hidden` planes, as far apart as the factors' planes
  float *factors;                    // blocks: 3 planes of OPT_BLOCK + OPT_PAD
  float *biases;                     // blocks: `hidden` planes
} CK(opt_scratch);

static CK(opt_scratch) CK(opt_carve)(const ck_adafac_tensor *t, int hidden, float *scratch) {
  CK(opt_scratch) s;
  memset(&s, 0, sizeof s);
  s.line.n = t->outer * t->a * t->middle * t->inner;
  s.lane.n = t->outer * t->middle * t->b * t->inner;
  CK(opt_stat) *stats[2] = {&s.line, &s.lane};
  for (int i = 0; i < 2; i++) {
    stats[i]->stride = ck_adafac_stride(stats[i]->n);
    stats[i]->sum = scratch;
    stats[i]->factor = scratch + stats[i]->stride;
    scratch += 4 * stats[i]->stride;
  }
  s.line_bias = scratch;
  scratch += hidden * s.line.stride;
  s.lane_bias = scratch;
  scratch += hidden * s.lane.stride;
  s.part = scratch;
  scratch += ck_adafac_stride(t->b * t->inner);
  s.factors = scratch;
  scratch += 3 * (OPT_BLOCK + OPT_PAD);
  s.biases = scratch;
  return s;
}

// Moves the running sums of squares to doubles.
#define OPT_FLUSH(sum, total)                    \
  OPT_UNROLL for (int f = 0; f < D_COUNT; f++) { \
    (total)[f] += opt_sum((sum)[f]);             \
    (sum)[f] = (vf){0};                          \
  }

// Elements between two flushes: a lane of the narrowest vector then holds a sum of 4096 floats.
enum { OPT_FLUSH_ELEMENTS = 16384 };

// A data row and the row of its lane, [outer, middle] in order; advanced without division.
typedef struct {
  int64_t row, a, middle, matrix;
} CK(opt_cursor);

CK_INLINE CK(opt_cursor) CK(opt_cursor_at)(const ck_adafac_tensor *t, int64_t row) {
  const int64_t middle = row % t->middle, above = row / t->middle;
  return (CK(opt_cursor)){row, above % t->a, middle, above / t->a * t->middle + middle};
}

CK_INLINE void CK(opt_next_row)(CK(opt_cursor) * c, const ck_adafac_tensor *t) {
  c->row++;
  c->matrix++;
  if (++c->middle < t->middle) return;
  c->middle = 0;
  c->matrix -= t->middle;
  if (++c->a < t->a) return;
  c->a = 0;
  c->matrix += t->middle;
}

// A kind of step through the data rows [row0, row1) x [from, to): two vectors, one, or the rest. The loops below make one
// kind of step each, so that the sums stay in registers from row to row.
//
// "Level" rows of no whole number of vectors are walked as the memory lies: a row's first vector is the first one that
// starts in it, on a vector's boundary, and the rest is a vector that reaches into the next row.
enum { OPT_PAIR, OPT_SINGLE, OPT_REST };
typedef struct {
  int64_t row0, row1, from, to;
} CK(opt_part);

// The columns of one kind of step in a row.
CK_INLINE void CK(opt_columns)(const int step, const bool level, const CK(opt_part) * x, int64_t row, int64_t b,
                               int64_t *from, int64_t *to) {
  const int64_t first = level ? -(row * b) & (W - 1) : x->from, last = level ? b : x->to;
  const int64_t pairs = first + ((last - first) & -(2 * W)), singles = first + ((last - first) & -W);
  *from = step == OPT_PAIR ? first : step == OPT_SINGLE ? pairs : singles;
  *to = step == OPT_PAIR ? pairs : step == OPT_SINGLE ? singles : last;
}

// The factors of a row; of a rest that reaches into the next row, its first n lanes' and the next one's.
CK_INLINE vf CK(opt_line)(const bool across, int n, const float *line) {
  const vf own = vset1(line[0]);
  if (!across) return own;
  const vf next = vset1(line[1]);
  return opt_keep(own, n) + (next - opt_keep(next, n));
}

CK_INLINE void CK(opt_accumulate_part)(const bool celo, const int step, const bool level, const CK(opt_part) * x,
                                       const CK(opt_rule) * rule, const ck_adafac_tensor *t, const CK(opt_at) * at,
                                       const CK(opt_scratch) * s, vf sum[D_COUNT]) {
  const int64_t stride = s->lane.stride;
  const int units = step == OPT_PAIR ? 2 : 1;
  CK(opt_cursor) r = CK(opt_cursor_at)(t, x->row0);
  for (; r.row < x->row1; CK(opt_next_row)(&r, t)) {
    int64_t from, to;
    CK(opt_columns)(step, level, x, r.row, t->b, &from, &to);
    const bool across = step == OPT_REST && level && r.row + 1 < t->a;
    const int n = (int)(to - from);
    const float *lane = s->lane.factor + r.matrix * t->b;
    vf line[3];
    OPT_UNROLL for (int j = 0; j < 3; j++)
      line[j] = CK(opt_line)(across, n, s->line.factor + j * s->line.stride + r.row);
    for (int64_t c = from; c < to; c += units * W) {
      vf f[3][2];
      OPT_UNROLL for (int j = 0; j < 3; j++)
        OPT_UNROLL for (int u = 0; u < units; u++) f[j][u] = vload(lane + j * stride + c + u * W) * line[j];
      if (step == OPT_REST && !across)
        CK(opt_accumulate)(celo, 1, true, n, rule, at, r.row * t->b + c, f, f, sum);
      else
        CK(opt_accumulate)(celo, units, false, W, rule, at, r.row * t->b + c, f, f, sum);
    }
  }
}

// Calls `STEP(step, &part)` for each kind of step through [row0, row1) x [from, to).
#define OPT_FOR_PARTS(ROW0, ROW1, FROM, TO, STEP)             \
  {                                                           \
    const CK(opt_part) part = {(ROW0), (ROW1), (FROM), (TO)}; \
    STEP(OPT_PAIR, &part);                                    \
    STEP(OPT_SINGLE, &part);                                  \
    if (((TO) - (FROM)) % W) STEP(OPT_REST, &part);           \
  }

// Pass 2, row by row.
CK_INLINE void CK(opt_accumulate_rows)(const bool celo, const bool level, const CK(opt_rule) * rule, const ck_adafac_tensor *t,
                                       const CK(opt_at) * at, const CK(opt_scratch) * s, double total[D_COUNT]) {
  const int64_t rows = t->outer * t->a * t->middle;
  const int64_t columns = t->b < OPT_FLUSH_ELEMENTS ? t->b : OPT_FLUSH_ELEMENTS;
  const int64_t block = OPT_FLUSH_ELEMENTS / columns;
  for (int64_t row = 0; row < rows; row += block)
    for (int64_t from = 0; from < t->b; from += columns) {
      const int64_t row1 = rows - row < block ? rows : row + block;
      const int64_t to = t->b - from < columns ? t->b : from + columns;
      vf sum[D_COUNT];
      OPT_UNROLL for (int f = 0; f < D_COUNT; f++) sum[f] = (vf){0};
#define OPT_STEP(step, x) CK(opt_accumulate_part)(celo, step, level, x, rule, t, at, s, sum)
      OPT_FOR_PARTS(row, row1, from, to, OPT_STEP)
#undef OPT_STEP
      OPT_FLUSH(sum, total)
    }
}

CK_INLINE void CK(opt_apply_part)(const int kind, const bool narrow, const int step, const bool level,
                                  const CK(opt_part) * x, const CK(opt_net) * net, const ck_adafac_tensor *t,
                                  const CK(opt_at) * at, const CK(opt_scratch) * s) {
  const int64_t stride = s->lane.stride, line_stride = s->line.stride;
  const int units = step == OPT_PAIR ? 2 : 1;
  const int hidden = narrow ? 4 : net->rule->hidden;
  CK(opt_cursor) r = CK(opt_cursor_at)(t, x->row0);
  for (; r.row < x->row1; CK(opt_next_row)(&r, t)) {
    int64_t from, to;
    CK(opt_columns)(step, level, x, r.row, t->b, &from, &to);
    const bool across = step == OPT_REST && level && r.row + 1 < t->a;
    const int n = (int)(to - from);
    const float *lane = s->lane.factor + r.matrix * t->b, *lane_bias = s->lane_bias + r.matrix * t->b;
    const float *line_bias = s->line_bias + r.row;
    vf line[3];
    OPT_UNROLL for (int j = 0; j < 3; j++)
      line[j] = CK(opt_line)(across, n, s->line.factor + j * line_stride + r.row);
    for (int64_t c = from; c < to; c += units * W) {
      const int64_t e = r.row * t->b + c;
      vf f[3][2];
      OPT_UNROLL for (int j = 0; j < 3; j++)
        OPT_UNROLL for (int u = 0; u < units; u++) f[j][u] = vload(lane + j * stride + c + u * W) * line[j];
      vf bias[CK_ADAFAC_HIDDEN_MAX][2];
      for (int k = 0; k < hidden; k++)
        OPT_UNROLL for (int u = 0; u < units; u++)
          bias[k][u] = vload(lane_bias + k * stride + c + u * W) + CK(opt_line)(across, n, line_bias + k * line_stride);
      if (narrow && step == OPT_REST && !across)
        CK(opt_apply_4)(kind, 1, true, n, net, at, e, f, f, bias);
      else if (narrow)
        CK(opt_apply_4)(kind, units, false, W, net, at, e, f, f, bias);
      else if (step == OPT_REST && !across)
        CK(opt_apply_wide)(kind, 1, true, n, net, at, e, f, f, bias);
      else
        CK(opt_apply_wide)(kind, units, false, W, net, at, e, f, f, bias);
    }
  }
}

// Pass 3, row by row.
CK_INLINE void CK(opt_apply_rows)(const int kind, const bool narrow, const bool level, const CK(opt_net) * net,
                                  const ck_adafac_tensor *t, const CK(opt_at) * at, const CK(opt_scratch) * s) {
  const int64_t rows = t->outer * t->a * t->middle;
#define OPT_STEP(step, x) CK(opt_apply_part)(kind, narrow, step, level, x, net, t, at, s)
  OPT_FOR_PARTS(0, rows, 0, t->b, OPT_STEP)
#undef OPT_STEP
}

// out[plane][x] = line * lane, or line + lane, of the elements [e0, e1) of the tensor. Whole vectors are stored, so a
// plane's last may reach into its padding; the next run overwrites what the one before wrote too much.
CK_INLINE void CK(opt_expand)(const bool multiply, const ck_adafac_tensor *t, int64_t e0, int64_t e1, int planes,
                              const float *line, int64_t line_stride, const float *lane, int64_t lane_stride,
                              float *out) {
  const int64_t length = t->b * t->inner, out_stride = OPT_BLOCK + OPT_PAD;
  CK(opt_cursor) r = CK(opt_cursor_at)(t, e0 / length);
  int64_t s = e0 % length;
  for (int64_t e = e0; e < e1;) {
    const int64_t row_end = e + length - s < e1 ? e + length - s : e1;
    if (t->inner == 1) {
      for (int k = 0; k < planes; k++) {
        const vf x = vset1(line[k * line_stride + r.row]);
        const float *source = lane + k * lane_stride + r.matrix * length + s;
        float *target = out + k * out_stride + e - e0;
        for (int64_t i = 0; i < row_end - e; i += W)
          vstore(target + i, multiply ? vload(source + i) * x : vload(source + i) + x);
      }
      e = row_end;
    } else {
      int64_t i = s % t->inner;
      while (e < row_end) {
        const int64_t n = row_end - e < t->inner - i ? row_end - e : t->inner - i;
        for (int k = 0; k < planes; k++) {
          const float *x = line + k * line_stride + r.row * t->inner + i;
          const float *y = lane + k * lane_stride + r.matrix * length + s;
          float *target = out + k * out_stride + e - e0;
          for (int64_t v = 0; v < n; v += W)
            vstore(target + v, multiply ? vload(x + v) * vload(y + v) : vload(x + v) + vload(y + v));
        }
        e += n;
        s += n;
        i = 0;
      }
    }
    s = 0;
    CK(opt_next_row)(&r, t);
  }
}

// Pass 2 in flat blocks.
CK_INLINE void CK(opt_accumulate_blocks)(const bool celo, const CK(opt_rule) * rule, const ck_adafac_tensor *t,
                                         const CK(opt_at) * at, const CK(opt_scratch) * s, double total[D_COUNT]) {
  const int64_t stride = OPT_BLOCK + OPT_PAD;
  vf sum[D_COUNT];
  OPT_UNROLL for (int f = 0; f < D_COUNT; f++) sum[f] = (vf){0};
  int64_t elements = 0;
  for (int64_t e0 = 0; e0 < t->count; e0 += OPT_BLOCK) {
    const int64_t e1 = t->count - e0 < OPT_BLOCK ? t->count : e0 + OPT_BLOCK;
    CK(opt_expand)(true, t, e0, e1, 3, s->line.factor, s->line.stride, s->lane.factor, s->lane.stride, s->factors);
    for (int64_t e = e0; e < e1; e += W) {
      const int n = e1 - e < W ? (int)(e1 - e) : W;
      vf f[3][2];
      OPT_UNROLL for (int j = 0; j < 3; j++) f[j][0] = vload(s->factors + j * stride + e - e0);
      if (n == W)
        CK(opt_accumulate)(celo, 1, false, W, rule, at, e, f, f, sum);
      else {
        OPT_UNROLL for (int j = 0; j < 3; j++) f[j][0] = opt_keep(f[j][0], n);
        CK(opt_accumulate)(celo, 1, true, n, rule, at, e, f, f, sum);
      }
    }
    elements += OPT_BLOCK;
    if (elements >= OPT_FLUSH_ELEMENTS) {
      elements = 0;
      OPT_FLUSH(sum, total)
    }
  }
  OPT_FLUSH(sum, total)
}

// Pass 3 in flat blocks. A tensor of a single block still has its factors from pass 2.
CK_INLINE void CK(opt_apply_blocks)(const int kind, const bool narrow, const CK(opt_net) * net,
                                    const ck_adafac_tensor *t, const CK(opt_at) * at, const CK(opt_scratch) * s) {
  const int64_t stride = OPT_BLOCK + OPT_PAD;
  const int hidden = net->rule->hidden;
  for (int64_t e0 = 0; e0 < t->count; e0 += OPT_BLOCK) {
    const int64_t e1 = t->count - e0 < OPT_BLOCK ? t->count : e0 + OPT_BLOCK;
    if (t->count > OPT_BLOCK)
      CK(opt_expand)(true, t, e0, e1, 3, s->line.factor, s->line.stride, s->lane.factor, s->lane.stride, s->factors);
    CK(opt_expand)(false, t, e0, e1, hidden, s->line_bias, s->line.stride, s->lane_bias, s->lane.stride, s->biases);
    int64_t e = e0;
#define OPT_STEP(units, part, n)                                                                          \
  {                                                                                                       \
    vf f[3][2], bias[CK_ADAFAC_HIDDEN_MAX][2];                                                            \
    OPT_UNROLL for (int u = 0; u < units; u++) {                                                          \
      OPT_UNROLL for (int j = 0; j < 3; j++) f[j][u] = vload(s->factors + j * stride + e - e0 + u * W);   \
      for (int k = 0; k < (narrow ? 4 : hidden); k++) bias[k][u] = vload(s->biases + k * stride + e - e0 + u * W); \
    }                                                                                                     \
    if (narrow)                                                                                           \
      CK(opt_apply_4)(kind, units, part, n, net, at, e, f, f, bias);                                      \
    else                                                                                                  \
      CK(opt_apply_wide)(kind, units, part, n, net, at, e, f, f, bias);                                   \
  }
    for (; e + 2 * W <= e1; e += 2 * W) OPT_STEP(2, false, W)
    for (; e + W <= e1; e += W) OPT_STEP(1, false, W)
    if (e < e1) OPT_STEP(1, true, (int)(e1 - e))
#undef OPT_STEP
  }
}
