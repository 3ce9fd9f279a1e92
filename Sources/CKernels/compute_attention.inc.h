// Attention softmax(scale q k') v, head by head: the scores of a block of queries stay in cache and are never stored. The
// forward pass leaves the logarithm of each softmax's sum, from which the backward pass makes the probabilities anew
// (Dao et al. 2022, arXiv 2205.14135).
//
// q [B,S,H,D], k [B,T,H,D], v [B,T,H,E]; packed, one token's row is its H queries, H keys and H values of D floats.
//
// Scores lie with the queries in the lanes, [T, ATTENTION_LINE]: the maximum and the sum over keys are then lane-wise.
// Lanes beyond the last query hold numbers that nobody reads.

// Queries whose scores are in cache together.
#define ATTENTION_ROWS 64
// Floats from one key's scores to the next one's: with a multiple of 256 bytes they would share few sets of the L1 cache.
#define ATTENTION_LINE 80
// Queries that share a limit of visible keys where later keys are hidden; a multiple of W.
#define ATTENTION_STEP 16

typedef struct {
  int64_t batch, queries, keys, heads, d, e;
  int64_t q_row, k_row, v_row;  // floats from one token to the next
  int causal;
  float scale;
} CK(attention_shape);

static CK(attention_shape) CK(attention_shape_of)(const ck_call *call, int packed) {
  CK(attention_shape) s = {call->n[0], call->n[1], call->n[2], call->n[3], call->n[4], call->n[5], 0, 0, 0,
                           (int)call->n[6], call->a[0]};
  s.q_row = packed ? 3 * s.heads * s.d : s.heads * s.d;
  s.k_row = s.q_row;
  s.v_row = packed ? s.q_row : s.heads * s.e;
  return s;
}

// out[width, ATTENTION_LINE] = factor times the rows transposed, zeros beyond them up to a whole step.
CK_INLINE void attention_turn(int64_t rows, int64_t width, const float *in, int64_t in_row, float factor, float *out) {
  for (int64_t i = 0; i < rows; i += ATTENTION_STEP)
    for (int64_t l = i; l < i + ATTENTION_STEP; l += W)
      for (int64_t j = 0; j < width; j += W) {
        vf r[W];
#pragma clang loop unroll(full)
        for (int q = 0; q < W; q++) r[q] = l + q < rows ? load_n(in + (l + q) * in_row + j, width - j) * factor : (vf){0};
        transpose_block(r);
#pragma clang loop unroll(full)
        for (int q = 0; q < W; q++)
          if (j + q < width) vstore(out + (j + q) * ATTENTION_LINE + l, r[q]);
      }
}

// The number of keys that the step of queries from `query` on sees.
CK_INLINE int64_t attention_visible(const CK(attention_shape) * s, int64_t query) {
  return s->causal && query + ATTENTION_STEP < s->keys ? query + ATTENTION_STEP : s->keys;
}

// scores[visible, queries] = rows of keys times turned queries: of one step, or of the whole block at its first step where
// every key is seen.
CK_INLINE void attention_scores(const CK(attention_shape) * s, int64_t i, int64_t rows, int64_t visible, int64_t inner,
                                const float *keys, int64_t key_row, const float *turned, float *scores) {
  const CK(epilogue) plain = {0};
  const int64_t block = (rows + ATTENTION_STEP - 1) / ATTENTION_STEP * ATTENTION_STEP;
  if (s->causal || i == 0)
    CK(gemm)(visible, s->causal ? ATTENTION_STEP : block, inner, keys, key_row, 1, turned + i, ATTENTION_LINE, scores + i,
             ATTENTION_LINE, &plain);
}

// Hides the keys after each of W queries, the first of which is `query`: their scores become -infinity.
CK_INLINE void attention_hide(int64_t query, int64_t visible, float *scores) {
  vi lane;
  for (int i = 0; i < W; i++) lane[i] = i;
  for (int64_t t = query + 1; t < visible; t++)
    vstore(scores + t * ATTENTION_LINE,
           choose(lane < (int32_t)(t - query), vset1(-INFINITY), vload(scores + t * ATTENTION_LINE)));
}

static void CK(attention_forward)(const CK(attention_shape) * s, const float *q, const float *k, const float *v,
                                  float *out, float *logs, float *scratch) {
  const CK(epilogue) plain = {0};
  const int64_t out_row = s->heads * s->e;
  float *turned = scratch, *scores = turned + s->d * ATTENTION_LINE;
  for (int64_t start = 0; start < s->queries; start += ATTENTION_ROWS) {
    const int64_t rows = s->queries - start < ATTENTION_ROWS ? s->queries - start : ATTENTION_ROWS;
    attention_turn(rows, s->d, q + start * s->q_row, s->q_row, s->scale, turned);
    for (int64_t i = 0; i < rows; i += ATTENTION_STEP) {
      const int64_t count = rows - i < ATTENTION_STEP ? rows - i : ATTENTION_STEP;
      const int64_t visible = attention_visible(s, start + i);
      float inverse[ATTENTION_STEP];
      attention_scores(s, i, rows, visible, s->d, k, s->k_row, turned, scores);
      for (int64_t l = i; l < i + ATTENTION_STEP; l += W) {
        float *lanes = scores + l;
        if (s->causal) attention_hide(start + l, visible, lanes);
        vf top = vset1(-INFINITY), sum = {0};
        for (int64_t t = 0; t < visible; t++) top = greater_or(vload(lanes + t * ATTENTION_LINE), top);
        for (int64_t t = 0; t < visible; t++) {
          const vf e = math_exp(vload(lanes + t * ATTENTION_LINE) - top);
          sum += e;
          vstore(lanes + t * ATTENTION_LINE, e);
        }
        vstore(inverse + (l - i), 1.0f / sum);
        if (l < rows) store_n(logs + start + l, top + math_log(sum), rows - l);
      }
      float *to = out + (start + i) * out_row;
      CK(gemm)(count, s->e, visible, scores + i, 1, ATTENTION_LINE, v, s->v_row, to, out_row, &plain);
      for (int64_t r = 0; r < count; r++)
        for (int64_t j = 0; j < s->e; j += W)
          store_n(to + r * out_row + j, load_n(to + r * out_row + j, s->e - j) * inverse[r], s->e - j);
    }
  }
}

// result[count of keys from t on] = weights of `queries` queries from `first` on times these queries' rows, or added to it.
CK_INLINE void attention_gather(int64_t t, int64_t count, int64_t first, int64_t queries, int accumulate,
                                const float *weights, const float *rows, int64_t row, int64_t width, float *result,
                                int64_t result_row) {
  const CK(epilogue) e = {.accumulate = accumulate};
  if (count > 0)
    CK(gemm)(count, width, queries, weights + t * ATTENTION_LINE, ATTENTION_LINE, 1, rows + first * row, row,
             result + t * result_row, result_row, &e);
}

// The gradients of one head. With P the probabilities: dv = P' dout, dP = dout v', dS = P (dP - rowsum(P dP)) scale,
// dq = dS k, dk = dS' q.
static void CK(attention_reverse)(const CK(attention_shape) * s, const float *q, const float *k, const float *v,
                                  const float *dout, const float *logs, float *dq, float *dk, float *dv,
                                  float *scratch) {
  const CK(epilogue) plain = {0};
  const int64_t keys = s->keys, dout_row = s->heads * s->e;
  float *q_turned = scratch, *dout_turned = q_turned + s->d * ATTENTION_LINE;
  float *p = dout_turned + s->e * ATTENTION_LINE, *ds = p + keys * ATTENTION_LINE;
  for (int64_t start = 0; start < s->queries; start += ATTENTION_ROWS) {
    const int64_t rows = s->queries - start < ATTENTION_ROWS ? s->queries - start : ATTENTION_ROWS;
    attention_turn(rows, s->d, q + start * s->q_row, s->q_row, s->scale, q_turned);
    attention_turn(rows, s->e, dout + start * dout_row, dout_row, 1, dout_turned);
    for (int64_t i = 0; i < rows; i += ATTENTION_STEP) {
      const int64_t count = rows - i < ATTENTION_STEP ? rows - i : ATTENTION_STEP;
      const int64_t visible = attention_visible(s, start + i);
      attention_scores(s, i, rows, visible, s->d, k, s->k_row, q_turned, p);
      attention_scores(s, i, rows, visible, s->e, v, s->v_row, dout_turned, ds);
      for (int64_t l = i; l < i + ATTENTION_STEP; l += W) {
        float *probability = p + l, *slope = ds + l;
        if (s->causal) attention_hide(start + l, visible, probability);
        const vf log = l < rows ? load_n(logs + start + l, rows - l) : (vf){0};
        vf sum = {0};
        for (int64_t t = 0; t < visible; t++) {
          const vf y = math_exp(vload(probability + t * ATTENTION_LINE) - log);
          sum = vfma(y, vload(slope + t * ATTENTION_LINE), sum);
          vstore(probability + t * ATTENTION_LINE, y);
        }
        for (int64_t t = 0; t < visible; t++) {
          float *place = slope + t * ATTENTION_LINE;
          vstore(place, vload(probability + t * ATTENTION_LINE) * (vload(place) - sum) * s->scale);
        }
      }
      CK(gemm)(count, s->d, visible, ds + i, 1, ATTENTION_LINE, k, s->k_row, dq + (start + i) * s->q_row, s->q_row,
               &plain);
    }
    // Keys that all queries of the block see; those of earlier blocks have seen them too, so that there is a sum already.
    const int64_t common = s->causal ? start : keys;
    attention_gather(0, common, start, rows, start > 0, p, dout, dout_row, s->e, dv, s->v_row);
    attention_gather(0, common, start, rows, start > 0, ds, q, s->q_row, s->d, dk, s->k_row);
    // Later keys get nothing from the queries before them.
    for (int64_t t = common; t < start + rows && t < keys; t += ATTENTION_STEP) {
      const int64_t count = start + rows - t < ATTENTION_STEP ? start + rows - t : ATTENTION_STEP;
      attention_gather(t, count, t, start + rows - t, 0, p + t - start, dout, dout_row, s->e, dv, s->v_row);
      attention_gather(t, count, t, start + rows - t, 0, ds + t - start, q, s->q_row, s->d, dk, s->k_row);
    }
  }
}

// All examples and heads; the keys and values of a packed row lie after its queries.
CK_INLINE void attention_all(const CK(attention_shape) * s, const float *q, const float *k, const float *v, float *out,
                             float *logs, float *scratch) {
  for (int64_t b = 0; b < s->batch; b++)
    for (int64_t h = 0; h < s->heads; h++)
      CK(attention_forward)(s, q + b * s->queries * s->q_row + h * s->d, k + b * s->keys * s->k_row + h * s->d,
                            v + b * s->keys * s->v_row + h * s->e, out + (b * s->queries * s->heads + h) * s->e,
                            logs + (b * s->heads + h) * s->queries, scratch);
}

CK_INLINE void attention_all_backward(const CK(attention_shape) * s, const float *q, const float *k, const float *v,
                                      const float *dout, const float *logs, float *dq, float *dk, float *dv,
                                      float *scratch) {
  for (int64_t b = 0; b < s->batch; b++)
    for (int64_t h = 0; h < s->heads; h++) {
      const int64_t at_q = b * s->queries * s->q_row + h * s->d, at_k = b * s->keys * s->k_row + h * s->d;
      const int64_t at_v = b * s->keys * s->v_row + h * s->e;
      CK(attention_reverse)(s, q + at_q, k + at_k, v + at_v, dout + (b * s->queries * s->heads + h) * s->e,
                            logs + (b * s->heads + h) * s->queries, dq + at_q, dk + at_k, dv + at_v, scratch);
    }
}

static void CK(attention)(const ck_call *call) {
  const CK(attention_shape) s = CK(attention_shape_of)(call, 0);
  attention_all(&s, call->p[1], call->p[2], call->p[3], call->p[0], call->p[4], call->p[5]);
}

static void CK(attention_packed)(const ck_call *call) {
  const CK(attention_shape) s = CK(attention_shape_of)(call, 1);
  const float *q = call->p[1];
  const int64_t part = s.heads * s.d;
  attention_all(&s, q, q + part, q + 2 * part, call->p[0], call->p[2], call->p[3]);
}

static void CK(attention_backward)(const ck_call *call) {
  const CK(attention_shape) s = CK(attention_shape_of)(call, 0);
  float *dk = call->p[6];
  attention_all_backward(&s, call->p[1], call->p[2], call->p[3], call->p[4], call->p[5], call->p[0], dk,
                         dk + s.batch * s.keys * s.k_row, call->p[7]);
}

static void CK(attention_packed_backward)(const ck_call *call) {
  const CK(attention_shape) s = CK(attention_shape_of)(call, 1);
  const float *q = call->p[1];
  float *dq = call->p[0];
  const int64_t part = s.heads * s.d;
  attention_all_backward(&s, q, q + part, q + 2 * part, call->p[2], call->p[3], dq, dq + part, dq + 2 * part, call->p[4]);
}
