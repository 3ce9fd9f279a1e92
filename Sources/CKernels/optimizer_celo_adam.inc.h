// Celo-Adam (Moudgil et al. 2025, arXiv 2501.12670): Celo's scheduler before Adam, in place of the per-parameter
// network. One pass over flat memory.

CK_INLINE void CK(opt_celo_adam_step)(float *p, const float *g, float *m, float *v, vf rate, vf correction,
                                      const bool part, const int n) {
  const vf gi = CK(opt_gradient)(g, true, part, n);
  const vf m1 = vfma(vset1(0.9f), opt_load(m, part, n), vset1(1.0f - 0.9f) * gi);
  const vf v1 = vfma(vset1(0.999f), opt_load(v, part, n), vset1(1.0f - 0.999f) * (gi * gi));
  opt_store(m, m1, part, n);
  opt_store(v, v1, part, n);
  const vf root = vsqrt(vfma(v1, correction, vset1(1e-10f)));
  opt_store(p, opt_load(p, part, n) - rate * m1 / (root + 1e-8f), part, n);
}

// `m_correction` and `v_correction` are 1/(1 - decay^k) after k updates, this one included.
static void CK(opt_celo_adam)(const ck_celo_scheduler *scheduler, float *p, const float *g, float *m, float *v,
                              int64_t count, float *state, const float *theta, int64_t iteration,
                              int64_t total_steps, float loss, float m_correction, float v_correction) {
  const float multiplier = CK(opt_celo_schedule)(scheduler, state, theta, iteration, total_steps, loss);
  const vf rate = vset1(multiplier * 0.001f * m_correction), correction = vset1(v_correction);
  int64_t i = 0;
  for (; i + 2 * W <= count; i += 2 * W) {
    CK(opt_celo_adam_step)(p + i, g + i, m + i, v + i, rate, correction, false, W);
    CK(opt_celo_adam_step)(p + i + W, g + i + W, m + i + W, v + i + W, rate, correction, false, W);
  }
  for (; i + W <= count; i += W)
    CK(opt_celo_adam_step)(p + i, g + i, m + i, v + i, rate, correction, false, W);
  if (i < count) CK(opt_celo_adam_step)(p + i, g + i, m + i, v + i, rate, correction, true, (int)(count - i));
}
