// Rules that divide by a root of squares and keep no bias-corrected mean: AdaGrad, Adadelta, RMSProp.

// 20 bytes.
OPT_RULE_1(adagrad, v, {
  v = vfma(g, g, v);
  p = p - K(rate) * opt_guarded_rsqrt(v, K(epsilon), g);
})

// 28 bytes.
OPT_RULE_2(adadelta, v, x, {
  v = vfma(K(beta1), v, K(rest1) * g * g);
  const vf u = vsqrt(x + K(epsilon)) / vsqrt(v + K(epsilon)) * g;
  x = vfma(K(beta1), x, K(rest1) * u * u);
  p = p - K(rate) * u;
})

// 20 bytes; 28 with momentum. The momentum is one of steps that are scaled already.
OPT_RULE_1(rmsprop, v, {
  v = vfma(K(beta2), v, K(rest2) * g * g);
  p = p - K(rate) * g / vsqrt(v + K(epsilon));
})
OPT_RULE_2(rmsprop_momentum, v, m, {
  v = vfma(K(beta2), v, K(rest2) * g * g);
  const vf w = K(rate) * g / vsqrt(v + K(epsilon));
  m = vfma(K(beta1), m, w);
  p = p - vfma(K(mix), m, K(own) * w);
})

// 28 bytes; 36 with momentum. The mean is written first in memory.
OPT_RULE_2(rmsprop_centered, c, v, {
  c = vfma(K(beta2), c, K(rest2) * g);
  v = vfma(K(beta2), v, K(rest2) * g * g);
  p = p - K(rate) * g / vsqrt(v - c * c + K(epsilon));
})
OPT_RULE_3(rmsprop_centered_momentum, c, v, m, {
  c = vfma(K(beta2), c, K(rest2) * g);
  v = vfma(K(beta2), v, K(rest2) * g * g);
  const vf w = K(rate) * g / vsqrt(v - c * c + K(epsilon));
  m = vfma(K(beta1), m, w);
  p = p - vfma(K(mix), m, K(own) * w);
})
