// Optimus (Gärtner et al. 2022, arXiv 2212.01055): a transformer over the parameters predicts rank-one updates of a
// preconditioner, a network for each parameter the direction and the step's length. Optimus.swift has the rule.
// Products, normalisation and attention are those of the models' layers.

enum {
  O_G,
  O_P,
  O_M,      // 3 momenta
  O_V = 5,
  O_MQ,     // M_j q with q = 1/sqrt(V + 1e-6)
  O_Q = 9,
  O_FG,     // g / sqrt(D_j + 1e-9)
  O_ROW = 13,   // D_j, which stands for Adafactor's row and its column
  O_COL = 16,
  O_RROW = 19,  // 1/sqrt(D_j + 1e-8)
  O_RCOL = 22,
  O_MF = 25,    // M_j / sqrt(D_j + 1e-6)
  O_TIME = 28,
  O_MOVE = O_TIME + 11,  // the last update
  O_CHANGE,              // g less the last gradient
  OPTIMUS_FEATURES,
};

// Floats from one feature's row to the next one's: not a multiple of a page, whose lines would share few cache sets.
CK_INLINE int64_t CK(opt_optimus_stride)(int64_t n) { return (n + 15) / 16 * 16 + 16; }

// x: [features, stride] of n parameters; the slots are brought up to date, `gradient` last of all.
static void CK(opt_optimus_features)(int64_t n, int64_t stride, const float *p, const float *g, float *m, float *v,
                                     float *d, int64_t plane, float *gradient, const float *move, int64_t iteration,
                                     float *x) {
  static const float decays[3] = {0.9f, 0.99f, 0.999f};
  static const float scales[16] = {1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000, 1, 1, 1, 1, 1};
#define OPT_FEATURE(feature, value) store_n(x + (feature) * stride + i, value, left)
  for (int64_t i = 0; i < n; i += W) {
    const int64_t left = n - i;
    const vf gi = load_n(g + i, left), square = vfma(gi, gi, vset1(1e-30f));
    const vf second = vfma(vset1(0.999f), load_n(v + i, left), vset1(1.0f - 0.999f) * (gi * gi));
    const vf q = opt_rsqrt(second + 1e-6f);
    store_n(v + i, second, left);
    OPT_FEATURE(O_G, gi);
    OPT_FEATURE(O_P, load_n(p + i, left));
    OPT_FEATURE(O_V, second);
    OPT_FEATURE(O_Q, q);
    OPT_FEATURE(O_MOVE, load_n(move + i, left));
    OPT_FEATURE(O_CHANGE, gi - load_n(gradient + i, left));
    store_n(gradient + i, gi, left);
    OPT_UNROLL for (int j = 0; j < 3; j++) {
      float *mj = m + j * plane + i, *dj = d + j * plane + i;
      const vf rest = vset1(1.0f - decays[j]);
      const vf momentum = vfma(vset1(decays[j]), load_n(mj, left), rest * gi);
      const vf diagonal = vfma(vset1(decays[j]), load_n(dj, left), rest * square);
      store_n(mj, momentum, left);
      store_n(dj, diagonal, left);
      const vf inverse = opt_rsqrt(diagonal + 1e-8f);
      OPT_FEATURE(O_M + j, momentum);
      OPT_FEATURE(O_MQ + j, momentum * q);
      OPT_FEATURE(O_FG + j, gi * opt_rsqrt(diagonal + 1e-9f));
      OPT_FEATURE(O_ROW + j, diagonal);
      OPT_FEATURE(O_COL + j, diagonal);
      OPT_FEATURE(O_RROW + j, inverse);
      OPT_FEATURE(O_RCOL + j, inverse);
      OPT_FEATURE(O_MF + j, momentum * opt_rsqrt(diagonal + 1e-6f));
    }
  }
#undef OPT_FEATURE
  float time[16];
  for (int i = 0; i < 16; i += W) vstore(time + i, opt_tanh((float)iteration / vload(scales + i) - 1.0f));
  for (int f = 0; f < OPTIMUS_FEATURES; f++) {
    float *row = x + f * stride;
    const bool is_time = f >= O_TIME && f < O_MOVE;
    vf sum = {0}, scale;
    if (!is_time)
      for (int64_t i = 0; i < n; i += W) {
        const vf value = load_n(row + i, n - i);
        sum = vfma(value, value, sum);
      }
    scale = opt_rsqrt(vset1((float)(opt_sum(sum) / (double)n) + 1e-5f));
    for (int64_t i = 0; i < n; i += W)
      store_n(row + i, is_time ? vset1(time[f - O_TIME]) : load_n(row + i, n - i) * scale, n - i);
  }
}

// out[n, columns] = x w + bias, or added to what it holds, and relu'd; x: [n, inputs].
CK_INLINE void CK(opt_optimus_linear)(int64_t n, int64_t inputs, int64_t columns, const float *x, const float *w,
                                      const float *bias, bool relu, bool add, float *out) {
  const CK(epilogue) e = {bias, 0, relu, add};
  CK(gemm)(n, columns, inputs, x, inputs, 1, w, columns, out, columns, &e);
}

CK_INLINE void CK(opt_optimus_norm)(int64_t n, const float *x, const float *theta, int64_t scale, int64_t offset,
                                    float *statistics, float *y) {
  const ck_call call = {.p = {y, (void *)x, (void *)(theta + scale), (void *)(theta + offset), statistics},
                        .n = {n, CK_OPTIMUS_WIDTH},
                        .a = {1e-5f}};
  CK(ck_compute_kernels).layer_norm(&call);
}

// One pre-norm encoder on e [n, width], and its rank-one update u [n].
static void CK(opt_optimus_encode)(const ck_optimus_encoder *l, const float *theta, int64_t n, float *e, float *normed,
                                   float *wide, float *mixed, float *statistics, float *scratch, float *u) {
  enum { WIDTH = CK_OPTIMUS_WIDTH, HEADS = CK_OPTIMUS_HEADS };
  CK(opt_optimus_norm)(n, e, theta, l->attention_scale, l->attention_offset, statistics, normed);
  CK(opt_optimus_linear)(n, WIDTH, 3 * WIDTH, normed, theta + l->mix_in_w, theta + l->mix_in_b, false, false, wide);
  const ck_call attend = {.p = {mixed, wide, statistics, scratch},
                          .n = {1, n, n, HEADS, WIDTH / HEADS, WIDTH / HEADS, 0},
                          .a = {1.0f / __builtin_sqrtf((float)(WIDTH / HEADS))}};
  CK(ck_compute_kernels).attention_packed(&attend);
  CK(opt_optimus_linear)(n, WIDTH, WIDTH, mixed, theta + l->mix_out_w, theta + l->mix_out_b, false, true, e);
  CK(opt_optimus_norm)(n, e, theta, l->network_scale, l->network_offset, statistics, normed);
  CK(opt_optimus_linear)(n, WIDTH, 2 * WIDTH, normed, theta + l->w0, theta + l->b0, true, false, wide);
  CK(opt_optimus_linear)(n, 2 * WIDTH, WIDTH, wide, theta + l->w1, theta + l->b1, false, true, e);
  CK(opt_optimus_norm)(n, e, theta, l->update_scale, l->update_offset, statistics, normed);
  for (int64_t i = 0; i < n; i++) {
    vf sum = {0};
    for (int k = 0; k < WIDTH; k += W)
      sum = vfma(vload(normed + i * WIDTH + k), vload(theta + l->update_w + k), sum);
    u[i] = vsum(sum) + theta[l->update_b];
  }
}

// B = scale (B + sum of u u'), [n, n], and out = B v, in one pass over B. u: [layers, stride].
static void CK(opt_optimus_precondition)(int64_t n, int64_t stride, float scale, const float *u, const float *v,
                                         float *b, float *out) {
  for (int64_t i = 0; i < n; i++) {
    float *row = b + i * n;
    vf factor[CK_OPTIMUS_ENCODERS], sum = {0};
    OPT_UNROLL for (int l = 0; l < CK_OPTIMUS_ENCODERS; l++) factor[l] = vset1(u[l * stride + i]);
    for (int64_t j = 0; j < n; j += W) {
      const int64_t left = n - j;
      vf x = load_n(row + j, left);
      OPT_UNROLL for (int l = 0; l < CK_OPTIMUS_ENCODERS; l++) x = vfma(factor[l], load_n(u + l * stride + j, left), x);
      x = x * scale;
      store_n(row + j, x, left);
      sum = vfma(x, load_n(v + j, left), sum);
    }
    out[i] = vsum(sum);
  }
}

// The update of one block of n parameters, p and g contiguous; `from` is its first entry in the slots' planes.
static void CK(opt_optimus_block)(const ck_optimus *rule, int64_t n, int64_t from, float *b, float *p, const float *g,
                                  float *state, const float *theta, float *scratch, int64_t iteration) {
  enum { WIDTH = CK_OPTIMUS_WIDTH, BRANCH = CK_OPTIMUS_BRANCH };
  const int64_t stride = CK(opt_optimus_stride)(n);
  float *x = scratch, *e = x + OPTIMUS_FEATURES * stride, *normed = e + n * WIDTH, *mixed = normed + n * WIDTH;
  float *wide = mixed + n * WIDTH, *u = wide + 3 * n * WIDTH, *v = u + CK_OPTIMUS_ENCODERS * stride;
  float *moved = v + stride, *statistics = moved + stride, *rest = statistics + CK_OPTIMUS_HEADS * n;
  float *move = state + rule->move + from;
  CK(opt_optimus_features)(n, stride, p, g, state + rule->momentum + from, state + rule->rms + from,
                           state + rule->diagonal + from, rule->count, state + rule->gradient + from, move, iteration,
                           x);

  const CK(epilogue) embed = {theta + rule->embedding_b, 0, 0, 0};
  CK(gemm)(n, WIDTH, OPTIMUS_FEATURES, x, 1, stride, theta + rule->embedding_w, WIDTH, e, WIDTH, &embed);
  for (int l = 0; l < CK_OPTIMUS_ENCODERS; l++)
    CK(opt_optimus_encode)(&rule->encoders[l], theta, n, e, normed, wide, mixed, statistics, rest, u + l * stride);

  // The branch: a direction to add to the normalised gradient, and the mean magnitude of the step.
  float *first = wide, *second = wide + n * BRANCH;
  const CK(epilogue) hidden = {theta + rule->b0, 0, 1, 0};
  CK(gemm)(n, BRANCH, OPTIMUS_FEATURES, x, 1, stride, theta + rule->w0, BRANCH, first, BRANCH, &hidden);
  CK(opt_optimus_linear)(n, BRANCH, BRANCH, first, theta + rule->w1, theta + rule->b1, true, false, second);
  CK(opt_optimus_linear)(n, BRANCH, 2, second, theta + rule->w2, theta + rule->b2, false, false, first);
  double magnitude = 0, trace = 0;
  for (int64_t i = 0; i < n; i++) {
    v[i] = x[O_G * stride + i] + first[2 * i];
    magnitude += first[2 * i + 1];
    double diagonal = b[i * n + i];
    for (int l = 0; l < CK_OPTIMUS_ENCODERS; l++) diagonal += (double)u[l * stride + i] * u[l * stride + i];
    trace += diagonal;
  }
  CK(opt_optimus_precondition)(n, stride, (float)((double)n / trace), u, v, b, moved);
  const vf step = opt_exp(vset1(rule->exp_multiplier * (float)(magnitude / (double)n))) * rule->step_multiplier;
  for (int64_t i = 0; i < n; i += W) {
    const vf change = load_n(moved + i, n - i) * -step;
    store_n(move + i, change, n - i);
    store_n(p + i, load_n(p + i, n - i) + change, n - i);
  }
}

static void CK(opt_optimus)(const ck_optimus *rule, const ck_optimus_tensor *tensors, int64_t tensor_count,
                            const ck_optimus_block *blocks, int64_t block_count, float *parameters,
                            const float *gradients, float *state, const float *theta, float *scratch,
                            int64_t iteration) {
  // All tensors one after another, without the padding between them.
  const int64_t stride = CK(opt_optimus_stride)(rule->count);
  float *p = scratch, *g = p + stride, *rest = g + stride;
  int64_t at = 0;
  for (int64_t i = 0; i < tensor_count; at += tensors[i++].count) {
    memcpy(p + at, parameters + tensors[i].parameter, (size_t)tensors[i].count * 4);
    memcpy(g + at, gradients + tensors[i].parameter, (size_t)tensors[i].count * 4);
  }
  for (int64_t i = 0; i < block_count; i++) {
    const ck_optimus_block *block = blocks + i;
    CK(opt_optimus_block)(rule, block->count, block->from, state + block->preconditioner, p + block->from,
                          g + block->from, state, theta, rest, iteration);
  }
  at = 0;
  for (int64_t i = 0; i < tensor_count; at += tensors[i++].count)
    memcpy(parameters + tensors[i].parameter, p + at, (size_t)tensors[i].count * 4);
}
