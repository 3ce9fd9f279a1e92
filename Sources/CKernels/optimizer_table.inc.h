// Assembles one level of the optimizer kernels; included last by optimizer_<level>.c.
#include "vector.inc.h"
#include "compute_vector.inc.h"
#include "compute_math.inc.h"
#include "compute_gemm.inc.h"
#include "optimizer_math.inc.h"
#include "optimizer_simple.inc.h"
#include "optimizer_prepare.inc.h"
#include "optimizer_factored.inc.h"
#include "optimizer_network.inc.h"
#include "optimizer_adafac.inc.h"
#include "optimizer_tensor.inc.h"
#include "optimizer_small_fc.inc.h"
#include "optimizer_recurrence.inc.h"
#include "optimizer_bank.inc.h"
#include "optimizer_celo.inc.h"
#include "optimizer_velo.inc.h"
#include "optimizer_celo2_network.inc.h"
#include "optimizer_celo2.inc.h"
#include "optimizer_matrix_rules.inc.h"
#include "optimizer_hessian.inc.h"
#include "optimizer_rules.inc.h"
#include "optimizer_rules_momentum.inc.h"
#include "optimizer_rules_adaptive.inc.h"
#include "optimizer_rules_adam.inc.h"
#include "optimizer_rules_measures.inc.h"
#include "optimizer_rules_factored.inc.h"
#include "optimizer_rules_table.inc.h"
#include "optimizer_perceptron.inc.h"
#include "optimizer_mlp_lopt.inc.h"
#include "optimizer_celo_adam.inc.h"
#include "optimizer_lstm.inc.h"
#include "optimizer_nn_adam.inc.h"
#include "optimizer_rnn_mlp.inc.h"
#include "optimizer_optimus.inc.h"

const ck_optimizer CK(ck_optimizer_kernels) = {
    .sgd = CK(opt_sgd),
    .momentum = CK(opt_momentum),
    .adam = CK(opt_adam),
    .squares = CK(opt_squares),
    .are_finite = CK(opt_are_finite),
    .clamp = CK(opt_clamp_all),
    .blend = CK(opt_blend),
    .small_fc = CK(opt_small_fc),
    .star = CK(opt_star),
    .celo = CK(opt_celo),
    .velo = CK(opt_velo),
    .celo2 = CK(opt_celo2),
    .blend_momentum = CK(opt_blend_momentum),
    .step_decayed = CK(opt_step_decayed),
    .nesterov_adam = CK(opt_nesterov_adam),
    .rotated_adam = CK(opt_rotated_adam),
    .graft = CK(opt_graft),
    .shampoo_step = CK(opt_shampoo_step),
    .scatter = CK(opt_scatter),
    .curvature = CK(opt_curvature),
    .divided_step = CK(opt_divided_step),
    .dot = CK(opt_dot),
    .rules = &CK(opt_rules),
    .mlp_lopt = CK(opt_mlp_lopt),
    .celo_adam = CK(opt_celo_adam),
    .nn_adam = CK(opt_nn_adam),
    .rnn_mlp = CK(opt_rnn_mlp),
    .optimus = CK(opt_optimus),
};
