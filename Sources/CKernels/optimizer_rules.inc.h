// What the hand-designed rules share: the loop over flat memory, written once, so that a rule is its formula.
//
// An elementwise rule is one pass over parameters, gradients and slots that lie like them; its cost is the memory it
// moves, which each rule's comment counts in bytes a parameter. A measured rule needs a number of the whole tensor
// first: a measure is the pass that makes it (two sums, in double), and the update is an elementwise rule after it.

// In a body: one constant of the rule in all lanes.
#define K(field) vset1(k.field)

// A pass over n floats, a multiple of 16: memory is padded to whole vectors, and what lies in the padding is no number
// of anyone's. In the body p and g are this vector's parameters and gradients, and the slots have the names given; p
// and the slots are stored after it. A step is taken off p in one subtraction: where steps are as small as the last bit
// of p, two roundings a step would add up.
#define OPT_RULE_HEAD(name)                                                                                       \
  static void CK(rule_##name)(float *parameters, const float *gradients, float *state, int64_t stride, int64_t n, \
                              const ck_rule *rule) {                                                              \
    const ck_rule k = *rule;                                                                                      \
    (void)state, (void)stride, (void)k;                                                                           \
    _Pragma("clang loop unroll_count(2)") for (int64_t i = 0; i < n; i += W) {                                    \
      vf p = vload(parameters + i), g = vload(gradients + i);
#define OPT_RULE_TAIL           \
  vstore(parameters + i, p);    \
  }                             \
  }
#define OPT_SLOT(name, j) vf name = vload(state + (j) * stride + i);
#define OPT_SLOT_OUT(name, j) vstore(state + (j) * stride + i, name);
#define OPT_RULE_0(name, ...) \
  OPT_RULE_HEAD(name) { __VA_ARGS__ } OPT_RULE_TAIL
#define OPT_RULE_1(name, a, ...) \
  OPT_RULE_HEAD(name) OPT_SLOT(a, 0) { __VA_ARGS__ } OPT_SLOT_OUT(a, 0) OPT_RULE_TAIL
#define OPT_RULE_2(name, a, b, ...) \
  OPT_RULE_HEAD(name) OPT_SLOT(a, 0) OPT_SLOT(b, 1) { __VA_ARGS__ } OPT_SLOT_OUT(a, 0) OPT_SLOT_OUT(b, 1) OPT_RULE_TAIL
#define OPT_RULE_3(name, a, b, c, ...)                                                          \
  OPT_RULE_HEAD(name) OPT_SLOT(a, 0) OPT_SLOT(b, 1) OPT_SLOT(c, 2) { __VA_ARGS__ }              \
  OPT_SLOT_OUT(a, 0) OPT_SLOT_OUT(b, 1) OPT_SLOT_OUT(c, 2) OPT_RULE_TAIL
#define OPT_RULE_4(name, a, b, c, d, ...)                                                       \
  OPT_RULE_HEAD(name) OPT_SLOT(a, 0) OPT_SLOT(b, 1) OPT_SLOT(c, 2) OPT_SLOT(d, 3) { __VA_ARGS__ } \
  OPT_SLOT_OUT(a, 0) OPT_SLOT_OUT(b, 1) OPT_SLOT_OUT(c, 2) OPT_SLOT_OUT(d, 3) OPT_RULE_TAIL

// Floats whose sum is made in float before it joins the double one.
enum { OPT_SUM_BLOCK = 1024 };

// A measure of one tensor of n elements: CK(measured_<name>) is the body, with p and g, the first two slots s0 and s1
// where it asks for them, `lanes` of them real; it adds to a and b. What it stores, it stores itself.
#define OPT_MEASURE(name)                                                                                            \
  static void CK(measure_##name)(float *parameters, float *gradients, float *state, int64_t stride, int64_t n,       \
                                 const ck_rule *rule, double *sums) {                                                \
    const ck_rule k = *rule;                                                                                         \
    for (int64_t from = 0; from < n; from += OPT_SUM_BLOCK) {                                                        \
      const int64_t to = n - from < OPT_SUM_BLOCK ? n : from + OPT_SUM_BLOCK;                                        \
      vf a = {0}, b = {0};                                                                                           \
      int64_t i = from;                                                                                              \
      for (; i + W <= to; i += W)                                                                                    \
        CK(measured_##name)(parameters + i, gradients + i, state + i, stride, &k, false, W, &a, &b);                 \
      if (i < to)                                                                                                    \
        CK(measured_##name)(parameters + i, gradients + i, state + i, stride, &k, true, (int)(to - i), &a, &b);      \
      sums[0] += opt_sum(a);                                                                                         \
      sums[1] += opt_sum(b);                                                                                         \
    }                                                                                                                \
  }
#define OPT_MEASURED(name)                                                                                        \
  CK_INLINE void CK(measured_##name)(float *parameters, float *gradients, float *state, int64_t stride,           \
                                     const ck_rule *rule, const bool part, const int lanes, vf *a, vf *b)
// In a measure: the real lanes of a term of a sum, a load and a store of a slot.
#define OPT_REAL(x) (part ? opt_keep(x, lanes) : (x))
#define OPT_GET(j) opt_load(state + (j) * stride, part, lanes)
#define OPT_PUT(j, x) opt_store(state + (j) * stride, x, part, lanes)

CK_INLINE vf opt_choose(vi mask, vf a, vf b) { return (vf)((mask & (vi)a) | (~mask & (vi)b)); }
// -1, 0 or 1; NaN for NaN.
CK_INLINE vf opt_sign(vf x) {
  return (vf)(((vi)(x > 0.0f) & (vi)vset1(1.0f)) | ((vi)(x < 0.0f) & (vi)vset1(-1.0f)) | ((vi)(x != x) & (vi)x));
}
// g / sqrt(v + epsilon), and zero where v is.
CK_INLINE vf opt_guarded_rsqrt(vf v, vf epsilon, vf g) {
  return opt_choose((vi)(v <= 0.0f), (vf){0}, g / vsqrt(v + epsilon));
}
