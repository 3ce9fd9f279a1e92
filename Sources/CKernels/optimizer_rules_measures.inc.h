// The measured rules' first passes: norms, LAMB, Adafactor without factors, Prodigy, D-Adaptation.

// Sums of p^2 and of (g + l2 p)^2: LARS, Fromage, NovoGrad, and the parameters' size for Adafactor. 8 bytes.
OPT_MEASURED(norms) {
  (void)state, (void)stride;
  const ck_rule k = *rule;
  const vf p = opt_load(parameters, part, lanes);
  const vf u = vfma(K(l2), p, opt_load(gradients, part, lanes));
  *a = vfma(p, p, *a);
  *b = vfma(u, u, *b);
}
OPT_MEASURE(norms)

// Adam's direction with decay takes the gradients' place; sums of p^2 and of its squares. 28 bytes, then `descend`'s 12.
OPT_MEASURED(lamb) {
  const ck_rule k = *rule;
  const vf p = opt_load(parameters, part, lanes), g = opt_load(gradients, part, lanes);
  const vf m = vfma(K(beta1), OPT_GET(0), K(rest1) * g);
  const vf v = vfma(K(beta2), OPT_GET(1), K(rest2) * g * g);
  OPT_PUT(0, m);
  OPT_PUT(1, v);
  const vf u = vfma(K(l2), p, K(mix) * m / (vsqrt(vfma(v, K(correction), K(root))) + K(epsilon)));
  opt_store(gradients, u, part, lanes);
  const vf real = OPT_REAL(u);
  *a = vfma(p, p, *a);
  *b = vfma(real, real, *b);
}
OPT_MEASURE(lamb)

// The gradient over its root mean square takes the gradient's place; sums of p^2 and of its squares. The state is the
// tensor's own. 20 bytes, then `descend`'s 12 or `momentum`'s 20.
OPT_MEASURED(adafactor) {
  (void)stride;
  const ck_rule k = *rule;
  const vf p = opt_load(parameters, part, lanes), g = opt_load(gradients, part, lanes);
  const vf v = vfma(K(beta2), OPT_GET(0), K(rest2) * vfma(g, g, K(epsilon)));
  OPT_PUT(0, v);
  const vf u = g / vsqrt(v);
  opt_store(gradients, u, part, lanes);
  const vf real = OPT_REAL(u);
  *a = vfma(p, p, *a);
  *b = vfma(real, real, *b);
}
OPT_MEASURE(adafactor)

// Slots m, v, s and the first parameters. `mix` is d, `own` the weight of g in s. Sums of g (p_0 - p) and of |s|.
// 36 bytes, then `along_moments`' 16.
OPT_MEASURED(prodigy) {
  const ck_rule k = *rule;
  const vf p = opt_load(parameters, part, lanes), g = opt_load(gradients, part, lanes);
  const vf d = K(mix) * g;
  const vf s = vfma(K(beta3), OPT_GET(2), K(own) * g);
  OPT_PUT(0, vfma(K(beta1), OPT_GET(0), K(rest1) * d));
  OPT_PUT(1, vfma(K(beta2), OPT_GET(1), K(rest2) * d * d));
  OPT_PUT(2, s);
  *a = vfma(g, OPT_GET(3) - p, *a);
  *b += vabs(s);
}
OPT_MEASURE(prodigy)

// Slots m, v and s. `rate` is d times the learning rate with Adam's corrections. Sums of g s / (sqrt(v) + epsilon) of the
// old slots and of the new |s|; the step does not depend on them. 36 bytes.
OPT_MEASURED(dadapt) {
  const ck_rule k = *rule;
  const vf p = opt_load(parameters, part, lanes), g = opt_load(gradients, part, lanes);
  const vf along = g * OPT_GET(2) / (vsqrt(OPT_GET(1)) + K(epsilon));
  *a += OPT_REAL(along);
  const vf step = K(rate) * g;
  const vf m = vfma(K(beta1), OPT_GET(0), K(rest1) * step);
  const vf v = vfma(K(beta2), OPT_GET(1), K(rest2) * g * g);
  const vf s = vfma(K(beta3), OPT_GET(2), K(rest3) * step);
  OPT_PUT(0, m);
  OPT_PUT(1, v);
  OPT_PUT(2, s);
  *b += vabs(s);
  opt_store(parameters, p - vfma(K(decay), p, m / (vsqrt(v) + K(epsilon))), part, lanes);
}
OPT_MEASURE(dadapt)
