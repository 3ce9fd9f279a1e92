// Elementwise programs: each instruction runs over one block that fits L1 before the next block starts, so that a chain
// of operations reads and writes main memory once. The plan (Fusion.swift) writes the programs.

#define MAP_BLOCK 512
#define MAP_TEMPORARIES 8

#define MAP(NAME, EXPRESSION)                                                                                   \
  static void CK(map_##NAME)(float *d, const float *xs, const float *ys, float a, float b, int64_t n) {         \
    (void)ys, (void)a, (void)b;                                                                                 \
    int64_t i = 0;                                                                                              \
    for (; i + W <= n; i += W) {                                                                                \
      const vf x = vload(xs + i), y = MAP_READS_Y ? vload(ys + i) : x;                                          \
      (void)x, (void)y;                                                                                         \
      vstore(d + i, EXPRESSION);                                                                                \
    }                                                                                                           \
    if (i < n) {                                                                                                \
      const vf x = part_load(xs + i, (int)(n - i)), y = MAP_READS_Y ? part_load(ys + i, (int)(n - i)) : x;      \
      (void)x, (void)y;                                                                                         \
      part_store(d + i, EXPRESSION, (int)(n - i));                                                              \
    }                                                                                                           \
  }

#define MAP_READS_Y 0
MAP(copy, x)
MAP(affine, vset1(a) * x + b)
MAP(relu, at_least(x, (vf){0}))
MAP(tanh, math_tanh(x))
MAP(sigmoid, math_sigmoid(x))
MAP(gelu, math_gelu(x))
MAP(silu, math_silu(x))
MAP(softplus, math_softplus(x))
MAP(exp, math_exp(x))
MAP(log, math_log(x))
MAP(sqrt, vsqrt(x))
MAP(abs, vabs(x))
MAP(sign, choose(x > (vf){0}, vset1(1), choose(x < (vf){0}, vset1(-1), x - x)))
MAP(sin, math_sin(x))
MAP(cos, math_cos(x))
MAP(erf, math_erf(x))
MAP(gelu_exact, math_gelu_exact(x))
MAP(power, math_power(x, a))
MAP(clamp, at_most(at_least(x, vset1(a)), vset1(b)))
MAP(leaky_relu, choose(x > (vf){0}, x, x *a))
MAP(elu, choose(x > (vf){0}, x, math_expm1(x) * a))
#undef MAP_READS_Y
#define MAP_READS_Y 1
MAP(add, x + y)
MAP(subtract, x - y)
MAP(multiply, x *y)
MAP(divide, x / y)
MAP(maximum, larger(x, y))
MAP(minimum, smaller(x, y))
MAP(relu_backward, choose(y <= (vf){0}, (vf){0}, x))
MAP(tanh_backward, x *(1.0f - y * y))
MAP(sigmoid_backward, x *y *(1.0f - y))
MAP(gelu_backward, x *math_gelu_slope(y))
MAP(silu_backward, x *math_silu_slope(y))
MAP(gelu_exact_backward, x *math_gelu_exact_slope(y))
MAP(clamp_backward, choose((y <= vset1(a)) | (y >= vset1(b)), (vf){0}, x))
MAP(leaky_relu_backward, choose(y > (vf){0}, x, x *a))
MAP(elu_backward, choose(y > (vf){0}, x, x *a *math_exp(y)))
#undef MAP_READS_Y
#undef MAP

typedef void (*CK(map_function))(float *, const float *, const float *, float, float, int64_t);
static const CK(map_function) CK(map_functions)[CK_OPERATIONS] = {
    [CK_COPY] = CK(map_copy),
    [CK_AFFINE] = CK(map_affine),
    [CK_RELU] = CK(map_relu),
    [CK_TANH] = CK(map_tanh),
    [CK_SIGMOID] = CK(map_sigmoid),
    [CK_GELU] = CK(map_gelu),
    [CK_SILU] = CK(map_silu),
    [CK_SOFTPLUS] = CK(map_softplus),
    [CK_EXP] = CK(map_exp),
    [CK_LOG] = CK(map_log),
    [CK_SQRT] = CK(map_sqrt),
    [CK_ABS] = CK(map_abs),
    [CK_SIGN] = CK(map_sign),
    [CK_SIN] = CK(map_sin),
    [CK_COS] = CK(map_cos),
    [CK_ERF] = CK(map_erf),
    [CK_GELU_EXACT] = CK(map_gelu_exact),
    [CK_POWER] = CK(map_power),
    [CK_CLAMP] = CK(map_clamp),
    [CK_LEAKY_RELU] = CK(map_leaky_relu),
    [CK_ELU] = CK(map_elu),
    [CK_ADD] = CK(map_add),
    [CK_SUBTRACT] = CK(map_subtract),
    [CK_MULTIPLY] = CK(map_multiply),
    [CK_DIVIDE] = CK(map_divide),
    [CK_MAXIMUM] = CK(map_maximum),
    [CK_MINIMUM] = CK(map_minimum),
    [CK_RELU_BACKWARD] = CK(map_relu_backward),
    [CK_TANH_BACKWARD] = CK(map_tanh_backward),
    [CK_SIGMOID_BACKWARD] = CK(map_sigmoid_backward),
    [CK_GELU_BACKWARD] = CK(map_gelu_backward),
    [CK_SILU_BACKWARD] = CK(map_silu_backward),
    [CK_GELU_EXACT_BACKWARD] = CK(map_gelu_exact_backward),
    [CK_CLAMP_BACKWARD] = CK(map_clamp_backward),
    [CK_LEAKY_RELU_BACKWARD] = CK(map_leaky_relu_backward),
    [CK_ELU_BACKWARD] = CK(map_elu_backward),
};

static void CK(map_fill)(float *d, float x, int64_t n) {
  int64_t i = 0;
  for (; i + W <= n; i += W) vstore(d + i, vset1(x));
  for (; i < n; i++) d[i] = x;
}

// Fits an operand that is not full to the block: a scalar or a row is written out once for all blocks where a block
// holds whole rows, a column's values for each block.
static void CK(map)(const ck_call *call) {
  const ck_program *program = call->program;
  const int64_t rows = call->n[0], columns = call->n[1];
  float temporaries[MAP_TEMPORARIES][MAP_BLOCK] __attribute__((aligned(64)));
  float tiles[CK_OPERANDS][MAP_BLOCK] __attribute__((aligned(64)));
  float *slots[CK_OPERANDS + MAP_TEMPORARIES];
  for (int t = 0; t < MAP_TEMPORARIES; t++) slots[CK_OPERANDS + t] = temporaries[t];

  const int64_t width = columns < MAP_BLOCK ? columns : MAP_BLOCK;
  const int64_t fit = MAP_BLOCK / width;
  const int64_t height = columns > MAP_BLOCK ? 1 : fit < rows ? fit : rows;
  for (int o = 0; o < program->operands; o++) {
    const float *source = call->p[o];
    if (program->spread[o] == CK_SCALAR_OPERAND) CK(map_fill)(tiles[o], source[0], height * width);
    if (program->spread[o] == CK_ROW && columns <= MAP_BLOCK)
      for (int64_t r = 0; r < height; r++) CK(map_copy)(tiles[o] + r * width, source, 0, 0, 0, width);
  }
  for (int64_t r = 0; r < rows; r += height) {
    const int64_t tall = rows - r < height ? rows - r : height;
    for (int64_t c = 0; c < columns; c += width) {
      const int64_t wide = columns - c < width ? columns - c : width;
      for (int o = 0; o < program->operands; o++) {
        float *base = call->p[o];
        switch (program->spread[o]) {
          case CK_FULL: slots[o] = base + r * columns + c; break;
          case CK_ROW: slots[o] = columns <= MAP_BLOCK ? tiles[o] : base + c; break;
          case CK_COLUMN:
            for (int64_t q = 0; q < tall; q++) CK(map_fill)(tiles[o] + q * wide, base[r + q], wide);
            slots[o] = tiles[o];
            break;
          default: slots[o] = tiles[o]; break;
        }
      }
      for (int s = 0; s < program->instructions; s++) {
        const ck_instruction *i = &program->instruction[s];
        CK(map_functions)[i->operation](slots[i->result], slots[i->left], slots[i->right], i->a, i->b, tall * wide);
      }
    }
  }
}
