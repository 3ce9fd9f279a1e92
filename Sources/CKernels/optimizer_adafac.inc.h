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

// Vectors between two flushes: a lane then holds a sum of at most 2048 floats.
enum { OPT_FLUSH_VECTORS = 1024 };

// Pass 2, row by row.
CK_INLINE void CK(opt_accumulate_rows)(const bool celo, const CK(opt_rule) * rule, const ck_adafac_tensor *t,
                                       const CK(opt_at) * at, const CK(opt_scratch) * s, double total[D_COUNT]) {
  const int64_t length = t->b;
  vf sum[D_COUNT];
  OPT_UNROLL for (int f = 0; f < D_COUNT; f++) sum[f] = (vf){0};
  int64_t row = 0, vectors = 0;
  for (int64_t o = 0; o < t->outer; o++)
    for (int64_t a = 0; a < t->a; a++)
      for (int64_t m = 0; m < t->middle; m++, row++) {
        const float *lane = s->lane.factor + (o * t->middle + m) * length;
        vf line[3];
        OPT_UNROLL for (int j = 0; j < 3; j++) line[j] = vset1(s->line.factor[j * s->line.stride + row]);
        const int64_t e = row * length;
        int64_t c = 0;
        while (c < length) {
          // A very long row is flushed inside too.
          const int64_t stop = length - c > OPT_FLUSH_VECTORS * W ? c + OPT_FLUSH_VECTORS * W : length;
          vectors += (stop - c + W - 1) / W;
          for (; c + 2 * W <= stop; c += 2 * W) {
            vf f[3][2];
            OPT_UNROLL for (int j = 0; j < 3; j++) {
              f[j][0] = vload(lane + j * s->lane.stride + c) * line[j];
              f[j][1] = vload(lane + j * s->lane.stride + c + W) * line[j];
            }
            CK(opt_accumulate)(celo, 2, false, W, rule, at, e + c, f, f, sum);
          }
          for (; c < stop; c += W) {
            const int n = stop - c < W ? (int)(stop - c) : W;
            vf f[3][2];
            OPT_UNROLL for (int j = 0; j < 3; j++) f[j][0] = vload(lane + j * s->lane.stride + c) * line[j];
            if (n == W)
              CK(opt_accumulate)(celo, 1, false, W, rule, at, e + c, f, f, sum);
            else
              CK(opt_accumulate)(celo, 1, true, n, rule, at, e + c, f, f, sum);
          }
          c = stop;
          if (vectors >= OPT_FLUSH_VECTORS) {
            vectors = 0;
            OPT_FLUSH(sum, total)
          }
        }
      }
  OPT_FLUSH(sum, total)
}

// Pass 3, row by row.
CK_INLINE void CK(opt_apply_rows)(const bool celo, const bool narrow, const CK(opt_net) * net,
                                  const ck_adafac_tensor *t, const CK(opt_at) * at, const CK(opt_scratch) * s) {
  const int64_t length = t->b;
  const int hidden = net->rule->hidden;
  int64_t row = 0;
  for (int64_t o = 0; o < t->outer; o++)
    for (int64_t a = 0; a < t->a; a++)
      for (int64_t m = 0; m < t->middle; m++, row++) {
        const int64_t at_lane = (o * t->middle + m) * length;
        const float *lane = s->lane.factor + at_lane, *lane_bias = s->lane_bias + at_lane;
        const float *line_bias = s->line_bias + row;
        vf line[3];
        OPT_UNROLL for (int j = 0; j < 3; j++) line[j] = vset1(s->line.factor[j * s->line.stride + row]);
        const int64_t e = row * length;
        int64_t c = 0;
        if (narrow) {
          for (; c + 2 * W <= length; c += 2 * W) {
            vf f[3][2], acc[4][2];
            OPT_UNROLL for (int u = 0; u < 2; u++) {
              OPT_UNROLL for (int j = 0; j < 3; j++) f[j][u] = vload(lane + j * s->lane.stride + c + u * W) * line[j];
              OPT_UNROLL for (int k = 0; k < 4; k++)
                acc[k][u] = vload(lane_bias + k * s->lane.stride + c + u * W) + line_bias[k * s->line.stride];
            }
            CK(opt_apply_4)(celo, 2, false, W, net, at, e + c, f, f, acc);
          }
        }
        for (; c < length; c += W) {
          const int n = length - c < W ? (int)(length - c) : W;
          vf f[3][2];
          OPT_UNROLL for (int j = 0; j < 3; j++) f[j][0] = vload(lane + j * s->lane.stride + c) * line[j];
          if (narrow) {
            vf acc[4][2];
            OPT_UNROLL for (int k = 0; k < 4; k++)
              acc[k][0] = vload(lane_bias + k * s->lane.stride + c) + line_bias[k * s->line.stride];
            if (n == W)
              CK(opt_apply_4)(celo, 1, false, W, net, at, e + c, f, f, acc);
            else
              CK(opt_apply_4)(celo, 1, true, n, net, at, e + c, f, f, acc);
          } else {
            vf first[CK_ADAFAC_HIDDEN_MAX];
            for (int k = 0; k < hidden; k++)
              first[k] = vload(lane_bias + k * s->lane.stride + c) + line_bias[k * s->line.stride];
            if (n == W)
              CK(opt_apply_wide)(celo, false, W, net, at, e + c, f, f, first);
            else
              CK(opt_apply_wide)(celo, true, n, net, at, e + c, f, f, first);
          }
        }
      }
}

// out[plane][x] = line * lane, or line + lane, of the elements [e0, e1) of the tensor. Whole vectors are stored, so a
// plane's last may reach into its padding; the next run overwrites what the one before wrote too much.
CK_INLINE void CK(opt_expand)(const bool multiply, const ck_adafac_tensor *t, int64_t e0, int64_t e1, int planes,
                              const float *line, int64_t line_stride, const float *lane, int64_t lane_stride,
                              float *out) {
  const int64_t length = t->b * t->inner, out_stride = OPT_BLOCK + OPT_PAD;
  int64_t row = e0 / length, s = e0 % length, m = row % t->middle, a = row / t->middle % t->a;
  int64_t matrix = row / t->middle / t->a * t->middle + m;
  for (int64_t e = e0; e < e1;) {
    const int64_t row_end = e + length - s < e1 ? e + length - s : e1;
    if (t->inner == 1) {
      for (int k = 0; k < planes; k++) {
        const vf x = vset1(line[k * line_stride + row]);
        const float *source = lane + k * lane_stride + matrix * length + s;
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
          const float *x = line + k * line_stride + row * t->inner + i;
          const float *y = lane + k * lane_stride + matrix * length + s;
          float *target = out + k * out_stride + e - e0;
          for (int64_t r = 0; r < n; r += W)
            vstore(target + r, multiply ? vload(x + r) * vload(y + r) : vload(x + r) + vload(y + r));
        }
        e += n;
        s += n;
        i = 0;
      }
    }
    s = 0;
    row++;
    if (++m < t->middle) {
      matrix++;
    } else {
      m = 0;
      matrix -= t->middle - 1;
      if (++a == t->a) {
        a = 0;
        matrix += t->middle;
      }
    }
  }
}

// Pass 2 in flat blocks.
CK_INLINE void CK(opt_accumulate_blocks)(const bool celo, const CK(opt_rule) * rule, const ck_adafac_tensor *t,
                                         const CK(opt_at) * at, const CK(opt_scratch) * s, double total[D_COUNT]) {
  const int64_t stride = OPT_BLOCK + OPT_PAD;
  vf sum[D_COUNT];
  OPT_UNROLL for (int f = 0; f < D_COUNT; f++) sum[f] = (vf){0};
  int64_t vectors = 0;
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
    vectors += OPT_BLOCK / W;
    if (vectors >= OPT_FLUSH_VECTORS) {
      vectors = 0;
      OPT_FLUSH(sum, total)
    }
  }
  OPT_FLUSH(sum, total)
}

// Pass 3 in flat blocks. A tensor of a single block still has its factors from pass 2.
CK_INLINE void CK(opt_apply_blocks)(const bool celo, const bool narrow, const CK(opt_net) * net,
                                    const ck_adafac_tensor *t, const CK(opt_at) * at, const CK(opt_scratch) * s) {
  const int64_t stride = OPT_BLOCK + OPT_PAD;
  const int hidden = net->rule->hidden;
  for (int64_t e0 = 0; e0 < t->count; e0 += OPT_BLOCK) {
    const int64_t e1 = t->count - e0 < OPT_BLOCK ? t->count : e0 + OPT_BLOCK;
    if (t->count > OPT_BLOCK)
      CK(opt_expand)(true, t, e0, e1, 3, s->line.factor, s->line.stride, s->lane.factor, s->lane.stride, s->factors);
    CK(opt_expand)(false, t, e0, e1, hidden, s->line_bias, s->line.stride, s->lane_bias, s->lane.stride, s->biases);
    int64_t e = e0;
    if (narrow)
      for (; e + 2 * W <= e1; e += 2 * W) {
        vf f[3][2], acc[4][2];
        OPT_UNROLL for (int u = 0; u < 2; u++) {
          OPT_UNROLL for (int j = 0; j < 3; j++) f[j][u] = vload(s->factors + j * stride + e - e0 + u * W);
          OPT_UNROLL for (int k = 0; k < 4; k++) acc[k][u] = vload(s->biases + k * stride + e - e0 + u * W);
        }
        CK(opt_apply_4)(celo, 2, false, W, net, at, e, f, f, acc);
      }
    for (; e < e1; e += W) {
      const int n = e1 - e < W ? (int)(e1 - e) : W;
      vf f[3][2];
      OPT_UNROLL for (int j = 0; j < 3; j++) f[j][0] = vload(s->factors + j * stride + e - e0);
      if (narrow) {
        vf acc[4][2];
        OPT_UNROLL for (int k = 0; k < 4; k++) acc[k][0] = vload(s->biases + k * stride + e - e0);
        if (n == W)
          CK(opt_apply_4)(celo, 1, false, W, net, at, e, f, f, acc);
        else
          CK(opt_apply_4)(celo, 1, true, n, net, at, e, f, f, acc);
      } else {
        vf first[CK_ADAFAC_HIDDEN_MAX];
        for (int k = 0; k < hidden; k++) first[k] = vload(s->biases + k * stride + e - e0);
        if (n == W)
          CK(opt_apply_wide)(celo, false, W, net, at, e, f, f, first);
        else
          CK(opt_apply_wide)(celo, true, n, net, at, e, f, f, first);
      }
    }
  }
}
