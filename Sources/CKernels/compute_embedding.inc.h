// Rows of a table by index, and the gradient of the table: a sum over the places where a row was used, in their order.

static void CK(embedding)(const ck_call *call) {
  const int64_t count = call->n[0], entries = call->n[1], width = call->n[2];
  const int32_t *indices = call->p[2];
  for (int64_t i = 0; i < count; i++) {
    float *out = (float *)call->p[0] + i * width;
    const int64_t index = indices[i];
    if (index >= 0 && index < entries)
      __builtin_memcpy(out, (const float *)call->p[1] + index * width, (size_t)width * sizeof(float));
    else
      for (int64_t j = 0; j < width; j++) out[j] = NAN;
  }
}

static void CK(embedding_backward)(const ck_call *call) {
  const int64_t count = call->n[0], entries = call->n[1], width = call->n[2];
  const int32_t *indices = call->p[2];
  float *table = call->p[0];
  __builtin_memset(table, 0, (size_t)(entries * width) * sizeof(float));
  for (int64_t i = 0; i < count; i++) {
    const int64_t index = indices[i];
    if (index < 0 || index >= entries) continue;
    const float *dy = (const float *)call->p[1] + i * width;
    float *row = table + index * width;
    int64_t j = 0;
    for (; j + W <= width; j += W) vstore(row + j, vload(row + j) + vload(dy + j));
    if (j < width) part_store(row + j, part_load(row + j, (int)(width - j)) + part_load(dy + j, (int)(width - j)), (int)(width - j));
  }
}
