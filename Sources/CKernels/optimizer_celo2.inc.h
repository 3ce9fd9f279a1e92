// Celo2 (Moudgil et al. 2026, arXiv 2602.19142): a per-parameter network 30 -> 8 -> 8 -> 3 on Celo's features, whose
// output is made a step of root mean square 1, for matrices after Newton-Schulz; without scheduler or loss.
//
// Factored statistics belong to the whole tensor, normalisers to each matrix of its last two axes. Matrices of long rows
// whose own axes are the factored ones are walked row by row; all others in blocks whose factors are expanded first.

// The caller's scratch memory, carved for one tensor. ck_celo2_scratch (optimizer.c) sizes it.
typedef struct {
  CK(opt_stat) line, lane;
  float *part, *line_bias, *lane_bias;
  float *planes;     // of a block: three factors, three entries of the line statistic, three of the lane's
  float *biases;     // of a block
  float *direction;  // of a matrix
  float *rest;       // Newton-Schulz's
} CK(celo2_scratch);

enum { CELO2_STRIDE = CK_CELO2_BLOCK + CK_CELO2_PAD };

static CK(celo2_scratch) CK(celo2_carve)(const ck_celo2_tensor *tensor, float *scratch) {
  const ck_adafac_tensor *t = &tensor->slots;
  CK(celo2_scratch) s;
  memset(&s, 0, sizeof s);
  s.planes = scratch;
  s.biases = scratch + 9 * CELO2_STRIDE;
  scratch += ck_celo2_block_floats();
  s.direction = scratch;
  scratch += ck_adafac_stride(tensor->rows * tensor->columns);
  if (t->factored) {
    float *part = scratch;
    s.line.n = t->outer * t->a * t->middle * t->inner;
    s.lane.n = t->outer * t->middle * t->b * t->inner;
    CK(opt_stat) *stats[2] = {&s.line, &s.lane};
    for (int i = 0; i < 2; i++) {
      stats[i]->stride = ck_adafac_stride(stats[i]->n);
      stats[i]->sum = part;
      stats[i]->factor = part + stats[i]->stride;
      part += 4 * stats[i]->stride;
    }
    s.line_bias = part;
    s.lane_bias = part + CELO2 * s.line.stride;
    s.part = s.lane_bias + CELO2 * s.lane.stride;
    scratch += ck_celo2_statistics_floats(t);
  }
  s.rest = scratch;
  return s;
}

// The factors of the row statistic, seen as [outer, axis, inner]: each entry over the mean along its own axis.
static void CK(celo2_row_factor)(CK(opt_stat) * s, const float *state, int64_t outer, int64_t axis, int64_t inner,
                                 const float correction[3]) {
  for (int j = 0; j < 3; j++)
    for (int64_t o = 0; o < outer; o++)
      for (int64_t i = 0; i < inner; i++) {
        const float *entry = state + j * s->n + o * axis * inner + i;
        float *factor = s->factor + j * s->stride + o * axis * inner + i;
        double total = 0;
        for (int64_t x = 0; x < axis; x++) total += (double)entry[x * inner];
        const float mean = (float)(total / (double)axis) * correction[j];
        const float scale = correction[j] / (mean + 1e-9f);
        for (int64_t x = 0; x < axis; x++) {
          float value = entry[x * inner] * scale;
          if (value < 1e-9f) value = 1e-9f;
          factor[x * inner] = 1.0f / __builtin_sqrtf(value);
        }
      }
}

static void CK(celo2_statistics)(const CK(celo2_rule) * rule, const ck_adafac_tensor *t, const float *g, float *state,
                                 CK(celo2_scratch) * s) {
  CK(opt_square_sums)(t, g, true, &s->line, &s->lane, s->part);
  CK(opt_decay_statistic)(&s->line, state + t->line, 1.0f / (float)t->b, rule->momentum, rule->momentum_rest);
  CK(opt_decay_statistic)(&s->lane, state + t->lane, 1.0f / (float)t->a, rule->momentum, rule->momentum_rest);
  CK(opt_stat) *column = t->row_is_line ? &s->lane : &s->line;
  const float *entries = state + (t->row_is_line ? t->lane : t->line);
  for (int j = 0; j < 3; j++)
    CK(opt_factor)(entries + j * column->n, column->factor + j * column->stride, column->n, rule->correction[j]);
  if (t->row_is_line)
    CK(celo2_row_factor)(&s->line, state + t->line, t->outer, t->a, t->middle * t->inner, rule->correction);
  else
    CK(celo2_row_factor)(&s->lane, state + t->lane, t->outer * t->middle, t->b, t->inner, rule->correction);
}

// Adds the squares of the six features of `n` statistic entries, whose planes are `stride` apart.
static void CK(celo2_statistic_squares)(const float *x, int64_t stride, int64_t n, const float correction[3],
                                        double sums[S_COUNT]) {
  for (int j = 0; j < 3; j++)
    for (int64_t start = 0; start < n; start += 4096) {
      const int64_t end = n - start < 4096 ? n : start + 4096;
      vf square = {0}, inverse = {0};
      for (int64_t i = start; i < end; i += W) {
        const bool part = end - i < W;
        const int lanes = part ? (int)(end - i) : W;
        const vf v = opt_load(x + j * stride + i, part, lanes) * correction[j];
        square = vfma(v, v, square);
        const vf y = 1.0f / (v + 1e-8f);
        inverse += part ? opt_keep(y, lanes) : y;
      }
      sums[S_RAW + j] += opt_sum(square);
      sums[S_INVERSE + j] += opt_sum(inverse);
    }
}

// out[k][i] = (add ? out[k][i] : base[k]) + the six features of statistic entry i times their weights.
static void CK(celo2_bias)(const float *x, int64_t stride, int64_t n, const float *weights, const float correction[3],
                           bool add, const float *base, float *out, int64_t out_stride) {
  for (int64_t i = 0; i < n; i += W) {
    const bool part = n - i < W;
    const int lanes = part ? (int)(n - i) : W;
    vf h[CELO2];
    OPT_UNROLL for (int k = 0; k < CELO2; k++)
      h[k] = add ? vload(out + k * out_stride + i) : base ? vset1(base[k]) : (vf){0};
    OPT_UNROLL for (int j = 0; j < 3; j++) {
      const vf v = opt_load(x + j * stride + i, part, lanes) * correction[j];
      const vf y = opt_rsqrt(v + 1e-8f);
      OPT_UNROLL for (int k = 0; k < CELO2; k++) {
        h[k] = vfma(v, vset1(weights[(S_RAW + j) * CELO2 + k]), h[k]);
        h[k] = vfma(y, vset1(weights[(S_INVERSE + j) * CELO2 + k]), h[k]);
      }
    }
    OPT_UNROLL for (int k = 0; k < CELO2; k++) vstore(out + k * out_stride + i, h[k]);  // planes are padded
  }
}

// weights[f][k] = w0[f][k] / sqrt(1e-9 + mean square of feature f), and the same for a constant factor of a feature.
CK_INLINE void CK(celo2_fold)(const float *w0, double square, double inverse_count, float factor, float *weights) {
  const float scale = factor / __builtin_sqrtf(1e-9f + (float)(square * inverse_count) * factor * factor);
  OPT_UNROLL for (int k = 0; k < CELO2; k++) weights[k] = w0 ? w0[k] * scale : 0.0f;
}

static void CK(celo2_fold_dense)(CK(celo2_net) * net, const double total[D_COUNT], double inverse_count) {
  static const int feature[D_COUNT] = {
      F_G,  F_P,      F_M,      F_M + 1, F_M + 2,  F_V,      F_MQ,   F_MQ + 1, F_MQ + 2,
      F_Q,  F_FG,     F_FG + 1, F_FG + 2, F_MF,    F_MF + 1, F_MF + 2, F_CLIP, F_GQ,
  };
  const CK(celo2_rule) *rule = net->rule;
  const float *c = rule->correction;
  const float factor[D_COUNT] = {1, 1, c[0], c[1], c[2], rule->rms_correction, c[0], c[1], c[2],
                                 1, 1, 1,    1,    c[0], c[1],                 c[2], 1,    1};
  for (int f = 0; f < D_COUNT; f++)
    CK(celo2_fold)(rule->w0[feature[f]], total[f], inverse_count, factor[f], net->dense + f * CELO2);
}

static void CK(celo2_fold_statistic)(const CK(celo2_rule) * rule, int raw, int inverse, const double sums[S_COUNT],
                                     double inverse_count, float *weights) {
  for (int j = 0; j < 3; j++) {
    CK(celo2_fold)(rule->w0[raw + j], sums[S_RAW + j], inverse_count, 1, weights + (S_RAW + j) * CELO2);
    CK(celo2_fold)(rule->w0[inverse + j], sums[S_INVERSE + j], inverse_count, 1, weights + (S_INVERSE + j) * CELO2);
  }
}

// The planes of elements [e0, e1): the three factors, the statistics' entries.
static void CK(celo2_expand)(const ck_adafac_tensor *t, const CK(celo2_scratch) * s, const float *state, int64_t e0,
                             int64_t e1) {
  int64_t at = e0 / t->inner, i = e0 % t->inner;
  int64_t b = at % t->b;
  at /= t->b;
  for (int64_t e = e0; e < e1;) {
    // Along the last axis alone the lane's entries change; where something lies inside it, both change.
    const int64_t middle = at % t->middle, row = at / t->middle, outer = row / t->a;
    const int64_t line = at * t->inner + i, lane = ((outer * t->middle + middle) * t->b + b) * t->inner + i;
    const bool flat = t->inner == 1;
    const int64_t most = flat ? t->b - b : t->inner - i, n = e1 - e < most ? e1 - e : most;
    for (int j = 0; j < 3; j++) {
      const float *line_factor = s->line.factor + j * s->line.stride + line;
      const float *lane_factor = s->lane.factor + j * s->lane.stride + lane;
      const float *line_entry = state + t->line + j * s->line.n + line;
      const float *lane_entry = state + t->lane + j * s->lane.n + lane;
      float *out = s->planes + j * CELO2_STRIDE + e - e0;
      for (int64_t x = 0; x < n; x++) {
        out[x] = line_factor[flat ? 0 : x] * lane_factor[x];
        out[3 * CELO2_STRIDE + x] = line_entry[flat ? 0 : x];
        out[6 * CELO2_STRIDE + x] = lane_entry[x];
      }
    }
    e += n;
    i = 0;
    b += flat ? n : 1;
    if (b == t->b) {
      b = 0;
      at++;
    }
  }
}

// The three factors of g in elements [e0, e1) of a tensor that is not factored; with `decay` its D_j take in g first.
// Corrections leave D_j alone, as the published implementation does.
static void CK(celo2_flat_factors)(const CK(celo2_rule) * rule, const ck_adafac_tensor *t, const CK(celo2_scratch) * s,
                                   const float *g, float *state, int64_t e0, int64_t e1, bool decay) {
  for (int64_t e = e0; e < e1; e += W) {
    const bool part = e1 - e < W;
    const int n = part ? (int)(e1 - e) : W;
    const vf gradient = CK(opt_gradient)(g + e, true, part, n);
    const vf square = vfma(gradient, gradient, vset1(1e-30f));
    for (int j = 0; j < 3; j++) {
      float *plane = state + t->line + j * t->count + e;
      vf d = opt_load(plane, part, n);
      if (decay) {
        d = vfma(vset1(rule->momentum[j]), d, vset1(rule->momentum_rest[j]) * square);
        opt_store(plane, d, part, n);
      }
      vstore(s->planes + j * CELO2_STRIDE + e - e0, opt_rsqrt(d + 1e-9f));
    }
  }
}

#define CELO2_FLUSH(sum, total) \
  for (int f = 0; f < D_COUNT; f++) { \
    (total)[f] += opt_sum((sum)[f]);  \
    (sum)[f] = (vf){0};               \
  }

// One matrix, row by row; the directions' sum of squares is returned.
static double CK(celo2_rows)(const ck_celo2_tensor *tensor, CK(celo2_net) * net, const CK(opt_at) * at,
                             const CK(celo2_scratch) * s, const float *state, int64_t matrix) {
  const ck_adafac_tensor *t = &tensor->slots;
  const CK(celo2_rule) *rule = net->rule;
  const int64_t rows = t->a, columns = t->b, size = rows * columns, lane = matrix * columns;
  const float *line_entries = state + t->line + matrix * rows, *lane_entries = state + t->lane + lane;
  CK(celo2_run) run = {.count = columns, .factor = s->lane.factor + lane, .factor_stride = s->lane.stride,
                       .bias = s->lane_bias, .bias_stride = s->lane.stride};
  double total[D_COUNT] = {0}, line_sums[S_COUNT] = {0}, lane_sums[S_COUNT] = {0}, squares = 0;
  vf sum[D_COUNT] = {{0}};
  int64_t since = 0;
  for (int64_t r = 0; r < rows; r++) {
    run.e = matrix * size + r * columns;
    for (int j = 0; j < 3; j++) run.factor_scale[j] = s->line.factor[j * s->line.stride + matrix * rows + r];
    CK(celo2_accumulate)(rule, at, &run, sum);
    since += columns;
    if (since < OPT_FLUSH_ELEMENTS && r + 1 < rows) continue;
    since = 0;
    CELO2_FLUSH(sum, total)
  }
  CK(celo2_statistic_squares)(line_entries, s->line.n, rows, rule->correction, line_sums);
  CK(celo2_statistic_squares)(lane_entries, s->lane.n, columns, rule->correction, lane_sums);
  CK(celo2_fold_dense)(net, total, 1.0 / (double)size);
  const bool row = t->row_is_line;
  CK(celo2_fold_statistic)(rule, row ? F_ROW : F_COL, row ? F_RROW : F_RCOL, line_sums, 1.0 / (double)rows, net->line);
  CK(celo2_fold_statistic)(rule, row ? F_COL : F_ROW, row ? F_RCOL : F_RROW, lane_sums, 1.0 / (double)columns,
                           net->lane);
  CK(celo2_bias)(line_entries, s->line.n, rows, net->line, rule->correction, false, rule->b0, s->line_bias,
                 s->line.stride);
  CK(celo2_bias)(lane_entries, s->lane.n, columns, net->lane, rule->correction, false, 0, s->lane_bias,
                 s->lane.stride);
  for (int64_t r = 0; r < rows; r++) {
    run.e = matrix * size + r * columns;
    for (int j = 0; j < 3; j++) run.factor_scale[j] = s->line.factor[j * s->line.stride + matrix * rows + r];
    for (int k = 0; k < CELO2; k++) run.bias_addition[k] = s->line_bias[k * s->line.stride + r];
    if (rule->exp_multiplier != 0)
      CK(celo2_direct)(true, net, at, &run, s->direction + r * columns, &squares);
    else
      CK(celo2_direct)(false, net, at, &run, s->direction + r * columns, &squares);
  }
  return squares;
}

// One matrix in blocks, or a tensor of at most one axis.
static double CK(celo2_blocks)(const ck_celo2_tensor *tensor, CK(celo2_net) * net, const CK(opt_at) * at,
                               const CK(celo2_scratch) * s, float *state, int64_t matrix) {
  const ck_adafac_tensor *t = &tensor->slots;
  const CK(celo2_rule) *rule = net->rule;
  const int64_t size = tensor->rows * tensor->columns, from = matrix * size, to = from + size;
  const float *line_entries = s->planes + 3 * CELO2_STRIDE, *lane_entries = s->planes + 6 * CELO2_STRIDE;
  CK(celo2_run) run = {.factor = s->planes, .factor_stride = CELO2_STRIDE, .factor_scale = {1, 1, 1},
                       .bias = s->biases, .bias_stride = CELO2_STRIDE};
  double total[D_COUNT] = {0}, line_sums[S_COUNT] = {0}, lane_sums[S_COUNT] = {0}, squares = 0;
  for (int64_t e = from; e < to; e += CK_CELO2_BLOCK) {
    const int64_t end = to - e < CK_CELO2_BLOCK ? to : e + CK_CELO2_BLOCK;
    if (t->factored) {
      CK(celo2_expand)(t, s, state, e, end);
      CK(celo2_statistic_squares)(line_entries, CELO2_STRIDE, end - e, rule->correction, line_sums);
      CK(celo2_statistic_squares)(lane_entries, CELO2_STRIDE, end - e, rule->correction, lane_sums);
    } else {
      CK(celo2_flat_factors)(rule, t, s, at->g, state, e, end, true);
    }
    run.e = e;
    run.count = end - e;
    vf sum[D_COUNT] = {{0}};
    CK(celo2_accumulate)(rule, at, &run, sum);
    CELO2_FLUSH(sum, total)
  }
  const double inverse_count = 1.0 / (double)size;
  CK(celo2_fold_dense)(net, total, inverse_count);
  if (t->factored) {
    const bool row = t->row_is_line;
    CK(celo2_fold_statistic)(rule, row ? F_ROW : F_COL, row ? F_RROW : F_RCOL, line_sums, inverse_count, net->line);
    CK(celo2_fold_statistic)(rule, row ? F_COL : F_ROW, row ? F_RCOL : F_RROW, lane_sums, inverse_count, net->lane);
  } else {
    // The features of M times its factors are absent here, as are the statistics'.
    memset(net->dense + D_MF * CELO2, 0, 3 * CELO2 * 4);
    memset(s->biases, 0, CELO2 * CELO2_STRIDE * 4);
    memcpy(run.bias_addition, rule->b0, CELO2 * 4);
  }
  for (int64_t e = from; e < to; e += CK_CELO2_BLOCK) {
    const int64_t end = to - e < CK_CELO2_BLOCK ? to : e + CK_CELO2_BLOCK;
    if (t->factored) {
      CK(celo2_expand)(t, s, state, e, end);
      CK(celo2_bias)(line_entries, CELO2_STRIDE, end - e, net->line, rule->correction, false, rule->b0, s->biases,
                     CELO2_STRIDE);
      CK(celo2_bias)(lane_entries, CELO2_STRIDE, end - e, net->lane, rule->correction, true, 0, s->biases,
                     CELO2_STRIDE);
    } else {
      CK(celo2_flat_factors)(rule, t, s, at->g, state, e, end, false);
    }
    run.e = e;
    run.count = end - e;
    if (rule->exp_multiplier != 0)
      CK(celo2_direct)(true, net, at, &run, s->direction + e - from, &squares);
    else
      CK(celo2_direct)(false, net, at, &run, s->direction + e - from, &squares);
  }
  return squares;
}

// p -= step * (u / rms(u) + weight_decay * p); without `squares`, they are summed first.
static void CK(celo2_move)(const CK(celo2_rule) * rule, float *p, const float *u, int64_t n, const double *squares) {
  double total = squares ? *squares : 0;
  if (!squares)
    for (int64_t start = 0; start < n; start += 4096) {
      const int64_t end = n - start < 4096 ? n : start + 4096;
      vf sum = {0};
      for (int64_t i = start; i < end; i += W) {
        const vf x = opt_load(u + i, end - i < W, (int)(end - i));
        sum = vfma(x, x, sum);
      }
      total += opt_sum(sum);
    }
  const float scale = 1.0f / __builtin_sqrtf(1e-9f + (float)(total / (double)n));
  const vf step = vset1(rule->step_size * scale), decay = vset1(rule->step_size * rule->weight_decay);
  for (int64_t i = 0; i < n; i += W) {
    const bool part = n - i < W;
    const int lanes = part ? (int)(n - i) : W;
    const vf x = opt_load(p + i, part, lanes);
    opt_store(p + i, x - step * opt_load(u + i, part, lanes) - decay * x, part, lanes);
  }
}

// Adam without bias correction, its epsilon below the root.
static void CK(celo2_adam)(const ck_celo2 *celo, float *p, const float *g, float *m, float *v, int64_t n, float rate) {
  const vf b1 = vset1(celo->adam_beta1), c1 = vset1(1.0f - celo->adam_beta1);
  const vf b2 = vset1(celo->adam_beta2), c2 = vset1(1.0f - celo->adam_beta2);
  const vf step = vset1(rate), decay = vset1(rate * celo->weight_decay);
  for (int64_t i = 0; i < n; i += W) {
    const bool part = n - i < W;
    const int lanes = part ? (int)(n - i) : W;
    const vf x = opt_load(p + i, part, lanes), gradient = opt_load(g + i, part, lanes);
    const vf first = vfma(b1, opt_load(m + i, part, lanes), c1 * gradient);
    const vf second = vfma(b2, opt_load(v + i, part, lanes), c2 * gradient * gradient);
    opt_store(m + i, first, part, lanes);
    opt_store(v + i, second, part, lanes);
    opt_store(p + i, x - step * first * opt_rsqrt(second + 1e-8f) - decay * x, part, lanes);
  }
}

static void CK(opt_celo2)(const ck_celo2 *celo, const ck_celo2_tensor *tensors, int64_t tensor_count, float *parameters,
                          const float *gradients, float *state, const float *theta, float *scratch, int64_t iteration,
                          float step_size) {
  static const int group[14] = {F_G, F_CLIP, F_P, F_M, F_V, F_MQ, F_Q, F_FG, F_GQ, F_ROW, F_COL, F_RROW, F_RCOL, F_MF};
  static const int size[14] = {1, 1, 1, 3, 1, 3, 1, 3, 1, 3, 3, 3, 3, 3};
  static const float decays[3] = {0.9f, 0.99f, 0.999f}, coefficients[3] = {3.4445f, -4.7750f, 2.0315f};
  CK(celo2_rule) rule;
  for (int q = 0; q < 14; q++)
    for (int c = 0; c < size[q]; c++) rule.w0[group[q] + c] = theta + celo->w0[q] + c * CELO2;
  rule.b0 = theta + celo->b0;
  rule.w1 = theta + celo->w1;
  rule.b1 = theta + celo->b1;
  rule.w2 = theta + celo->w2;
  rule.b2 = theta + celo->b2;
  const double count = (double)(iteration + 1);
  for (int j = 0; j < 3; j++) {
    rule.momentum[j] = decays[j];
    rule.momentum_rest[j] = 1.0f - decays[j];
    rule.correction[j] = celo->bias_correction ? (float)(1.0 / (1.0 - pow((double)decays[j], count))) : 1.0f;
  }
  rule.rms = 0.95f;
  rule.rms_rest = 1.0f - 0.95f;
  rule.rms_correction = celo->bias_correction ? (float)(1.0 / (1.0 - pow((double)rule.rms, count))) : 1.0f;
  rule.exp_multiplier = celo->exp_multiplier;
  rule.step_size = step_size;
  rule.weight_decay = celo->weight_decay;
  const ck_matrix *algebra = ck_matrix_table(CK_OPT_LEVEL);
  CK(celo2_net) net;
  net.rule = &rule;
  for (int64_t i = 0; i < tensor_count; i++) {
    const ck_celo2_tensor *tensor = tensors + i;
    const ck_adafac_tensor *t = &tensor->slots;
    const CK(opt_at) at = {parameters + t->parameter, gradients + t->parameter, state + t->momentum, state + t->rms,
                           t->count};
    if (t->count == 0) continue;
    if (tensor->adam) {
      CK(celo2_adam)(celo, at.p, at.g, at.m, at.v, t->count, step_size * celo->adam_multiplier);
      continue;
    }
    CK(celo2_scratch) s = CK(celo2_carve)(tensor, scratch);
    if (t->factored) CK(celo2_statistics)(&rule, t, at.g, state, &s);
    const int64_t elements = tensor->rows * tensor->columns;
    const bool by_rows = tensor->aligned && (t->b % W == 0 || t->b >= 4 * W);
    for (int64_t matrix = 0; matrix < t->count / elements; matrix++) {
      const double squares = by_rows ? CK(celo2_rows)(tensor, &net, &at, &s, state, matrix)
                                     : CK(celo2_blocks)(tensor, &net, &at, &s, state, matrix);
      const bool orthogonal = celo->orthogonalize && t->factored;
      if (orthogonal)
        algebra->newton_schulz(tensor->rows, tensor->columns, s.direction, coefficients, 5, 1e-8f, s.rest);
      CK(celo2_move)(&rule, at.p + matrix * elements, s.direction, elements, orthogonal ? 0 : &squares);
    }
  }
}
