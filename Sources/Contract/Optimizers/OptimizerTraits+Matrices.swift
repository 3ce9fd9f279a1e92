// What is known of the hand-designed optimizers that work with matrices; OptimizerTraits lists them. Prices lie between
// those measured on matrices of 158 and of 512 columns, as they grow with the matrix; M-FAC's is what reading 1024
// gradients twice takes.

extension OptimizerTraits {
  static var muon: OptimizerTraits {
    .rule(
      OptimizerOption.rate(0.01) + [
        .decay("beta", 0.95, aliases: ["momentum"], "decay of the momentum"),
        .flag("nesterov", true, "whether the newest gradient counts once more"),
        OptimizerOption(
          "iterations", aliases: ["ns_steps"], kind: .integer(1...50, default: 5), "steps of the orthogonalization"),
        .epsilon(1e-8),
        .amount("weight_decay", 0, "pull of matrices towards zero, times the rate"),
        .amount(
          "consistent_rms", 0, "root mean square of a matrix's step at rate 1; 0 scales steps by the matrix's shape"),
        OptimizerOption(
          "adam_for", kind: .text(default: "embed,head"), "words, parted by commas: tensors named so get Adam"),
        .decay("adam_beta1", 0.9, aliases: ["adam_b1"], "Adam's decay of the first moment"),
        .decay("adam_beta2", 0.999, aliases: ["adam_b2"], "Adam's decay of the second moment"),
        .amount("adam_multiplier", 1, "Adam's rate over the learning rate"),
      ], state: 1, flops: 9000, perTensor: 20_000)
  }

  static var shampoo: OptimizerTraits {
    .rule(
      OptimizerOption.rate(0.01) + [
        .share("beta1", 0.9, aliases: ["b1"], "decay of the momenta"),
        .share("beta2", 0.999, aliases: ["b2"], "decay of the statistics; 1 adds them up"),
        OptimizerOption("block_size", kind: .integer(8...1024, default: 128), "longest side of a preconditioner"),
        .flag(
          "merge_axes", true, aliases: ["best_effort_shape_interpretation"], "whether neighbouring short axes are one"),
        OptimizerOption(
          "merge_max", aliases: ["merge_small_dims_block_size"], kind: .integer(1...1_000_000, default: 4096),
          "longest axis that merging makes; block_size is much cheaper for small matrices"),
        OptimizerOption(
          "size_max", aliases: ["skip_preconditioning_dim_size_gt"], kind: .integer(1...1_000_000_000, default: 4096),
          "tensors with a longer axis are not preconditioned"),
        .amount("diagonal_epsilon", 1e-10, "keeps the graft's division finite"),
        .amount("matrix_epsilon", 1e-6, "added to a statistic, as a share of its largest eigenvalue"),
        .amount("weight_decay", 0, "pull of the weights towards zero, before momentum"),
        OptimizerOption(
          "start_step", aliases: ["start_preconditioning_step"], kind: .integer(0...1_000_000_000, default: 5),
          "updates by the graft alone at the start"),
        OptimizerOption(
          "refresh_steps", aliases: ["preconditioning_compute_steps"], kind: .integer(1...1_000_000, default: 1),
          "updates from one set of inverse roots to the next"),
        OptimizerOption(
          "statistics_steps", aliases: ["statistics_compute_steps"], kind: .integer(1...1_000_000, default: 1),
          "updates from one gradient in the statistics to the next"),
        OptimizerOption(
          "graft", aliases: ["graft_type"],
          kind: .choice(
            ["sgd", "adagrad", "rmsprop", "adagrad_normalized", "rmsprop_normalized", "sqrt_n"], default: "sgd"),
          "the method whose steps' lengths are taken"),
        .amount(
          "graft_clip", 0, aliases: ["clip_by_scaled_gradient_norm"], "bound on an RMSProp graft's root mean square"),
        .flag("nesterov", true, "whether the newest update counts once more"),
        .flag("average_momentum", false, aliases: ["moving_average_for_momentum"], "momenta as averages, not sums"),
        OptimizerOption(
          "exponent", aliases: ["exponent_override"], kind: .integer(0...64, default: 0),
          "order of the inverse roots; 0 for twice the number of axes"),
      ], state: 7, flops: 50_000, perTensor: 200_000)
  }

  static var soap: OptimizerTraits {
    .rule(
      OptimizerOption.rate(3e-3) + OptimizerOption.betas(0.95, 0.95) + [
        OptimizerOption(
          "shampoo_beta", kind: .number(-1...1, default: -1),
          "decay of the statistics; -1 for that of the second moment"),
        .epsilon(1e-8),
        .amount("weight_decay", 0.01, "pull of the weights towards zero, times the rate"),
        OptimizerOption(
          "refresh_steps", aliases: ["precondition_frequency"], kind: .integer(1...1_000_000, default: 10),
          "updates from one turn of the bases to the next"),
        OptimizerOption(
          "size_max", aliases: ["max_precond_dim"], kind: .integer(1...10_000, default: 2048),
          "longer axes are not rotated; the published 10,000 takes minutes"),
        .flag("rotate_vectors", false, aliases: ["precondition_1d"], "whether tensors of one axis are rotated too"),
      ], state: 6, flops: 8000, perTensor: 100_000)
  }

  static var mfac: OptimizerTraits {
    OptimizerTraits(
      isLearned: false,
      options: OptimizerOption.rate(1e-3) + [
        OptimizerOption(
          "gradients", aliases: ["m", "num_grads"], kind: .integer(1...1024, default: 1024),
          "gradients kept, each as long as the model"),
        OptimizerOption(
          "damping", aliases: ["damp"], kind: .number(1e-12...1e12, default: 1e-5), "added to the Fisher matrix"),
        .share("momentum", 0, "decay of the averaged steps"),
        OptimizerOption(
          "graft_steps", kind: .integer(0...1_000_000_000, default: 0),
          "first updates that are as long as their gradient"),
      ],
      // The products of all pairs of gradients are as much as this for a model of 2^16 parameters.
      stateFloatsPerParameter: { settings in
        let gradients = settings.integer("gradients")
        return gradients + gradients * gradients / 65_536 + (settings.number("momentum") > 0 ? 1 : 0)
      },
      updateFlops: (100_000, 100_000), parametersMax: nil)
  }
}
