// The kernels of the hand-designed rules, part of ck_optimizer.h's table; the rules are in optimizer_rules_*.inc.h.
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct ck_adafac_tensor;

// The constants of a hand-designed rule (optimizer_rules_*.inc.h), each meaning what the rule's formula there says; a
// rule ignores those it does not name.
typedef struct ck_rule {
  float rate;
  float decay;                 // the share of p that weight decay takes
  float l2;                    // times p, added to the gradient or the direction
  float beta1, beta2, beta3;   // decays of averages
  float rest1, rest2, rest3;   // 1 - beta
  float mix, own;              // shares of a moment and of the gradient in a step
  float blend;                 // what a rule says
  float correction;            // of the second moment's bias
  float epsilon, root;         // added to a root, and below it
} ck_rule;

// Elementwise rules, with the number of slots each keeps.
typedef enum ck_rule_kind {
  CK_RULE_DESCEND,                    // 0
  CK_RULE_MOMENTUM,                   // 1
  CK_RULE_SIGN,                       // 0
  CK_RULE_LION,                       // 1
  CK_RULE_ADAGRAD,                    // 1
  CK_RULE_ADADELTA,                   // 2
  CK_RULE_RMSPROP,                    // 1
  CK_RULE_RMSPROP_MOMENTUM,           // 2
  CK_RULE_RMSPROP_CENTERED,           // 2
  CK_RULE_RMSPROP_CENTERED_MOMENTUM,  // 3
  CK_RULE_ADAM,                       // 2
  CK_RULE_MOMENTS,                    // 2
  CK_RULE_AMSGRAD,                    // 3
  CK_RULE_ADABELIEF,                  // 2
  CK_RULE_YOGI,                       // 2
  CK_RULE_ADAMAX,                     // 2
  CK_RULE_ADAN,                       // 4
  CK_RULE_ADEMAMIX,                   // 3
  CK_RULE_SCHEDULE_FREE,              // 2
  CK_RULE_ALONG_MOMENTS,              // 2
  CK_RULE_COUNT,
} ck_rule_kind;

// Passes that make two sums of a tensor, and mostly change its slots.
typedef enum ck_measure_kind {
  CK_MEASURE_NORMS,
  CK_MEASURE_LAMB,
  CK_MEASURE_ADAFACTOR,
  CK_MEASURE_PRODIGY,
  CK_MEASURE_DADAPT,
  CK_MEASURE_COUNT,
} ck_measure_kind;

enum { CK_SM3_RANK_MAX = 16 };

// A tensor of SM3: its axes and where their accumulators lie in the state. The last of them is contiguous in memory, the
// others are in memory order.
typedef struct ck_sm3_tensor {
  int32_t rank;  // at least 1
  int64_t size[CK_SM3_RANK_MAX];
  int64_t accumulator[CK_SM3_RANK_MAX];
  int64_t momentum;
} ck_sm3_tensor;

typedef struct ck_rules {
  // An elementwise rule over n floats, a multiple of 16; slot j begins at state + j*stride.
  void (*elementwise[CK_RULE_COUNT])(float *p, const float *g, float *state, int64_t stride, int64_t n,
                                     const ck_rule *rule);
  // A measure over the n elements of one tensor; adds to sums[0] and sums[1].
  void (*measures[CK_MEASURE_COUNT])(float *p, float *g, float *state, int64_t stride, int64_t n, const ck_rule *rule,
                                     double *sums);
  void (*adafactor_factored)(const struct ck_adafac_tensor *tensor, const float *p, float *g, float *state,
                             float *scratch, const ck_rule *rule, double *sums);
  void (*sm3)(const ck_sm3_tensor *tensor, float *p, const float *g, float *state, float *scratch, const ck_rule *rule);
  void (*average)(float *out, const float *y, const float *z, int64_t n, const ck_rule *rule);
} ck_rules;

static inline void ck_rules_run(const ck_rules *rules, ck_rule_kind kind, float *p, const float *g, float *state,
                                int64_t stride, int64_t n, const ck_rule *rule) {
  rules->elementwise[kind](p, g, state, stride, n, rule);
}
static inline void ck_rules_measure(const ck_rules *rules, ck_measure_kind kind, float *p, float *g, float *state,
                                    int64_t stride, int64_t n, const ck_rule *rule, double *sums) {
  rules->measures[kind](p, g, state, stride, n, rule, sums);
}

// Floats of scratch memory that adafactor_factored needs for this tensor.
int64_t ck_adafactor_scratch(const struct ck_adafac_tensor *tensor);
