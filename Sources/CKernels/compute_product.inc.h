// The product kernels of a plan: our own (compute_gemm.inc.h) and OpenBLAS with the same epilogue after it.

static void CK(product)(const ck_call *call) {
  const int64_t m = call->n[0], n = call->n[1], k = call->n[2], flags = call->n[3];
  const float *a = call->p[1], *b = call->p[2];
  const CK(epilogue) e = {call->p[3], call->p[4], (flags & CK_RELU_RESULT) != 0, 0};
  if (flags & CK_TRANSPOSE_B) {
    CK(transpose)(n, k, b, k, call->p[5], n);
    b = call->p[5];
  }
  const int transposed = (flags & CK_TRANSPOSE_A) != 0;
  if (transposed && n < W && m >= W && !e.bias && !e.mask && !e.relu) {
    CK(gemm_narrow)(m, n, k, a, m, b, n, call->p[0]);
    return;
  }
  CK(gemm)(m, n, k, a, transposed ? 1 : k, transposed ? m : 1, b, n, call->p[0], n, &e);
}

static void CK(product_blas)(const ck_call *call) {
  const int64_t m = call->n[0], n = call->n[1], k = call->n[2], flags = call->n[3];
  float *c = call->p[0];
  const float *bias = call->p[3], *mask = call->p[4];
  ck_blas_product((int)m, (int)n, (int)k, call->p[1], (flags & CK_TRANSPOSE_A) != 0, call->p[2],
                  (flags & CK_TRANSPOSE_B) != 0, c);
  if (!bias && !mask && !(flags & CK_RELU_RESULT)) return;
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j += W) {
      float *place = c + i * n + j;
      vf x = load_n(place, n - j);
      if (bias) x += load_n(bias + j, n - j);
      if (flags & CK_RELU_RESULT) x = at_least(x, (vf){0});
      if (mask) x = choose(load_n(mask + i * n + j, n - j) <= (vf){0}, (vf){0}, x);
      store_n(place, x, n - j);
    }
}
