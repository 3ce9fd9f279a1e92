// Rules whose second moments are smaller than the tensor: Adafactor with factors, and SM3's covers by axes.

// Adafactor's first pass over a factored tensor (one plane of each statistic; momentum and rms of `t` are not used):
// the gradient over the root of the factored mean square takes the gradient's place; sums of p^2 and of its squares.
// `scratch` holds as much as ck_rule_scratch says. 4 bytes for the sums, 12 for the rest, then `descend`'s 12 or
// `momentum`'s 20.
static void CK(measure_adafactor_factored)(const ck_adafac_tensor *t, const float *parameters, float *gradients,
                                           float *state, float *scratch, const ck_rule *rule, double *sums) {
  const int64_t length = t->b * t->inner;
  CK(opt_stat) line = {.sum = scratch, .n = t->outer * t->a * t->middle * t->inner};
  CK(opt_stat) lane = {.sum = scratch + ck_adafac_stride(line.n), .n = t->outer * t->middle * length};
  CK(opt_square_sums)(t, gradients, false, &line, &lane, lane.sum + ck_adafac_stride(lane.n));

  // The averages; then 1/sqrt of them in the sums' place. The row is first divided by its mean over its own axis.
  CK(opt_stat) *stats[2] = {&line, &lane};
  float *planes[2] = {state + t->line, state + t->lane};
  const float inverse[2] = {1.0f / (float)t->b, 1.0f / (float)t->a};
  for (int s = 0; s < 2; s++)
    for (int64_t i = 0; i < stats[s]->n; i++) {
      float *x = planes[s] + i;
      *x = rule->beta2 * *x + rule->rest2 * (stats[s]->sum[i] * inverse[s] + rule->epsilon);
      stats[s]->sum[i] = *x;
    }
  const int row = t->row_is_line ? 0 : 1;
  const int64_t outer = row == 0 ? t->outer : t->outer * t->middle, axis = row == 0 ? t->a : t->b;
  const int64_t inner = row == 0 ? t->middle * t->inner : t->inner;
  for (int64_t o = 0; o < outer; o++)
    for (int64_t i = 0; i < inner; i++) {
      float *x = stats[row]->sum + o * axis * inner + i;
      double total = 0;
      for (int64_t j = 0; j < axis; j++) total += x[j * inner];
      const float scale = (float)((double)axis / total);
      for (int64_t j = 0; j < axis; j++) x[j * inner] *= scale;
    }
  for (int s = 0; s < 2; s++)
    for (int64_t i = 0; i < stats[s]->n; i += W) {
      const int lanes = stats[s]->n - i < W ? (int)(stats[s]->n - i) : W;
      float *x = stats[s]->sum + i;
      opt_store(x, opt_rsqrt(opt_load(x, lanes < W, lanes)), lanes < W, lanes);
    }

  vf a = {0}, b = {0};
  int64_t summed = 0;
  // A run is what shares one line factor: a data row, or where axes follow b, each of its entries.
  const int64_t run = t->inner == 1 ? t->b : t->inner;
  for (int64_t r = 0; r < t->outer * t->a * t->middle; r++) {
    const int64_t o = r / (t->a * t->middle), m = r % t->middle;
    const float *lines = line.sum + r * t->inner;
    for (int64_t c = 0; c < length; c += run) {
      const float *p = parameters + r * length + c, *lanes_at = lane.sum + (o * t->middle + m) * length + c;
      float *g = gradients + r * length + c;
      for (int64_t i = 0; i < run; i += W) {
        const bool part = run - i < W;
        const int lanes = part ? (int)(run - i) : W;
        const vf factor = t->inner == 1 ? vset1(lines[0]) : opt_load(lines + i, part, lanes);
        const vf u = opt_load(g + i, part, lanes) * factor * opt_load(lanes_at + i, part, lanes);
        const vf x = opt_load(p + i, part, lanes);
        opt_store(g + i, u, part, lanes);
        a = vfma(x, x, a);
        b = vfma(u, u, b);
      }
    }
    summed += length;
    if (summed >= OPT_SUM_BLOCK || r == t->outer * t->a * t->middle - 1) {
      sums[0] += opt_sum(a);
      sums[1] += opt_sum(b);
      a = b = (vf){0};
      summed = 0;
    }
  }
}

CK_INLINE float CK(opt_largest)(vf x) {
  float most = x[0];
  for (int i = 1; i < W; i++) most = x[i] > most ? x[i] : most;
  return most;
}

// SM3: the estimate of an entry's squares is the least of its axes' accumulators, and an axis' accumulator the greatest
// estimate along it. `scratch` holds the new accumulators. 20 bytes.
static void CK(rule_sm3)(const ck_sm3_tensor *t, float *p, const float *g, float *state, float *scratch,
                         const ck_rule *rule) {
  const ck_rule k = *rule;
  const int last = t->rank - 1;
  int64_t at[CK_SM3_RANK_MAX] = {0}, start[CK_SM3_RANK_MAX], rows = 1, end = 0;
  for (int x = 0; x < t->rank; x++) {
    start[x] = end;
    end += t->size[x];
    if (x < last) rows *= t->size[x];
  }
  memset(scratch, 0, (size_t)end * 4);
  const int64_t n = t->size[last];
  const float *cover = state + t->accumulator[last];
  float *m = state + t->momentum, *most = scratch + start[last];
  for (int64_t r = 0; r < rows; r++, p += n, g += n, m += n) {
    float least = __builtin_inff();
    for (int x = 0; x < last; x++) {
      const float other = state[t->accumulator[x] + at[x]];
      least = other < least ? other : least;
    }
    vf row = {0};
    for (int64_t i = 0; i < n; i += W) {
      const bool part = n - i < W;
      const int lanes = part ? (int)(n - i) : W;
      const vf gi = opt_load(g + i, part, lanes);
      const vf old = opt_at_most(vset1(least), opt_load(cover + i, part, lanes));
      const vf v = vfma(K(beta2), old, K(rest2) * gi * gi);
      const vf u = opt_guarded_rsqrt(v, K(epsilon), gi);
      const vf mi = vfma(K(beta1), opt_load(m + i, part, lanes), K(rest1) * u);
      opt_store(m + i, mi, part, lanes);
      opt_store(p + i, opt_load(p + i, part, lanes) - K(rate) * mi, part, lanes);
      opt_store(most + i, opt_at_least(opt_load(most + i, part, lanes), v), part, lanes);
      row = opt_at_least(row, part ? opt_keep(v, lanes) : v);
    }
    const float peak = CK(opt_largest)(row);
    for (int x = last - 1; x >= 0; x--) {
      float *other = scratch + start[x] + at[x];
      *other = peak > *other ? peak : *other;
    }
    for (int x = last - 1; x >= 0 && ++at[x] == t->size[x]; x--) at[x] = 0;
  }
  for (int x = 0; x < t->rank; x++) memcpy(state + t->accumulator[x], scratch + start[x], (size_t)t->size[x] * 4);
}

// Schedule-Free's average, to be judged in place of the parameters: x = (y - rest1 z)/beta1. 12 bytes.
static void CK(rule_average)(float *out, const float *y, const float *z, int64_t n, const ck_rule *rule) {
  const ck_rule k = *rule;
  for (int64_t i = 0; i < n; i += W) vstore(out + i, (vload(y + i) - K(rest1) * vload(z + i)) / K(beta1));
}
