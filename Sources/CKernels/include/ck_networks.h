// What the kernels of MLPLOpt, NN-Adam, RNN-MLP, Celo-Adam and Optimus are told: places of tensors, of their slots in
// the state and of the leaves in theta, all in floats. ck_optimizer.h has the functions.
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum {
  CK_MLP_DECAYS = 6,
  CK_RNN_DECAYS = 5,
  CK_RNN_TIMES = 11,
  // Optimus: its transformer's width, heads and encoders, and the width of the branch.
  CK_OPTIMUS_WIDTH = 128,
  CK_OPTIMUS_HEADS = 4,
  CK_OPTIMUS_ENCODERS = 3,
  CK_OPTIMUS_BRANCH = 64,
  // What RNN-MLP's LSTM is told of a tensor, messages aside.
  CK_RNN_STATISTICS = 18,
  // Scratch of RNN-MLP for each tensor beside the LSTM's: its normalisers and a norm.
  CK_RNN_ROW_FLOATS = 33,
  // Floats of each of RNN-MLP's messages, at most.
  CK_RNN_MESSAGE_MAX = 64,
};

// A tensor of MLPLOpt.
typedef struct ck_mlp_tensor {
  int64_t parameter;  // in parameters and gradients
  int64_t count;      // at least 1
  int64_t momentum;   // in the state: CK_MLP_DECAYS planes of `count`
} ck_mlp_tensor;

// MLPLOpt. Theta offsets.
typedef struct ck_mlp_lopt {
  int32_t hidden;  // 1 to CK_ADAFAC_HIDDEN_MAX
  float exp_multiplier;
  float step_multiplier;
  int64_t w0, b0, w1, b1, w2, b2;
} ck_mlp_lopt;

// A tensor of NN-Adam.
typedef struct ck_nn_adam_tensor {
  int64_t parameter;  // in parameters and gradients
  int64_t count;      // at least 1
  int64_t momentum, rms;  // in the state
  int32_t rank;
} ck_nn_adam_tensor;

// NN-Adam. The four constants stand in the order rate, beta1, beta2, epsilon.
typedef struct ck_nn_adam {
  int32_t lstm_hidden;
  float output_scale;
  float decay_strength;
  int64_t initial[4], gates_w, gates_b, controls_w, controls_b;  // in theta
  int64_t slots[4];      // in the state, of one float a tensor
  int64_t hidden, cell;  // in the state, a row a tensor
} ck_nn_adam;

// A tensor of RNN-MLP.
typedef struct ck_rnn_mlp_tensor {
  int64_t parameter;  // in parameters and gradients
  int64_t count;      // at least 1
  int64_t momentum, rms;  // in the state: CK_RNN_DECAYS planes of `count`
  float log_sizes[4];  // of its first four axes; 0 for axes that it lacks
  float log_count;
  bool is_scalar;  // no axes
} ck_rnn_mlp_tensor;

// RNN-MLP.
typedef struct ck_rnn_mlp {
  int32_t hidden;  // of the per-parameter network, 1 to CK_ADAFAC_HIDDEN_MAX
  int32_t lstm_hidden;
  // Floats of the messages from the network to its tensor's LSTM row, from all rows to all, from a row to the network;
  // each at most CK_RNN_MESSAGE_MAX.
  int32_t from_mlp_size, from_lstm_size, to_mlp_size;
  float exp_multiplier, step_multiplier;
  int64_t w0, b0, w1, b1, w2, b2, gates_w, gates_b, to_mlp_w, to_mlp_b, to_all_w, to_all_b;  // in theta
  int64_t from_lstm, clip_value, clip_count;  // in the state
  int64_t from_mlp, hidden_rows, cell_rows;   // in the state, a row a tensor
} ck_rnn_mlp;

// A tensor of Optimus.
typedef struct ck_optimus_tensor {
  int64_t parameter, count;
} ck_optimus_tensor;

// Neighbouring parameters of Optimus that share a preconditioner.
typedef struct ck_optimus_block {
  int64_t from, count;     // among all parameters, tensor after tensor
  int64_t preconditioner;  // in the state: [count, count]
} ck_optimus_block;

// One encoder of Optimus. Theta offsets.
typedef struct ck_optimus_encoder {
  int64_t attention_scale, attention_offset, mix_in_w, mix_in_b, mix_out_w, mix_out_b;
  int64_t network_scale, network_offset, w0, b0, w1, b1;
  int64_t update_scale, update_offset, update_w, update_b;
} ck_optimus_encoder;

// Optimus. Theta offsets, then those of the slots, whose planes have `count` floats each.
typedef struct ck_optimus {
  int64_t count;  // of all parameters
  float exp_multiplier, step_multiplier;
  int64_t embedding_w, embedding_b;
  ck_optimus_encoder encoders[CK_OPTIMUS_ENCODERS];
  int64_t w0, b0, w1, b1, w2, b2;  // of the branch
  int64_t momentum, rms, diagonal, gradient, move;
} ck_optimus;
