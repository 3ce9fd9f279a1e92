// Adafactor's statistics of one tensor: sums of g^2 along its lines and lanes, the decayed averages, and the factors
// that scale features (Shazeer & Stern 2018, arXiv 1804.04235). The view of a tensor is told in ck_optimizer.h.

// Floats kept behind each plane so that whole vectors may be read at its end.
enum { OPT_PAD = 16 };

// What the statistics of one tensor give to the later passes. Planes are `stride` floats apart.
typedef struct {
  float *sum;        // mean of g^2 while the statistics are made
  float *factor;     // 3 planes
  int64_t n, stride; // entries; distance of two planes
  double sums[6];    // sums over entries of S_j^2, then of 1/(S_j + 1e-8): the squares of the six features
} CK(opt_stat);

CK_INLINE vf CK(opt_gradient)(const float *g, bool clip, bool part, int n) {
  vf x = opt_load(g, part, n);
  return clip ? opt_clamp(x, -1000.0f, 1000.0f) : x;
}

// Adds the squares of `rows` (1 or 4) data rows of `length`, `step` floats apart, to the lanes; their sums to line[],
// `line_step` apart.
CK_INLINE void CK(opt_square_rows)(const float *g, int64_t length, int64_t step, const int rows, bool clip, float *lane,
                                   float *line, int64_t line_step) {
  vf sums[4] = {{0}, {0}, {0}, {0}};
  int64_t c = 0;
  for (; c + W <= length; c += W) {
    vf total = vload(lane + c);
    for (int r = 0; r < rows; r++) {
      vf x = CK(opt_gradient)(g + r * step + c, clip, false, W);
      x = x * x;
      sums[r] += x;
      total += x;
    }
    vstore(lane + c, total);
  }
  if (c < length) {
    int n = (int)(length - c);
    vf total = opt_load_n(lane + c, n);
    for (int r = 0; r < rows; r++) {
      vf x = CK(opt_gradient)(g + r * step + c, clip, true, n);
      x = x * x;
      sums[r] += x;
      total += x;
    }
    opt_store_n(lane + c, total, n);
  }
  for (int r = 0; r < rows; r++) line[r * line_step] = vsum(sums[r]);
}

// Pass 1: line->sum and lane->sum become the sums of g^2. `part` holds b*inner floats for partial lane sums: columns of
// many thousands of rows are summed in blocks, so that the rounding error stays that of a short sum.
static void CK(opt_square_sums)(const ck_adafac_tensor *t, const float *g, bool clip, CK(opt_stat) * line,
                                CK(opt_stat) * lane, float *part) {
  const int64_t length = t->b * t->inner, step = t->middle * length;
  for (int64_t o = 0; o < t->outer; o++)
    for (int64_t m = 0; m < t->middle; m++) {
      float *lanes = lane->sum + (o * t->middle + m) * length;
      const float *matrix = g + (o * t->a * t->middle + m) * length;
      float *lines = line->sum + (o * t->a * t->middle + m) * t->inner;
      const int64_t line_step = t->middle * t->inner;
      memset(lanes, 0, (size_t)length * 4);
      const int64_t block = 256;
      for (int64_t a0 = 0; a0 < t->a; a0 += block) {
        const int64_t a1 = a0 + block < t->a ? a0 + block : t->a;
        float *target = t->a <= block ? lanes : part;
        if (target == part) memset(part, 0, (size_t)length * 4);
        int64_t a = a0;
        if (t->inner == 1) {
          for (; a + 4 <= a1; a += 4) {
            const float *rows = matrix + a * step;
            float *at = lines + a * line_step;
            if (clip)
              CK(opt_square_rows)(rows, length, step, 4, true, target, at, line_step);
            else
              CK(opt_square_rows)(rows, length, step, 4, false, target, at, line_step);
          }
          for (; a < a1; a++)
            CK(opt_square_rows)(matrix + a * step, length, step, 1, clip, target, lines + a * line_step, line_step);
        } else {
          for (; a < a1; a++) {
            const float *row = matrix + a * step;
            float *at = lines + a * line_step;
            for (int64_t i = 0; i < t->inner; i++) at[i] = 0;
            for (int64_t b = 0; b < t->b; b++)
              for (int64_t i = 0; i < t->inner; i++) {
                float x = row[b * t->inner + i];
                if (clip) x = x > 1000.0f ? 1000.0f : x < -1000.0f ? -1000.0f : x;
                at[i] += x * x;
                target[b * t->inner + i] += x * x;
              }
          }
        }
        if (target == part)
          for (int64_t i = 0; i < length; i++) lanes[i] += part[i];
      }
    }
}

// S_j = beta_j S_j + (1 - beta_j)(mean g^2 + 1e-30) for all entries, and the sums over entries that normalisers need.
static void CK(opt_decay_statistic)(CK(opt_stat) * s, float *state, float scale, const float *beta,
                                    const float *one_minus) {
  const vf inverse_count = vset1(scale);
  for (int j = 0; j < CK_ADAFAC_DECAYS; j++) {
    float *plane = state + j * s->n;
    const vf b = vset1(beta[j]), c = vset1(one_minus[j]);
    double square = 0, inverse = 0;
    for (int64_t i0 = 0; i0 < s->n; i0 += 4096) {
      const int64_t i1 = i0 + 4096 < s->n ? i0 + 4096 : s->n;
      vf sq = {0}, iv = {0};
      for (int64_t i = i0; i < i1; i += W) {
        const bool part = i1 - i < W;
        const int n = part ? (int)(i1 - i) : W;
        vf mean, x;
        if (part) {
          mean = vfma(opt_load_n(s->sum + i, n), inverse_count, vset1(1e-30f));
          x = opt_keep(vfma(b, opt_load_n(plane + i, n), c * mean), n);
          opt_store_n(plane + i, x, n);
          iv += opt_keep(1.0f / (x + 1e-8f), n);
        } else {
          mean = vfma(vload(s->sum + i), inverse_count, vset1(1e-30f));
          x = vfma(b, vload(plane + i), c * mean);
          vstore(plane + i, x);
          iv += 1.0f / (x + 1e-8f);
        }
        sq = vfma(x, x, sq);
      }
      square += opt_sum(sq);
      inverse += opt_sum(iv);
    }
    s->sums[j] = square;
    s->sums[3 + j] = inverse;
  }
}

// factor_j = 1/sqrt(max(S_j * scale, 1e-9)) over [first, first + n).
static void CK(opt_factor)(const float *plane, float *factor, int64_t n, float scale) {
  for (int64_t i = 0; i < n; i += W) {
    const int lanes = n - i < W ? (int)(n - i) : W;
    if (lanes == W)
      vstore(factor + i, opt_rsqrt(opt_floor(vload(plane + i) * scale, 1e-9f)));
    else
      opt_store_n(factor + i, opt_rsqrt(opt_floor(opt_load_n(plane + i, lanes) * scale, 1e-9f)), lanes);
  }
}

// The row's factors: each entry is first divided by the mean over the row's own axis. The row is seen as
// [outer, axis, inner] here.
static void CK(opt_row_factor)(CK(opt_stat) * s, const float *state, int64_t outer, int64_t axis, int64_t inner) {
  for (int j = 0; j < CK_ADAFAC_DECAYS; j++) {
    const float *plane = state + j * s->n;
    float *factor = s->factor + j * s->stride;
    for (int64_t o = 0; o < outer; o++) {
      const float *block = plane + o * axis * inner;
      float *target = factor + o * axis * inner;
      for (int64_t i = 0; i < inner; i++) {
        double total = 0;
        if (inner == 1) {
          int64_t x = 0;
          for (; x + W <= axis; x += W) total += opt_sum(vload(block + x));
          if (x < axis) total += opt_sum(opt_load_n(block + x, (int)(axis - x)));
        } else {
          for (int64_t x = 0; x < axis; x++) total += block[x * inner + i];
        }
        const float scale = 1.0f / ((float)(total / (double)axis) + 1e-9f);
        if (inner == 1)
          CK(opt_factor)(block, target, axis, scale);
        else
          for (int64_t x = 0; x < axis; x++) {
            float value = block[x * inner + i] * scale;
            if (value < 1e-9f) value = 1e-9f;
            target[x * inner + i] = 1.0f / __builtin_sqrtf(value);
          }
      }
    }
  }
}

// Everything of the statistics: sums, averages, factors. The state's planes hold the new averages afterwards.
static void CK(opt_statistics)(const ck_adafac_tensor *t, const float *g, bool clip, float *state, CK(opt_stat) * line,
                               CK(opt_stat) * lane, float *part, const float *beta, const float *one_minus) {
  CK(opt_square_sums)(t, g, clip, line, lane, part);
  float *line_state = state + t->line, *lane_state = state + t->lane;
  CK(opt_decay_statistic)(line, line_state, 1.0f / (float)t->b, beta, one_minus);
  CK(opt_decay_statistic)(lane, lane_state, 1.0f / (float)t->a, beta, one_minus);
  CK(opt_stat) *column = t->row_is_line ? lane : line;
  const float *column_state = t->row_is_line ? lane_state : line_state;
  for (int j = 0; j < CK_ADAFAC_DECAYS; j++)
    CK(opt_factor)(column_state + j * column->n, column->factor + j * column->stride, column->n, 1.0f);
  if (t->row_is_line)
    CK(opt_row_factor)(line, line_state, t->outer, t->a, t->middle * t->inner);
  else
    CK(opt_row_factor)(lane, lane_state, t->outer * t->middle, t->b, t->inner);
  for (int j = 0; j < CK_ADAFAC_DECAYS; j++) {
    memset(line->factor + j * line->stride + line->n, 0, OPT_PAD * 4);
    memset(lane->factor + j * lane->stride + lane->n, 0, OPT_PAD * 4);
  }
}
