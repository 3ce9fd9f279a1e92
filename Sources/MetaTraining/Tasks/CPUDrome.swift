// Fixed tasks: 25 that one core trains for 10,000 steps in minutes, under the published names where they are the published
// tasks, and the same on made data under names that begin with `synth_`.
import Compute
import Contract
import Foundation

/// The fixed evaluation tasks of the registry.
enum CPUDrome {
  /// Tasks on public data; each needs its set to be given.
  static let records = tasks(images: { $0 }, text: "lm1b_bytes", words: "lm1b_32k", prefix: "", tag: "cpu-drome")
  /// The same models on made data.
  static let synthetic = tasks(
    images: { ["cifar10": "synth_glyphs_rgb", "mnist": "synth_glyphs"][$0] ?? "synth_blobs" },
    text: "synth_text", words: "synth_text",
    prefix: "synth_", tag: "synth-drome")

  private static func tasks(
    images: (String) -> String, text: String, words: String, prefix: String, tag: String
  ) -> [TaskRecord] {
    func data(_ name: String, _ size: Int, _ batch: Int = 128, grey: Bool = false) -> JSON {
      var arguments: [String: JSON] = ["imageSize": .integer(size), "batch": .integer(batch)]
      if grey { arguments["grey"] = true }
      // Published splits keep a fifth of the training images for validation.
      if prefix.isEmpty { arguments["fraction"] = 0.8 }
      return TaskConfig(images(name), arguments).json
    }
    func widths(_ widths: [Int]) -> JSON { .array(widths.map(JSON.integer)) }
    func record(_ name: String, _ config: TaskConfig, _ loss: String, _ tags: Set<String>) -> TaskRecord {
      TaskRecord(prefix + name, .fixed(config), loss: loss, tags: tags.union([tag]))
    }
    func mlp(
      _ name: String, _ set: JSON, _ hidden: [Int], _ more: [String: JSON] = [:], loss: String = "ce"
    ) -> TaskRecord {
      let arguments: [String: JSON] = ["hidden": widths(hidden), "data": set]
      return record(
        "ImageMLP_\(name)", TaskConfig("ImageMLP", arguments.merging(more) { $1 }), loss, ["image", "mlp"])
    }
    func autoencoder(_ name: String, _ set: JSON, _ hidden: [Int]) -> TaskRecord {
      record(
        "ImageMLPAE_\(name)", TaskConfig("ImageMLP-AE", ["hidden": widths(hidden), "data": set]), "mse",
        ["image", "autoencoder"])
    }
    func conv(_ name: String, _ set: JSON, _ filters: [Int]) -> TaskRecord {
      record(
        "Conv_\(name)",
        TaskConfig("ImageConv", ["filters": widths(filters), "strides": [2], "data": set]), "ce", ["image", "conv"])
    }
    func evolved(_ name: String, _ set: JSON, _ hidden: [Int], pairs: Int) -> TaskRecord {
      let model = TaskConfig("ImageMLP", ["hidden": widths(hidden), "data": set])
      return record(
        "ESWrapped_\(pairs)pair_\(name)", Augmentation.evolved(deviation: 0.01, pairs: pairs).config(around: model),
        "ce", ["image", "mlp", "es"])
    }
    func rnn(_ name: String, _ cell: String) -> TaskRecord {
      record(
        "RNNLM_\(name)",
        TaskConfig(
          "LM-RNN",
          [
            "cell": .string(cell), "units": 128, "embedding": 64,
            "data": TaskConfig(text, ["length": 32, "batch": 128, "vocabulary": 259]).json,
          ]), "ce", ["text", "rnn"])
    }
    func transformer(_ index: Int, heads: Int, width: Int, layers: Int, batch: Int, length: Int) -> TaskRecord {
      var arguments: [String: JSON] = ["length": .integer(length), "batch": .integer(batch)]
      if words == "synth_text" { arguments["vocabulary"] = 10_000 }
      return record(
        "TransformerLM_LM1B_MultiRuntime_\(index)",
        TaskConfig(
          "LM-transformer",
          [
            "heads": .integer(heads), "width": .integer(width), "layers": .integer(layers),
            "data": TaskConfig(words, arguments).json,
          ]), "ce", ["text", "transformer"])
    }
    func optimizer(_ name: String, _ set: JSON, _ filters: [Int], steps: Int) -> TaskRecord {
      let model = TaskConfig("ImageConv", ["filters": widths(filters), "strides": [2], "data": set])
      return record(
        "LOpt_\(name)",
        TaskConfig(
          "LOpt", ["optimizer": "LearnableAdam", "steps": .integer(steps), "family": model.json]), "ce",
        ["image", "conv", "lopt"])
    }
    let fashion8 = data("fashion_mnist", 8), mnist = data("mnist", 28), cifar = data("cifar10", 32)
    let deep = [128, 128, 128]
    return [
      mlp("FashionMnist8_Relu32", fashion8, [32]),
      mlp("FashionMnist16_Relu32", data("fashion_mnist", 16), [32]),
      mlp("Cifar10BW8_Relu32", data("cifar10", 8, grey: true), [32]),
      mlp("Cifar10_8_Relu32", data("cifar10", 8), [32]),
      mlp("FashionMnist_Relu128x128", data("fashion_mnist", 28), [128, 128]),
      mlp("Mnist_128x128x128_Relu", mnist, deep), mlp("Cifar10_128x128x128_Relu", cifar, deep),
      mlp("Cifar10_128x128x128_Tanh_bs64", data("cifar10", 32, 64), deep, ["activation": "tanh"]),
      mlp("Cifar10_128x128x128_LayerNorm_Relu", cifar, deep, ["norm": "layer"]),
      mlp("Cifar10_128x128x128_BatchNorm_Relu", cifar, deep, ["norm": "batch"]),
      mlp("Cifar10_128x128x128_Relu_MSE", cifar, deep, ["mse": true], loss: "mse"),
      mlp("Cifar10_128x128_Dropout05_Relu_MSE", cifar, [128, 128], ["mse": true, "dropout": 0.5], loss: "mse"),
      autoencoder("Mnist_128x32x128_bs128", mnist, [128, 32, 128]),
      autoencoder("FashionMnist_128x32x128_bs128", data("fashion_mnist", 28), [128, 32, 128]),
      autoencoder("Cifar10_32x32x32_bs128", cifar, [32, 32, 32]),
      conv("Cifar10_8_16x32", data("cifar10", 8), [16, 32]),
      conv("Cifar10_16_32x64x64", data("cifar10", 16), [32, 64, 64]),
      evolved("FashionMnist8_Relu32", fashion8, [32], pairs: 1), evolved("Mnist_128x128x128", mnist, deep, pairs: 8),
      rnn("lm1bbytes_Patch32_LSTM128_Embed64", "lstm"), rnn("lm1bbytes_Patch32_GRU128_Embed64", "gru"),
      rnn("lm1bbytes_Patch32_VanillaRNN128_Embed64", "vanilla"),
      transformer(2, heads: 4, width: 32, layers: 2, batch: 8, length: 8),
      transformer(5, heads: 4, width: 32, layers: 1, batch: 8, length: 32),
      optimizer("LearnableAdam_Cifar10_8_50", data("cifar10", 8), [16, 32], steps: 50),
    ]
  }
}
