// The optimizers' fused update kernels: one table of functions for each CPU level.
// Learning/Optimizers/OptimizerKernels.swift is the only caller. All memory is the caller's; nothing here allocates.
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "ck_cpu.h"
#include "ck_networks.h"
#include "ck_rules.h"

enum {
  // Hidden units of a per-parameter network. 64 is twice the widest published one.
  CK_ADAFAC_HIDDEN_MAX = 64,
  // Units of the LSTM of Celo and VeLO, and networks in their banks.
  CK_LSTM_HIDDEN_MAX = 2048,
  CK_NETWORKS_MAX = 4096,
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
  int32_t rank;  // axes longer than 1
} ck_adafac_tensor;

// small_fc (AdafacMLP). The offsets are those of the leaves in theta.
typedef struct ck_small_fc {
  int32_t hidden;
  float exp_multiplier;
  float step_multiplier;
  int64_t momentum_decays, rms_decays, adafactor_decays;
  int64_t w0, b0, w1, b1, w2, b2;
} ck_small_fc;

// STAR: small_fc's network with four outputs, beside a nominal rule. The fields of `network` are small_fc's.
typedef struct ck_star {
  ck_small_fc network;
  float nominal_exp_multiplier, decay_exp_multiplier;
  float nominal_step, weight_decay;
  // The nominal direction: gradient * g + sum_j momentum[j] * M_j + q * sum_j normalised[j] * M_j.
  float gradient, momentum[3], normalised[3];
  bool nominal_controller, decay_controller;
  // Whether a tensor uses the mean of the output over its elements: magnitude, nominal's, decay's.
  bool aggregate[3];
  bool normalise, self_normalise;
} ck_star;

// The LSTM that Celo, Celo-Adam and VeLO share. Theta offsets, then those of its slots in the state.
typedef struct ck_celo_scheduler {
  int32_t lstm_hidden;
  int64_t mix_max_w, mix_max_b, mix_direct_w, mix_direct_b, gates_w, gates_b, step_size_w, step_size_b;
  int64_t hidden, cell, loss_means, loss_minima, loss_decays, loss_count;
} ck_celo_scheduler;

// The bank of per-parameter networks that the LSTM blends. Theta offsets.
typedef struct ck_bank {
  int32_t networks;
  float exp_multiplier, step_multiplier;
  int64_t w0[14], b0, w1, b1, w2, b2;
  int64_t controls_w, controls_b;
} ck_bank;

typedef struct ck_celo {
  ck_celo_scheduler scheduler;
  ck_bank bank;
  bool scheduled;  // false: the learning-rate multiplier is 1 (the first training phase)
} ck_celo;

// A tensor of Celo2. Its features are normalised over its last two axes, `rows` x `columns`; the axes before them are a
// batch of such matrices. A tensor of at most one axis is a single row.
typedef struct ck_celo2_tensor {
  ck_adafac_tensor slots;
  int64_t rows, columns;
  // Whether the factored axes are the last two: then a statistic's entry belongs to a row or column of one matrix.
  bool aligned;
  // Adam's instead: `momentum` and `rms` of `slots` hold the two moments, `count` floats each.
  bool adam;
} ck_celo2_tensor;

// Celo2. The offsets are those of the leaves in theta.
typedef struct ck_celo2 {
  int64_t w0[14], b0, w1, b1, w2, b2;
  float weight_decay, exp_multiplier;
  bool orthogonalize, bias_correction;
  float adam_multiplier;  // of the step size, for Adam's tensors
  float adam_beta1, adam_beta2;
} ck_celo2;

// Shampoo: how a gradient becomes the magnitude that its direction is grafted on.
enum { CK_GRAFT_PLAIN = 0, CK_GRAFT_SIGN = 1, CK_GRAFT_DIAGONAL = 2 };
typedef struct ck_graft {
  int32_t kind;
  float scale, keep, share, epsilon;  // of the diagonal kind: d = keep d + share (scale g)^2
} ck_graft;

// Shampoo's last pass.
typedef struct ck_shampoo_step {
  bool preconditioned;  // whether Shampoo's momentum leads, or still the graft's
  float shampoo_scale, graft_scale, weight_decay;
  float decay, share;  // momentum = decay momentum + share u
  float lead_scale, momentum_scale, rate;
} ck_shampoo_step;

typedef struct ck_velo {
  ck_celo_scheduler scheduler;  // whose `hidden` and `cell` have a row for each tensor
  ck_bank bank;
  float mixing;      // scale of the blended weights
  bool short_loss;   // all averages of the loss run over 10 updates, as old weights expect
  bool fixed_state;  // the LSTM starts every update from its first state, as old weights expect
} ck_velo;

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
  void (*star)(const ck_star *rule, const ck_adafac_tensor *tensors, int64_t tensor_count, float *parameters,
               const float *gradients, float *state, const float *theta, float *scratch, int64_t iteration);
  void (*celo)(const ck_celo *rule, const ck_adafac_tensor *tensors, int64_t tensor_count, float *parameters,
               const float *gradients, float *state, const float *theta, float *scratch, int64_t iteration,
               int64_t total_steps, float loss);
  // p -= step_size * (u + weight_decay * p), u of root mean square 1.
  void (*celo2)(const ck_celo2 *rule, const ck_celo2_tensor *tensors, int64_t tensor_count, float *parameters,
                const float *gradients, float *state, const float *theta, float *scratch, int64_t iteration,
                float step_size);
  // Passes of the optimizers that work with matrices; their formulas are in optimizer_matrix_rules.inc.h.
  void (*blend_momentum)(const float *g, float *m, float *x, int64_t n, float decay, float share, float m_scale,
                         float g_scale);
  void (*step_decayed)(float *p, const float *x, int64_t n, float scale, float decay);
  void (*nesterov_adam)(float *p, const float *g, float *m, float *v, int64_t n, float b1, float b2, float m_scale,
                        float g_scale, float v_scale, float epsilon, float rate, float decay);
  void (*rotated_adam)(const float *g, float *v, float *x, int64_t n, float decay, float share, float epsilon);
  double (*graft)(const ck_graft *graft, const float *g, float *d, float *f, int64_t n);
  void (*shampoo_step)(const ck_shampoo_step *k, float *p, const float *s, const float *f, float *a, float *b,
                       int64_t n);
  // AdaHessian; their formulas are in optimizer_hessian.inc.h.
  void (*scatter)(float *out, const float *x, int64_t n, uint64_t key, float size);
  void (*curvature)(float *above, const float *below, float *v, int64_t rows, int64_t columns, double scale, float b2,
                    float correction, float power, float epsilon);
  void (*divided_step)(float *p, const float *g, float *m, const float *divisor, int64_t rows, int64_t columns,
                       float b1, float rate, float kept);
  void (*velo)(const ck_velo *rule, const ck_adafac_tensor *tensors, int64_t tensor_count, float *parameters,
               const float *gradients, float *state, const float *theta, float *scratch, int64_t iteration,
               int64_t total_steps, float loss);
  void (*mlp_lopt)(const ck_mlp_lopt *rule, const ck_mlp_tensor *tensors, int64_t tensor_count, float *parameters,
                   const float *gradients, float *state, const float *theta, int64_t iteration);
  // Adam on `count` floats behind the scheduler; the corrections are 1/(1 - decay^k).
  void (*celo_adam)(const ck_celo_scheduler *scheduler, float *p, const float *g, float *m, float *v, int64_t count,
                    float *state, const float *theta, int64_t iteration, int64_t total_steps, float loss,
                    float m_correction, float v_correction);
  // scratch: tensor_count * (19 + 4 * lstm_hidden) floats.
  void (*nn_adam)(const ck_nn_adam *rule, const ck_nn_adam_tensor *tensors, int64_t tensor_count, float *parameters,
                  const float *gradients, float *state, const float *theta, float *scratch);
  // scratch: tensor_count * (inputs + 4 * lstm_hidden + CK_RNN_ROW_FLOATS) floats, where inputs is the two messages to
  // the LSTM and CK_RNN_STATISTICS. `train` and `valid` are the losses' features.
  void (*rnn_mlp)(const ck_rnn_mlp *rule, const ck_rnn_mlp_tensor *tensors, int64_t tensor_count, float *parameters,
                  const float *gradients, float *state, const float *theta, float *scratch, float iteration,
                  float train, float valid);
  // scratch: ck_optimus_scratch.
  void (*optimus)(const ck_optimus *rule, const ck_optimus_tensor *tensors, int64_t tensor_count,
                  const ck_optimus_block *blocks, int64_t block_count, float *parameters, const float *gradients,
                  float *state, const float *theta, float *scratch, int64_t iteration);
  double (*dot)(const float *x, const float *y, int64_t n);
  const ck_rules *rules;  // the hand-designed ones
} ck_optimizer;

// The kernels of `level` (CK_SCALAR, CK_AVX2, CK_AVX512), or NULL where this build has none for that level.
const ck_optimizer *ck_optimizer_table(int level);

// Floats of scratch memory that small_fc or star needs for these tensors.
int64_t ck_adafac_scratch(const ck_adafac_tensor *tensors, int64_t tensor_count, int32_t hidden);

// Floats of scratch memory that celo2 needs for these tensors.
int64_t ck_celo2_scratch(const ck_celo2_tensor *tensors, int64_t tensor_count, bool orthogonalize);

// The same for celo and velo.
int64_t ck_celo_scratch(const ck_celo *rule, const ck_adafac_tensor *tensors, int64_t tensor_count);
int64_t ck_velo_scratch(const ck_velo *rule, const ck_adafac_tensor *tensors, int64_t tensor_count);

// Floats of scratch memory that optimus needs for `count` parameters in blocks of at most `block`.
int64_t ck_optimus_scratch(int64_t count, int64_t block);
