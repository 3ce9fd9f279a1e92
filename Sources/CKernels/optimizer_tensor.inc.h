// One tensor's update from end to end: tensors of at most one axis, the folding of normalisers, and the choice of walk.

// Pass 2 of a tensor that is not factored, its full second moments D_j updated on the way.
CK_INLINE void CK(opt_accumulate_flat)(const bool celo, const CK(opt_rule) * rule, const ck_adafac_tensor *t,
                                       const CK(opt_at) * at, float *state, double total[D_COUNT],
                                       double statistic[S_COUNT]) {
  float *d = state + t->line;
  vf sum[D_COUNT], own[S_COUNT];
  OPT_UNROLL for (int f = 0; f < D_COUNT; f++) sum[f] = (vf){0};
  OPT_UNROLL for (int f = 0; f < S_COUNT; f++) own[f] = (vf){0};
  for (int64_t e = 0; e < t->count; e += W) {
    const bool part = t->count - e < W;
    const int n = part ? (int)(t->count - e) : W;
    vf fg[3][2], fm[3][2];
    const vf g = part ? CK(opt_gradient)(at->g + e, celo, true, n) : CK(opt_gradient)(at->g + e, celo, false, W);
    const vf square = vfma(g, g, vset1(1e-30f));
    OPT_UNROLL for (int j = 0; j < 3; j++) {
      float *plane = d + j * t->count + e;
      const vf old = part ? opt_load_n(plane, n) : vload(plane);
      const vf x = vfma(vset1(rule->factored[j]), old, vset1(rule->factored_rest[j]) * square);
      fg[j][0] = opt_rsqrt(x + 1e-9f);
      fm[j][0] = celo ? opt_rsqrt(x) : opt_rsqrt(x + 1e-6f);
      vf inverse = 1.0f / (x + 1e-8f);
      vf kept = x;
      if (part) {
        opt_store_n(plane, x, n);
        inverse = opt_keep(inverse, n);
        kept = opt_keep(x, n);
        fm[j][0] = opt_keep(fm[j][0], n);
      } else {
        vstore(plane, x);
      }
      own[S_RAW + j] = vfma(kept, kept, own[S_RAW + j]);
      own[S_INVERSE + j] += inverse;
    }
    if (part)
      CK(opt_accumulate)(celo, 1, true, n, rule, at, e, fg, fm, sum);
    else
      CK(opt_accumulate)(celo, 1, false, W, rule, at, e, fg, fm, sum);
    if ((e + W) % OPT_FLUSH_ELEMENTS == 0 || e + W >= t->count) {
      OPT_FLUSH(sum, total)
      OPT_UNROLL for (int f = 0; f < S_COUNT; f++) {
        statistic[f] += opt_sum(own[f]);
        own[f] = (vf){0};
      }
    }
  }
}

// Pass 3 of a tensor that is not factored.
CK_INLINE void CK(opt_apply_flat)(const int kind, const bool narrow, const CK(opt_net) * net,
                                  const ck_adafac_tensor *t, const CK(opt_at) * at, const float *state) {
  const float *d = state + t->line;
  const bool celo = kind == OPT_CELO;
  const int hidden = narrow ? 4 : net->rule->hidden;
  for (int64_t e = 0; e < t->count; e += W) {
    const bool part = t->count - e < W;
    const int n = part ? (int)(t->count - e) : W;
    vf fg[3][2], fm[3][2], x[S_COUNT];
    OPT_UNROLL for (int j = 0; j < 3; j++) {
      const float *plane = d + j * t->count + e;
      const vf s = part ? opt_load_n(plane, n) : vload(plane);
      fg[j][0] = opt_rsqrt(s + 1e-9f);
      fm[j][0] = celo ? opt_rsqrt(s) : opt_rsqrt(s + 1e-6f);
      x[S_RAW + j] = s;
      x[S_INVERSE + j] = opt_rsqrt(s + 1e-8f);
    }
    vf bias[CK_ADAFAC_HIDDEN_MAX][2];
    for (int k = 0; k < hidden; k++) {
      vf h = vset1(net->rule->b0[k]);
      OPT_UNROLL for (int f = 0; f < S_COUNT; f++) h = vfma(x[f], vset1(net->line[f * hidden + k]), h);
      bias[k][0] = h;
    }
    if (narrow && part)
      CK(opt_apply_4)(kind, 1, true, n, net, at, e, fg, fm, bias);
    else if (narrow)
      CK(opt_apply_4)(kind, 1, false, W, net, at, e, fg, fm, bias);
    else if (part)
      CK(opt_apply_wide)(kind, 1, true, n, net, at, e, fg, fm, bias);
    else
      CK(opt_apply_wide)(kind, 1, false, W, net, at, e, fg, fm, bias);
  }
}

// The sums of squares of all features of a tensor become its normalisers, 1/sqrt(1e-5 + mean square).
CK_INLINE void CK(opt_normalisers)(const double *sums, const int n, double inverse_count, float *out) {
  for (int f = 0; f < n; f++) out[f] = (float)(sums[f] * inverse_count);
  for (int f = 0; f < n; f += W) vstore(out + f, opt_rsqrt(vload(out + f) + 1e-5f));
}

// The weights of one statistic's six features: `raw` and `inverse` are the first layer's rows of S_1 and 1/sqrt(S_1).
CK_INLINE void CK(opt_fold_statistic)(const CK(opt_rule) * rule, int raw, int inverse, const double sums[S_COUNT],
                                      double inverse_count, const int hidden, float *out) {
  float scale[(S_COUNT + 15) / 16 * 16] = {0};
  CK(opt_normalisers)(sums, S_COUNT, inverse_count, scale);
  OPT_UNROLL for (int j = 0; j < 3; j++) {
    opt_scale_row(out + (S_RAW + j) * hidden, rule->w0[raw + j], scale[S_RAW + j], hidden);
    opt_scale_row(out + (S_INVERSE + j) * hidden, rule->w0[inverse + j], scale[S_INVERSE + j], hidden);
  }
}

CK_INLINE void CK(opt_fold_dense)(const bool celo, CK(opt_net) * net, const double total[D_COUNT],
                                  double inverse_count, const int hidden) {
  static const int feature[D_COUNT] = {
      F_G,  F_P,      F_M,      F_M + 1, F_M + 2,  F_V,      F_MQ,   F_MQ + 1, F_MQ + 2,
      F_Q,  F_FG,     F_FG + 1, F_FG + 2, F_MF,    F_MF + 1, F_MF + 2, F_CLIP, F_GQ,
  };
  float scale[(D_COUNT + 15) / 16 * 16] = {0};
  CK(opt_normalisers)(total, celo ? D_COUNT : D_CLIP, inverse_count, scale);
  for (int f = 0; f < (celo ? D_COUNT : D_CLIP); f++)
    opt_scale_row(net->dense + f * hidden, net->rule->w0[feature[f]], scale[f], hidden);
}

// bias[k][i] = base[k] + sum over j of S_j w_jk + w'_jk/sqrt(S_j + 1e-8), for all entries i of a statistic.
CK_INLINE void CK(opt_bias)(const float *state, int64_t n, const float *weights, const float *base, const int hidden,
                            float *bias, int64_t stride) {
  for (int64_t i = 0; i < n; i += W) {
    const bool part = n - i < W;
    const int lanes = part ? (int)(n - i) : W;
    vf x[S_COUNT];
    OPT_UNROLL for (int j = 0; j < 3; j++) {
      x[S_RAW + j] = part ? opt_load_n(state + j * n + i, lanes) : vload(state + j * n + i);
      x[S_INVERSE + j] = opt_rsqrt(x[S_RAW + j] + 1e-8f);
    }
    for (int k = 0; k < hidden; k++) {
      vf h = base ? vset1(base[k]) : (vf){0};
      OPT_UNROLL for (int f = 0; f < S_COUNT; f++) h = vfma(x[f], vset1(weights[f * hidden + k]), h);
      vstore(bias + k * stride + i, h);  // planes are padded
    }
  }
}

// STAR's controls of one tensor before its outputs are known; then, where some act through their mean, after.
static void CK(opt_star_begin)(const ck_star *star, const ck_adafac_tensor *t, const CK(opt_at) * at,
                               CK(opt_star_net) * out, CK(opt_net) * net) {
  const bool acts[3] = {true, star->nominal_controller, star->decay_controller};
  const float constant[3] = {0, 1, 0};
  memset(out, 0, sizeof *out);
  for (int k = 0; k < 3; k++) {
    out->own[k] = acts[k] ? 1 : 0;
    out->constant[k] = acts[k] ? 0 : constant[k];
    out->gather = out->gather || (acts[k] && star->aggregate[k]);
    out->momentum[k] = star->momentum[k];
    out->normalised[k] = star->normalised[k];
  }
  out->exp_multiplier[0] = star->network.exp_multiplier;
  out->exp_multiplier[1] = star->nominal_exp_multiplier;
  out->exp_multiplier[2] = star->decay_exp_multiplier;
  out->nominal_step = star->nominal_step;
  out->weight_decay = star->weight_decay;
  out->gradient = star->gradient;
  out->normalise = star->normalise;
  net->star = out;
  if (!star->self_normalise) return;
  double sum = 0;
  for (int64_t e0 = 0; e0 < t->count; e0 += OPT_FLUSH_ELEMENTS) {
    const int64_t e1 = t->count - e0 < OPT_FLUSH_ELEMENTS ? t->count : e0 + OPT_FLUSH_ELEMENTS;
    vf part = {0};
    for (int64_t e = e0; e < e1; e += W) part += e1 - e < W ? opt_load_n(at->g + e, (int)(e1 - e)) : vload(at->g + e);
    sum += opt_sum(part);
  }
  net->step *= (float)(sum / (double)t->count);
}

static void CK(opt_star_gathered)(const ck_star *star, double inverse_count, CK(opt_star_net) * out) {
  CK(opt_star_flush)(out);
  out->gather = false;
  for (int k = 0; k < 3; k++) {
    if (!star->aggregate[k] || out->own[k] == 0) continue;
    out->own[k] = 0;
    out->constant[k] = (float)(out->sum[k] * inverse_count);
  }
}

// Repeats the first entries of planes of n behind their last, for vectors that reach into the next row.
static void CK(opt_wrap)(int64_t n, float *planes, int64_t stride, int count) {
  for (int k = 0; k < count; k++) vstore(planes + k * stride + n, vload(planes + k * stride));
}

// Pass 2, once for gradients as they are and once for clipped ones, however many rules there are.
#define OPT_PASS_2(name, celo)                                                                                       \
  static void CK(opt_accumulate_##name)(bool by_rows, bool level, const CK(opt_rule) * rule,                         \
                                        const ck_adafac_tensor *t, const CK(opt_at) * at, const CK(opt_scratch) * s, \
                                        double total[D_COUNT]) {                                                     \
    if (level)                                                                                                       \
      CK(opt_accumulate_rows)(celo, true, rule, t, at, s, total);                                                    \
    else if (by_rows)                                                                                                \
      CK(opt_accumulate_rows)(celo, false, rule, t, at, s, total);                                                   \
    else                                                                                                             \
      CK(opt_accumulate_blocks)(celo, rule, t, at, s, total);                                                        \
  }                                                                                                                  \
  static void CK(opt_accumulate_flat_##name)(const CK(opt_rule) * rule, const ck_adafac_tensor *t,                   \
                                             const CK(opt_at) * at, float *state, double total[D_COUNT],             \
                                             double statistic[S_COUNT]) {                                            \
    CK(opt_accumulate_flat)(celo, rule, t, at, state, total, statistic);                                             \
  }
OPT_PASS_2(plain, false)
OPT_PASS_2(clipped, true)
#undef OPT_PASS_2

// One tensor's update. `star` is STAR's alone. Tensors without elements are left alone.
CK_INLINE void CK(opt_update_tensor)(const int kind, const bool narrow, const CK(opt_rule) * rule,
                                     const ck_star *star, const ck_adafac_tensor *t, float *parameters,
                                     const float *gradients, float *state, float *scratch) {
  if (t->count == 0) return;
  const bool celo = kind == OPT_CELO;
  const int hidden = narrow ? 4 : rule->hidden;
  const CK(opt_at) at = {parameters + t->parameter, gradients + t->parameter, state + t->momentum, state + t->rms,
                         t->count, t->count >= OPT_AHEAD_COUNT_MIN ? OPT_AHEAD : 0};
  double total[D_COUNT] = {0};
  CK(opt_net) net;
  net.rule = rule;
  net.step = rule->step_multiplier;
  const double inverse_count = 1.0 / (double)t->count;
  const bool by_rows = t->inner == 1 && (t->b % W == 0 || t->b >= 6 * W);
  // One matrix whose rows are no whole number of vectors; worth its code for the narrow network alone.
  const bool level = narrow && by_rows && t->b % W != 0 && t->b <= OPT_FLUSH_ELEMENTS && t->outer * t->middle == 1;
  CK(opt_scratch) s;
  if (!t->factored) {
    double own[S_COUNT] = {0};
    if (celo)
      CK(opt_accumulate_flat_clipped)(rule, t, &at, state, total, own);
    else
      CK(opt_accumulate_flat_plain)(rule, t, &at, state, total, own);
    CK(opt_fold_dense)(celo, &net, total, inverse_count, hidden);
    // Row and column features are both D_j here, so their weights add up.
    CK(opt_fold_statistic)(rule, F_ROW, F_RROW, own, inverse_count, hidden, net.line);
    CK(opt_fold_statistic)(rule, F_COL, F_RCOL, own, inverse_count, hidden, net.lane);
    opt_row(net.line, net.line, net.lane, 1.0f, S_COUNT * hidden);
  } else {
    s = CK(opt_carve)(t, hidden, scratch);
    CK(opt_statistics)(t, at.g, celo, state, &s.line, &s.lane, s.part, rule->factored, rule->factored_rest);
    if (level) CK(opt_wrap)(t->b, s.lane.factor, s.lane.stride, 3);
    if (celo)
      CK(opt_accumulate_clipped)(by_rows, level, rule, t, &at, &s, total);
    else
      CK(opt_accumulate_plain)(by_rows, level, rule, t, &at, &s, total);
    CK(opt_fold_dense)(celo, &net, total, inverse_count, hidden);
    const int line_raw = t->row_is_line ? F_ROW : F_COL, line_inverse = t->row_is_line ? F_RROW : F_RCOL;
    const int lane_raw = t->row_is_line ? F_COL : F_ROW, lane_inverse = t->row_is_line ? F_RCOL : F_RROW;
    CK(opt_fold_statistic)(rule, line_raw, line_inverse, s.line.sums, 1.0 / (double)s.line.n, hidden, net.line);
    CK(opt_fold_statistic)(rule, lane_raw, lane_inverse, s.lane.sums, 1.0 / (double)s.lane.n, hidden, net.lane);
    CK(opt_bias)(state + t->line, s.line.n, net.line, rule->b0, hidden, s.line_bias, s.line.stride);
    CK(opt_bias)(state + t->lane, s.lane.n, net.lane, 0, hidden, s.lane_bias, s.lane.stride);
    if (level) CK(opt_wrap)(t->b, s.lane_bias, s.lane.stride, hidden);
  }
  if (rule->scale_by_parameters) net.step *= __builtin_sqrtf((float)(total[D_P] * inverse_count) + 1e-9f);
  CK(opt_star_net) controls;
  controls.gather = false;
  if (kind == OPT_STAR) CK(opt_star_begin)(star, t, &at, &controls, &net);
  bool again;
  do {
    again = kind == OPT_STAR && controls.gather;
    if (!t->factored)
      CK(opt_apply_flat)(kind, narrow, &net, t, &at, state);
    else if (narrow && level)
      CK(opt_apply_rows)(kind, narrow, true, &net, t, &at, &s);
    else if (by_rows)
      CK(opt_apply_rows)(kind, narrow, false, &net, t, &at, &s);
    else
      CK(opt_apply_blocks)(kind, narrow, &net, t, &at, &s);
    if (again) CK(opt_star_gathered)(star, inverse_count, &controls);
  } while (again);
}
