// Attention softmax(scale q k') v, head by head: the scores of a block of queries stay in cache and are never stored. The
// forward pass leaves the logarithm of each softmax's sum, from which the backward pass makes the probabilities anew
// (Dao et al. 2022, arXiv 2205.14135).
//
// q [B,S,H,D], k [B,T,H,D], v [B,T,H,E]; packed, one token's row is its H queries, H keys and H values of D floats.

// Queries whose scores are in cache together.
#define ATTENTION_ROWS 64
// Queries that share a limit of visible keys where later keys are hidden.
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

// scores[rows, keys] = q k' of the queries from `start` on, as far as keys are visible to a step of queries.
CK_INLINE void attention_scores(const CK(attention_shape) * s, int64_t start, int64_t rows, int64_t inner, const float *q,
                                int64_t q_row, const float *transposed, float *scores) {
  const CK(epilogue) plain = {0};
  if (!s->causal) {
    CK(gemm)(rows, s->keys, inner, q + start * q_row, q_row, 1, transposed, s->keys, scores, s->keys, &plain);
    return;
  }
  for (int64_t i = 0; i < rows; i += ATTENTION_STEP) {
    const int64_t count = rows - i < ATTENTION_STEP ? rows - i : ATTENTION_STEP;
    CK(gemm)(count, start + i + count, inner, q + (start + i) * q_row, q_row, 1, transposed, s->keys,
             scores + i * s->keys, s->keys, &plain);
  }
}

static void CK(attention_forward)(const CK(attention_shape) * s, const float *q, const float *k, const float *v,
                                  float *out, float *logs, float *scratch) {
  const CK(epilogue) plain = {0};
  const int64_t keys = s->keys, out_row = s->heads * s->e;
  float *transposed = scratch, *scores = transposed + s->d * keys;
  CK(transpose)(keys, s->d, k, s->k_row, transposed, keys);
  for (int64_t start = 0; start < s->queries; start += ATTENTION_ROWS) {
    const int64_t rows = s->queries - start < ATTENTION_ROWS ? s->queries - start : ATTENTION_ROWS;
    float inverse[ATTENTION_ROWS];
    attention_scores(s, start, rows, s->d, q, s->q_row, transposed, scores);
    for (int64_t r = 0; r < rows; r++) {
      float *row = scores + r * keys;
      const int64_t visible = s->causal ? start + r + 1 : keys;
      vf highest = vset1(-INFINITY);
      for (int64_t j = 0; j < visible; j += W)
        highest = greater_or(keep_n(load_n(row + j, visible - j) * s->scale, visible - j, -INFINITY), highest);
      const float top = max_lanes(highest);
      vf sum = {0};
      for (int64_t j = 0; j < visible; j += W) {
        const vf e = keep_n(math_exp(vfma(load_n(row + j, visible - j), vset1(s->scale), vset1(-top))), visible - j, 0);
        sum += e;
        store_n(row + j, e, visible - j);
      }
      const float total = vsum(sum);
      inverse[r] = 1.0f / total;
      logs[start + r] = top + log_of(total);
      if (s->causal) {
        const int64_t end = start + (r / ATTENTION_STEP + 1) * ATTENTION_STEP;
        for (int64_t j = visible; j < end && j < keys; j++) row[j] = 0;
      }
    }
    for (int64_t i = 0; i < rows; i += ATTENTION_STEP) {
      const int64_t count = rows - i < ATTENTION_STEP ? rows - i : ATTENTION_STEP;
      const int64_t visible = s->causal ? start + i + count : keys;
      float *to = out + (start + i) * out_row;
      CK(gemm)(count, s->e, visible, scores + i * keys, keys, 1, v, s->v_row, to, out_row, &plain);
      for (int64_t r = 0; r < count; r++)
        for (int64_t j = 0; j < s->e; j += W)
          store_n(to + r * out_row + j, load_n(to + r * out_row + j, s->e - j) * inverse[i + r], s->e - j);
    }
  }
}

// The gradients of one head. With P the probabilities: dv = P' dout, dP = dout v', dS = P (dP - rowsum(P dP)) scale,
// dq = dS k, dk = dS' q.
static void CK(attention_reverse)(const CK(attention_shape) * s, const float *q, const float *k, const float *v,
                                  const float *dout, const float *logs, float *dq, float *dk, float *dv,
                                  float *scratch) {
  const CK(epilogue) plain = {0};
  const int64_t keys = s->keys, dout_row = s->heads * s->e;
  float *k_transposed = scratch, *v_transposed = k_transposed + s->d * keys;
  float *p = v_transposed + s->e * keys, *ds = p + ATTENTION_ROWS * keys;
  CK(transpose)(keys, s->d, k, s->k_row, k_transposed, keys);
  CK(transpose)(keys, s->e, v, s->v_row, v_transposed, keys);
  for (int64_t start = 0; start < s->queries; start += ATTENTION_ROWS) {
    const int64_t rows = s->queries - start < ATTENTION_ROWS ? s->queries - start : ATTENTION_ROWS;
    const int64_t seen = s->causal ? start + rows : keys;
    attention_scores(s, start, rows, s->d, q, s->q_row, k_transposed, p);
    attention_scores(s, start, rows, s->e, dout, dout_row, v_transposed, ds);
    for (int64_t r = 0; r < rows; r++) {
      float *probability = p + r * keys, *slope = ds + r * keys;
      const int64_t visible = s->causal ? start + r + 1 : keys;
      const vf shift = vset1(-logs[start + r]);
      vf sum = {0};
      for (int64_t j = 0; j < visible; j += W) {
        const int64_t left = visible - j;
        const vf y = keep_n(math_exp(vfma(load_n(probability + j, left), vset1(s->scale), shift)), left, 0);
        sum = vfma(y, load_n(slope + j, left), sum);
        store_n(probability + j, y, left);
      }
      const float total = vsum(sum);
      for (int64_t j = 0; j < visible; j += W) {
        const int64_t left = visible - j;
        store_n(slope + j, load_n(probability + j, left) * (load_n(slope + j, left) - total) * s->scale, left);
      }
      for (int64_t j = visible; j < seen; j++) probability[j] = slope[j] = 0;
    }
    // Keys that earlier blocks of queries have seen have a gradient already.
    for (int64_t t = 0; t < seen; t += ATTENTION_STEP) {
      const int64_t count = seen - t < ATTENTION_STEP ? seen - t : ATTENTION_STEP;
      // With later keys hidden, earlier queries give these keys nothing.
      const int64_t skip = s->causal && t > start ? t - start : 0;
      const CK(epilogue) more = {.accumulate = s->causal ? t < start : start > 0};
      CK(gemm)(count, s->e, rows - skip, p + skip * keys + t, 1, keys, dout + (start + skip) * dout_row, dout_row,
               dv + t * s->v_row, s->v_row, &more);
      CK(gemm)(count, s->d, rows - skip, ds + skip * keys + t, 1, keys, q + (start + skip) * s->q_row, s->q_row,
               dk + t * s->k_row, s->k_row, &more);
    }
    for (int64_t i = 0; i < rows; i += ATTENTION_STEP) {
      const int64_t count = rows - i < ATTENTION_STEP ? rows - i : ATTENTION_STEP;
      CK(gemm)(count, s->d, s->causal ? start + i + count : keys, ds + i * keys, keys, 1, k, s->k_row,
               dq + (start + i) * s->q_row, s->q_row, &plain);
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
