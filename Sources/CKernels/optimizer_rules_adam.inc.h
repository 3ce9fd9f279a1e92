// Adam and the rules made of its two moments. The constants hold the bias corrections and, where the rule says so, the
// learning rate: see each optimizer's file for its formula.

// The first moment's numerator is mix m + own g, `own` being Nesterov's share; both contain the rate. 28 bytes.
OPT_RULE_2(adam, m, v, {
  const vf d = vfma(K(l2), p, g);
  m = vfma(K(beta1), m, K(rest1) * d);
  v = vfma(K(beta2), v, K(rest2) * d * d);
  const vf root = vsqrt(vfma(v, K(correction), K(root)));
  p = p - vfma(K(decay), p, vfma(K(mix), m, K(own) * d) / (root + K(epsilon)));
})

// Adam's moments, the first of which is the step: RAdam's first steps. 28 bytes.
OPT_RULE_2(moments, m, v, {
  m = vfma(K(beta1), m, K(rest1) * g);
  v = vfma(K(beta2), v, K(rest2) * g * g);
  p = p - vfma(K(decay), p, K(rate) * m);
})

// 36 bytes.
OPT_RULE_3(amsgrad, m, v, s, {
  m = vfma(K(beta1), m, K(rest1) * g);
  v = vfma(K(beta2), v, K(rest2) * g * g);
  s = opt_at_least(s, v * K(correction));
  p = p - vfma(K(decay), p, K(rate) * m / (vsqrt(s + K(root)) + K(epsilon)));
})

// 28 bytes.
OPT_RULE_2(adabelief, m, s, {
  m = vfma(K(beta1), m, K(rest1) * g);
  const vf d = g - m;
  s = vfma(K(beta2), s, K(rest2) * d * d) + K(root);
  p = p - vfma(K(decay), p, K(rate) * m / (vsqrt(s * K(correction)) + K(epsilon)));
})

// 28 bytes.
OPT_RULE_2(yogi, m, v, {
  const vf square = g * g;
  m = vfma(K(beta1), m, K(rest1) * g);
  v = v - K(rest2) * opt_sign(v - square) * square;
  p = p - vfma(K(decay), p, K(rate) * m / (vsqrt(v * K(correction)) + K(epsilon)));
})

// 28 bytes.
OPT_RULE_2(adamax, m, u, {
  m = vfma(K(beta1), m, K(rest1) * g);
  u = opt_at_least(K(beta2) * u, vabs(g) + K(epsilon));
  p = p - vfma(K(decay), p, K(rate) * m / u);
})

// The last gradient is the fourth slot; `blend` is 0 at the first step, which has none, then 1. 44 bytes.
OPT_RULE_4(adan, m, d, v, last, {
  const vf change = K(blend) * (g - last);
  const vf ahead = vfma(K(rest2), change, g);
  last = g;
  m = vfma(K(beta1), m, K(rest1) * g);
  d = vfma(K(beta2), d, K(rest2) * change);
  v = vfma(K(beta3), v, K(rest3) * ahead * ahead);
  const vf root = vsqrt(vfma(v, K(correction), K(root)));
  p = p - vfma(K(decay), p, vfma(K(mix), m, K(own) * d) / (root + K(epsilon)));
})

// A fast mean, a slow one and the squares; mix and own contain the rate, `own` the slow mean's weight. 36 bytes.
OPT_RULE_3(ademamix, m, slow, v, {
  m = vfma(K(beta1), m, K(rest1) * g);
  slow = vfma(K(beta3), slow, K(rest3) * g);
  v = vfma(K(beta2), v, K(rest2) * g * g);
  const vf root = vsqrt(vfma(v, K(correction), K(root)));
  p = p - vfma(K(decay), p, vfma(K(mix), m, K(own) * slow) / (root + K(epsilon)));
})

// y is what the caller holds as parameters, z the base sequence; the average x = (y - rest1 z)/beta1 is in neither.
// beta3 is the weight of the new z in x, rest3 = 1 - beta3. 28 bytes.
OPT_RULE_2(schedule_free, z, v, {
  v = vfma(K(beta2), v, K(rest2) * g * g);
  const vf u = vfma(K(l2), p, g / (vsqrt(v * K(correction)) + K(epsilon)));
  const vf x = (p - K(rest1) * z) / K(beta1);
  z = z - K(rate) * u;
  p = vfma(K(beta1), vfma(K(rest3), x, K(beta3) * z), K(rest1) * z);
})

// p = p - rate m / (sqrt(v) + epsilon) - decay p with moments that are only read: Prodigy's second pass. 16 bytes.
static void CK(rule_along_moments)(float *parameters, const float *gradients, float *state, int64_t stride, int64_t n,
                                   const ck_rule *rule) {
  const ck_rule k = *rule;
  (void)gradients;
  for (int64_t i = 0; i < n; i += W) {
    const vf p = vload(parameters + i), m = vload(state + i), v = vload(state + stride + i);
    vstore(parameters + i, p - vfma(K(decay), p, K(rate) * m / (vsqrt(v) + K(epsilon))));
  }
}
