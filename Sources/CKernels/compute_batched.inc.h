// Products of many small matrices, and products of columns of wider matrices, over compute_gemm.inc.h.

static void CK(batched_product)(const ck_call *call) {
  const int64_t batch = call->n[0], m = call->n[1], n = call->n[2], k = call->n[3], flags = call->n[4];
  const CK(epilogue) e = {0};
  const int transposed = (flags & CK_TRANSPOSE_A) != 0;
  for (int64_t i = 0; i < batch; i++) {
    const float *a = (const float *)call->p[1] + i * m * k, *b = (const float *)call->p[2] + i * k * n;
    if (flags & CK_TRANSPOSE_B) {
      CK(transpose)(n, k, b, k, call->p[3], n);
      b = call->p[3];
    }
    CK(gemm)(m, n, k, a, transposed ? 1 : k, transposed ? m : 1, b, n, (float *)call->p[0] + i * m * n, n, &e);
  }
}

static void CK(column_product)(const ck_call *call) {
  const int64_t m = call->n[0], n = call->n[1], k = call->n[2], a_row = call->n[3], b_row = call->n[4];
  const CK(epilogue) e = {0};
  CK(gemm)(m, n, k, (const float *)call->p[1] + call->n[5], 1, a_row, (const float *)call->p[2] + call->n[6], b_row,
           call->p[0], n, &e);
}
