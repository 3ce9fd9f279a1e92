// Rules of one momentum or none: descent, heavy ball and Nesterov, signs, Lion.

// Gradient descent; also the second pass of measured rules that leave their direction in the gradients. 12 bytes.
OPT_RULE_0(descend, {  //
  p = p - vfma(K(decay), p, K(rate) * g);
})

// m = beta1 m + w with w = own g + l2 p; p = p - rate m - mix w - decay p. Heavy ball, Nesterov and NovoGrad; Adafactor's
// and LARS's momentum. 20 bytes.
OPT_RULE_1(momentum, m, {
  const vf w = vfma(K(own), g, K(l2) * p);
  m = vfma(K(beta1), m, w);
  p = p - vfma(K(decay), p, vfma(K(rate), m, K(mix) * w));
})

// 12 bytes.
OPT_RULE_0(sign, {  //
  p = p - vfma(K(decay), p, K(rate) * opt_sign(g));
})

// 20 bytes.
OPT_RULE_1(lion, m, {
  const vf c = opt_sign(vfma(K(beta1), m, K(rest1) * g));
  m = vfma(K(beta2), m, K(rest2) * g);
  p = p - vfma(K(decay), p, K(rate) * c);
})
