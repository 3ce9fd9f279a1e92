// The kernels behind Compute's plans: one table of function pointers for each CPU level.
#pragma once

#include <stdint.h>

#define CK_OPERANDS 8
#define CK_LENGTHS 20
#define CK_NUMBERS 4
#define CK_INSTRUCTIONS 16

// One call of a kernel: where its operands lie and how long they are. Every kernel that a plan uses has the same
// signature, so that a plan is an array of these. Unused fields are zero. p[0] is the (first) result.
typedef struct ck_call {
  void (*kernel)(const struct ck_call *);
  void *p[CK_OPERANDS];
  int64_t n[CK_LENGTHS];
  float a[CK_NUMBERS];
  const struct ck_program *program;
} ck_call;
typedef void (*ck_kernel)(const ck_call *);

// Elementwise operations. d = result, x and y = operands, a and b = constants of the instruction.
// A *_BACKWARD takes the gradient in x and the forward pass's result or operand in y.
typedef enum ck_operation {
  CK_COPY, CK_AFFINE,  // x; a * x + b
  CK_RELU, CK_TANH, CK_SIGMOID, CK_GELU, CK_SILU, CK_SOFTPLUS, CK_EXP, CK_LOG, CK_SQRT,
  CK_ABS, CK_SIGN, CK_SIN, CK_COS, CK_ERF, CK_GELU_EXACT,
  CK_POWER, CK_CLAMP, CK_LEAKY_RELU, CK_ELU,  // x^a; x within a and b; x or a x; x or a (exp(x) - 1)
  CK_ADD, CK_SUBTRACT, CK_MULTIPLY, CK_DIVIDE, CK_MAXIMUM, CK_MINIMUM,
  CK_RELU_BACKWARD, CK_TANH_BACKWARD, CK_SIGMOID_BACKWARD,  // y = forward result
  CK_GELU_BACKWARD, CK_SILU_BACKWARD, CK_GELU_EXACT_BACKWARD, CK_CLAMP_BACKWARD, CK_LEAKY_RELU_BACKWARD,
  CK_ELU_BACKWARD,  // y = forward operand
  CK_OPERATIONS
} ck_operation;

// How an operand of an elementwise program meets the [rows, columns] of its result.
typedef enum ck_spread { CK_FULL, CK_SCALAR_OPERAND, CK_ROW, CK_COLUMN } ck_spread;

// One instruction: slots below CK_OPERANDS are the call's operands, the others block-sized temporaries.
typedef struct ck_instruction {
  int32_t operation, result, left, right;
  float a, b;
} ck_instruction;

typedef struct ck_program {
  int32_t instructions;
  int32_t operands;
  int32_t spread[CK_OPERANDS];
  ck_instruction instruction[CK_INSTRUCTIONS];
} ck_program;

// Flags of `product`.
enum { CK_RELU_RESULT = 1, CK_TRANSPOSE_A = 2, CK_TRANSPOSE_B = 4 };

typedef struct ck_compute {
  // C[M,N] = A B (+ bias, relu, or zero where mask <= 0). p = C, A, B, bias or NULL, mask [M,N] or NULL, scratch of
  // K*N floats when B is transposed; n = M, N, K, flags. A is [M,K], or [K,M] transposed; B [K,N], or [N,K].
  ck_kernel product;
  // The same through OpenBLAS (ck_blas.h), which must be loaded; needs no scratch.
  ck_kernel product_blas;
  // An elementwise program over [rows, columns]; n = rows, columns.
  ck_kernel map;
  // p = out, in; a[0] multiplies the sums. sum_all: n = count. sum_last: n = rows, columns -> [rows].
  // The _axis kernels: n = outer, length, inner; [outer, length, inner] -> [outer, inner].
  ck_kernel sum_all, sum_last, sum_axis, maximum_axis, minimum_axis;
  // p = dx, x, y, dy; n = outer, length, inner: each of the elements that equal the extreme y has an equal share of dy.
  ck_kernel extreme_backward;
  // out is contiguous; in lies at strides. p = out, in; n = 7 lengths, 7 strides of in, offset of in, all in floats.
  ck_kernel strided_copy;
  // in is contiguous; out lies at strides in memory filled with a[0]. p = out, in; n = 7 lengths, 7 strides of out,
  // offset of out, count of out.
  ck_kernel pad;
  // p = out, operands; n = rows, operands, then the length of each operand's row.
  ck_kernel concatenate;
  // Along the middle axis of [outer, length, inner]; n = outer, length, inner, count. gather: p = out, in, indices
  // (int32, each in 0..<length). scatter_add: p = out, in [outer, count, inner], indices; out starts as zeros.
  ck_kernel gather, scatter_add;
  // Over rows of a matrix; n = rows, columns. Backward: p = dx, y, dy.
  ck_kernel softmax, log_softmax, softmax_backward, log_softmax_backward;
  // p = loss or NULL, dlogits or NULL, upstream gradient (one float) or NULL for a[0], logits, then: cross_entropy:
  // labels (int32), weights or NULL; the weighted mean over rows of -log softmax(logits)[label], where rows of weight 0
  // count for nothing and a label outside 0..<classes gives NaN. soft_cross_entropy: targets; the mean over rows of
  // -sum(target log softmax(logits)). n = rows, classes.
  ck_kernel cross_entropy, soft_cross_entropy;
  // p = out, in, key (two uint32); n = count, stream; a[0] = rate. Keeps an element where its uniform is >= rate.
  ck_kernel dropout;
  // p = out, key (two uint32); n = count, stream: standard normals of the key and stream.
  ck_kernel normal;
  // p = out, in; n = floats, how many of `in` to skip. zero: p = out.
  // Convolutions in NHWC and HWIO; n as compute_convolution.inc.h lists them. convolution: p = y, x, kernel, bias or NULL,
  // mask or NULL, scratch, with the epilogue of `product`; input_gradient: p = dx, dy, kernel and the same.
  // kernel_gradient: p = dkernel, x, dy, scratch. The depthwise ones (groups = channels = filters) need no scratch.
  ck_kernel convolution, convolution_input_gradient, convolution_kernel_gradient;
  ck_kernel depthwise, depthwise_input_gradient, depthwise_kernel_gradient;
  // n as compute_pooling.inc.h lists them. p = y, x; max_pool_backward: dx, x, y, dy; average_pool_backward: dx, dy.
  ck_kernel max_pool, max_pool_backward, average_pool, average_pool_backward;
  // Over [rows, columns]; n = rows, columns. batch_statistics: p = [2, columns] of means and 1 / deviations, x; a[0] is
  // added to the variances. batch_norm: p = y, x, statistics, scale, offset. batch_norm_sums: p = gradients [2, columns] of
  // offset and scale, x, dy, statistics. batch_norm_backward: p = dx, x, dy, statistics, scale, those sums.
  ck_kernel batch_statistics, batch_norm, batch_norm_sums, batch_norm_backward;
  // p = out, in; n = floats. zero: p = out.
  ck_kernel copy, zero;

  // C[M,N] = A B for each of a batch of matrices. p = C, A, B, scratch of K*N floats when B is transposed; n = batch, M, N,
  // K, flags as for `product`.
  ck_kernel batched_product;
  // C[M,N] = A' B of columns of A [K, a_row] and B [K, b_row]. p = C, A, B; n = M, N, K, a_row, b_row, and the floats of A
  // and of B to skip.
  ck_kernel column_product;
  // softmax(scale q k') v for each head. n = B, S, T, H, D, E, causal; a[0] = scale; lengths and layouts in
  // compute_attention.inc.h. p = out, q, k, v, log-sums [B,H,S], scratch; packed: p = out, qkv, log-sums, scratch.
  ck_kernel attention, attention_packed;
  // p = dq, q, k, v, dout, log-sums, dk and dv in one block, scratch; packed: p = dqkv, qkv, dout, log-sums, scratch.
  ck_kernel attention_backward, attention_packed_backward;
  // Over rows; n = rows, C; a[0] = epsilon. p = y, x, scale, offset (layer_norm), statistics [rows,2].
  ck_kernel layer_norm, rms_norm;
  // p = dx, x, scale, statistics, dy, dscale, doffset (layer_norm).
  ck_kernel layer_norm_backward, rms_norm_backward;
  // n = B, positions, C, groups; a[0] = epsilon. p = y, x, scale, offset, statistics [B,groups,2], scratch of 2 C floats;
  // backward: p = dx, x, scale, statistics, dy, dscale, doffset, scratch of 4 C floats.
  ck_kernel group_norm, group_norm_backward;
  // p = out [count,E], table [V,E], indices (int32); n = count, V, E. backward: p = dtable, dout, indices.
  ck_kernel embedding, embedding_backward;
  // Scans over time; operands and lengths are listed in compute_recurrence*.inc.h.
  ck_kernel lstm, lstm_backward, gru, gru_backward, vanilla_rnn, vanilla_rnn_backward;

  // Philox4x32-10 words of blocks first.. under a key: out[4 * i + j] is word j of block first + i.
  void (*words)(uint64_t key, uint64_t first, int64_t blocks, uint32_t *out);
  // Standard normals 4 * first... of a key by Box-Muller in Float32; the same bits at every level.
  void (*normals)(uint64_t key, uint64_t first, int64_t count, float *out);
} ck_compute;

// The table of a level, or NULL where this build has no such level.
const ck_compute *ck_compute_table(int level);

// A place where a call keeps an address, and how many floats that address is beyond its base.
typedef struct ck_operand {
  void **slot;
  int64_t offset;
} ck_operand;

// Points the operands at memory that has moved to `base`.
void ck_move(const ck_operand *operands, int64_t count, const float *base);

// Runs the calls in order.
void ck_run(const ck_call *calls, int64_t count);
