// The bank of per-parameter networks of Celo and VeLO: blending by the LSTM's controls, and a tensor's update by the
// network that comes out.

// Controls and blended networks of some rows. ck_bank_rows (optimizer.h) sizes their memory.
typedef struct {
  float *controls;  // networks
  float *network;   // CK_BANK_NETWORK
} CK(opt_networks);

static CK(opt_networks) CK(opt_carve_networks)(int64_t rows, float *scratch) {
  return (CK(opt_networks)){scratch + rows * CK_BANK_NETWORK, scratch};
}

// Where a blended network's parts lie in CK_BANK_NETWORK floats.
enum { OPT_AT_B0 = 0, OPT_AT_B1 = 4, OPT_AT_B2 = 8, OPT_AT_W0 = 12, OPT_AT_W1 = 132, OPT_AT_W2 = 148 };
// The 14 groups of features of the published weights: where each stands among the network's features, and its size.
static const int CK(opt_group)[14] = {F_G,  F_CLIP, F_P,   F_M,   F_V,    F_MQ,   F_Q,
                                      F_FG, F_GQ,   F_ROW, F_COL, F_RROW, F_RCOL, F_MF};
static const int CK(opt_group_size)[14] = {1, 1, 1, 3, 1, 3, 1, 3, 1, 3, 3, 3, 3, 3};

// network = controls x bank, for all rows; without controls, row 0 becomes the bank's only network.
static void CK(opt_blend_bank)(const ck_bank *bank, const CK(opt_networks) * to, int64_t rows, bool controlled,
                               const float *theta) {
  int64_t leaf[19], at[19], size[19];
  int64_t next = OPT_AT_W0;
  for (int q = 0; q < 14; q++) {
    leaf[q] = bank->w0[q];
    at[q] = next;
    size[q] = 4 * CK(opt_group_size)[q];
    next += size[q];
  }
  const int64_t rest[5][3] = {{bank->b0, OPT_AT_B0, 4},
                              {bank->b1, OPT_AT_B1, 4},
                              {bank->b2, OPT_AT_B2, 3},
                              {bank->w1, OPT_AT_W1, 16},
                              {bank->w2, OPT_AT_W2, 12}};
  for (int q = 0; q < 5; q++) {
    leaf[14 + q] = rest[q][0];
    at[14 + q] = rest[q][1];
    size[14 + q] = rest[q][2];
  }
  if (!controlled) {
    for (int q = 0; q < 19; q++) memcpy(to->network + at[q], theta + leaf[q], (size_t)size[q] * 4);
    return;
  }
  const int64_t networks = bank->networks;
  memset(to->network, 0, (size_t)(rows * CK_BANK_NETWORK) * 4);
  for (int q = 0; q < 19; q++)
    CK(opt_product)(rows, size[q], networks, to->controls, networks, theta + leaf[q], size[q], to->network + at[q],
                    CK_BANK_NETWORK);
}

// The rule of one row's network.
static CK(opt_rule) CK(opt_bank_rule)(const ck_bank *bank, const float *network, float multiplier) {
  static const float decays[3] = {0.9f, 0.99f, 0.999f};
  CK(opt_rule) rule;
  rule.hidden = 4;
  rule.outputs = 3;
  rule.exp_multiplier = bank->exp_multiplier;
  rule.step_multiplier = bank->step_multiplier * multiplier;
  rule.scale_by_parameters = true;
  const float *w0 = network + OPT_AT_W0;
  for (int q = 0; q < 14; q++)
    for (int c = 0; c < CK(opt_group_size)[q]; c++, w0 += 4) rule.w0[CK(opt_group)[q] + c] = w0;
  memcpy(rule.b0, network + OPT_AT_B0, 4 * sizeof(float));
  rule.w1 = network + OPT_AT_W1;
  rule.b1 = network + OPT_AT_B1;
  rule.w2 = network + OPT_AT_W2;
  rule.b2 = network + OPT_AT_B2;
  for (int j = 0; j < 3; j++) {
    rule.momentum[j] = rule.factored[j] = decays[j];
    rule.momentum_rest[j] = rule.factored_rest[j] = 1.0f - decays[j];
  }
  rule.rms = 0.999f;
  rule.rms_rest = 1.0f - 0.999f;
  return rule;
}

static void CK(opt_update_banked)(const CK(opt_rule) * rule, const ck_adafac_tensor *t, float *parameters,
                                 const float *gradients, float *state, float *scratch) {
  CK(opt_update_tensor)(OPT_CELO, true, rule, 0, t, parameters, gradients, state, scratch);
}
