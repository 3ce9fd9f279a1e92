// The per-parameter network of MLPLOpt and RNN-MLP: two hidden layers on features that differ for each element. As in
// optimizer_network.inc.h no feature is stored: normalisers are folded into the first layer's weights, features that
// are constant over a tensor into its bias.

enum { CK_PERCEPTRON_INPUTS_MAX = 32 };

typedef struct {
  int inputs, hidden;
  int outputs;  // columns of w2; 0 is the direction, 1 the magnitude
  const float *w1, *b1, *w2, *b2;
  float exp_multiplier, step_multiplier;
  float w0[CK_PERCEPTRON_INPUTS_MAX * CK_ADAFAC_HIDDEN_MAX];
  float b0[CK_ADAFAC_HIDDEN_MAX];
} CK(opt_perceptron);

// out[k] = relu(bias[k] + sum over i of in[i] * w[i * stride + k]) for `count` neighbouring k: a block that stays in
// registers.
CK_INLINE void CK(opt_dense_block)(const int units, const int count, const vf (*in)[2], const int inputs,
                                   const float *w, const int stride, const float *bias, vf (*out)[2]) {
  vf acc[8][2];
  OPT_UNROLL for (int k = 0; k < count; k++)
    OPT_UNROLL for (int u = 0; u < units; u++) acc[k][u] = vset1(bias[k]);
  for (int i = 0; i < inputs; i++)
    OPT_UNROLL for (int k = 0; k < count; k++)
      OPT_UNROLL for (int u = 0; u < units; u++) acc[k][u] = vfma(in[i][u], vset1(w[i * stride + k]), acc[k][u]);
  OPT_UNROLL for (int k = 0; k < count; k++)
    OPT_UNROLL for (int u = 0; u < units; u++) out[k][u] = opt_relu(acc[k][u]);
}

// out = relu(bias + in w), w: [inputs, n].
CK_INLINE void CK(opt_dense)(const int units, const vf (*in)[2], const int inputs, const float *w, const float *bias,
                             const int n, vf (*out)[2]) {
  // Sixteen sums hide the latency of the additions where there are registers for them.
  enum { BLOCK = W == 16 ? 8 : 4 };
  int k = 0;
  for (; k + BLOCK <= n; k += BLOCK) CK(opt_dense_block)(units, BLOCK, in, inputs, w + k, n, bias + k, out + k);
  for (; k < n; k++) CK(opt_dense_block)(units, 1, in, inputs, w + k, n, bias + k, out + k);
}

// Runs the network on the features x of `units` vectors and moves their parameters; `second` gets the second hidden
// layer. Of a partial vector (then units is 1) the first n lanes count.
CK_INLINE void CK(opt_perceptron_move)(const int units, const bool part, const int n,
                                       const CK(opt_perceptron) * net, const vf (*x)[2], float *p, vf (*second)[2]) {
  vf first[CK_ADAFAC_HIDDEN_MAX][2];
  const int hidden = net->hidden;
  CK(opt_dense)(units, x, net->inputs, net->w0, net->b0, hidden, first);
  CK(opt_dense)(units, (const vf(*)[2])first, hidden, net->w1, net->b1, hidden, second);
  vf direction[2], magnitude[2];
  OPT_UNROLL for (int u = 0; u < units; u++) {
    direction[u] = vset1(net->b2[0]);
    magnitude[u] = vset1(net->b2[1]);
  }
  for (int k = 0; k < hidden; k++)
    OPT_UNROLL for (int u = 0; u < units; u++) {
      direction[u] = vfma(second[k][u], vset1(net->w2[k * net->outputs]), direction[u]);
      magnitude[u] = vfma(second[k][u], vset1(net->w2[k * net->outputs + 1]), magnitude[u]);
    }
  OPT_UNROLL for (int u = 0; u < units; u++) {
    const vf scale = opt_exp(magnitude[u] * net->exp_multiplier) * net->step_multiplier;
    opt_store(p + u * W, opt_load(p + u * W, part, n) - direction[u] * scale, part, n);
  }
}

// Folds `count` features' normalisers, 1/sqrt(1e-5 + mean square), into their rows of the first layer.
CK_INLINE void CK(opt_perceptron_fold)(CK(opt_perceptron) * net, const float *w0, const double *squares,
                                       const int count, double inverse_count) {
  float scale[CK_PERCEPTRON_INPUTS_MAX] = {0};
  CK(opt_normalisers)(squares, count, inverse_count, scale);
  for (int f = 0; f < count; f++)
    opt_scale_row(net->w0 + f * net->hidden, w0 + f * net->hidden, scale[f], net->hidden);
}
