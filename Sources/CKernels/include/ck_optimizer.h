// The optimizers' fused update kernels: one table of functions for each CPU level.
// Learning/Optimizers/OptimizerKernels.swift is the only caller. All memory is the caller's; nothing here allocates.
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "ck_cpu.h"

enum {
  // Hidden units of a per-parameter network. 64 is twice the widest published one.
  CK_ADAFAC_HIDDEN_MAX = 64,
  // Units of the learning-rate scheduler's LSTM.
  CK_LSTM_HIDDEN_MAX = 512,
  CK_ADAFAC_DECAYS = 3,
  CK_LOSS_DECAYS = 10,
};

// One parameter tensor and where its accumulators lie (offsets in floats).
//
// A tensor of two or more axes is seen as [outer, a, middle, b, inner]: a and b are the two largest axes in memory
// order, so that memory is outer*a*middle contiguous data rows of b*inner. The statistic that lost axis b, "line", has
// the layout [outer, a, middle, inner]; the one that lost axis a, "lane", has [outer, middle, b, inner]. Which of them
// is Adafactor's "row" (that lost the largest axis) is told by `row_is_line`.
// A tensor of at most one axis is not factored: `line` then holds the full second moment and the sizes are unused.
typedef struct ck_adafac_tensor {
  int64_t parameter;  // in parameters and gradients
  int64_t count;
  int64_t momentum;  // in the state: 3 planes of `count`
  int64_t rms;       // in the state: `count`
  int64_t line;      // in the state: 3 planes
  int64_t lane;      // in the state: 3 planes
  int64_t outer, a, middle, b, inner;
  bool factored;
  bool row_is_line;
} ck_adafac_tensor;

// small_fc (AdafacMLP). The offsets are those of the leaves in theta.
typedef struct ck_small_fc {
  int32_t hidden;
  float exp_multiplier;
  float step_multiplier;
  int64_t momentum_decays, rms_decays, adafactor_decays;
  int64_t w0, b0, w1, b1, w2, b2;
} ck_small_fc;

// The learning-rate scheduler that Celo and Celo-Adam share. Theta offsets, then those of its slots in the state.
typedef struct ck_celo_scheduler {
  int32_t lstm_hidden;
  int64_t mix_max_w, mix_max_b, mix_direct_w, mix_direct_b, gates_w, gates_b, step_size_w, step_size_b;
  int64_t hidden, cell, loss_means, loss_minima, loss_decays, loss_count;
} ck_celo_scheduler;

// Celo. Theta offsets of the per-parameter network.
typedef struct ck_celo {
  ck_celo_scheduler scheduler;
  bool scheduled;  // false: the learning-rate multiplier is 1 (the first training phase)
  int64_t w0[14], b0, w1, b1, w2, b2;
} ck_celo;

typedef struct ck_optimizer {
  // p -= rate * g
  void (*sgd)(float *p, const float *g, int64_t n, float rate);
  // m = g + mu * m; p -= rate * m
  void (*momentum)(float *p, const float *g, float *m, int64_t n, float rate, float mu);
  // m = b1*m + (1-b1)*g; v = b2*v + (1-b2)*g*g; p -= rate * m / (sqrt(v*v_correction + epsilon_root) + epsilon),
  // where `rate` already holds the first moment's correction.
  void (*adam)(float *p, const float *g, float *m, float *v, int64_t n, float b1, float b2, float rate,
               float v_correction, float epsilon, float epsilon_root);
  // What prepares gradients: sum of x^2; whether all are finite; clamp to +-bound (NaN stays); g = scale*g + share*p.
  double (*squares)(const float *x, int64_t n);
  bool (*are_finite)(const float *x, int64_t n);
  void (*clamp)(float *g, int64_t n, float bound);
  void (*blend)(float *g, const float *p, int64_t n, float scale, float share);
  void (*small_fc)(const ck_small_fc *rule, const ck_adafac_tensor *tensors, int64_t tensor_count, float *parameters,
                   const float *gradients, float *state, const float *theta, float *scratch, int64_t iteration);
  void (*celo)(const ck_celo *rule, const ck_adafac_tensor *tensors, int64_t tensor_count, float *parameters,
               const float *gradients, float *state, const float *theta, float *scratch, int64_t iteration,
               int64_t total_steps, float loss);
} ck_optimizer;

// The kernels of `level` (CK_SCALAR, CK_AVX2, CK_AVX512), or NULL where this build has none for that level.
const ck_optimizer *ck_optimizer_table(int level);

// Floats of scratch memory that small_fc or celo needs for these tensors.
int64_t ck_adafac_scratch(const ck_adafac_tensor *tensors, int64_t tensor_count, int32_t hidden);
