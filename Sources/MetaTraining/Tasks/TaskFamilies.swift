// The parametric families (Metz et al. 2022, arXiv 2211.09760): what is drawn once for shapes, and anew for each training.
// TaskMixes draws among them and wraps them in augmentations.
import Compute
import Contract
import Foundation

/// The families over one choice of data.
struct TaskFamilies: Sendable {
  /// Before each family's name; `synth_` for made data.
  let prefix: String
  let images: [String]
  let texts: [String]

  /// The published choice of data; a task of it needs that set to be given.
  static let published = TaskFamilies(
    prefix: "", images: ["cifar100", "cifar10", "fashion_mnist", "imagenet16", "mnist"],
    texts: ["lm1b_bytes", "lm1b_32k", "wikipedia_bytes", "wikipedia_32k"])
  /// Made data, always there.
  static let synthetic = TaskFamilies(
    prefix: "synth_", images: SyntheticImages.names, texts: [TaskDataSets.syntheticText])

  /// All families by name.
  var all: [(name: String, tags: Set<String>, loss: String, family: TaskFamily)] {
    [
      ("ImageMLP", ["image", "mlp"], "ce", mlp(isReduced: false)),
      ("ImageMLP-fraction", ["image", "mlp"], "ce", mlp(isReduced: true)),
      ("ImageConv", ["image", "conv"], "ce", conv), ("ImageMLP-AE", ["image", "autoencoder"], "mse", autoencoder),
      ("ImageMLP-VAE", ["image", "vae"], "elbo", variational), ("ImageResNet", ["image", "resnet"], "ce", resnet),
      ("ViT", ["image", "vit"], "ce", vit), ("LM-RNN", ["text", "rnn"], "ce", rnn),
      ("LM-transformer", ["text", "transformer"], "ce", transformer),
    ]
  }

  var records: [TaskRecord] {
    all.map { TaskRecord(prefix + $0.name, .family($0.family), loss: $0.loss, tags: $0.tags.union(["family"])) }
  }

  // MARK: Dynamic draws

  /// One of twelve entries, of which relu and silu are two each.
  static func activation(_ draw: inout Draw) -> [String: JSON] {
    let names = [
      "relu", "relu", "relu6", "selu", "tanh", "cos", "sin", "sigmoid", "silu", "silu", "gelu", "leaky_relu",
    ]
    let name = draw.choice(names)
    return name == "leaky_relu" ? ["activation": .string(name), "slope": -0.5] : ["activation": .string(name)]
  }

  /// One of five rules, two of them the same, with a scale from 0.5 to 2.
  static func initial(_ draw: inout Draw) -> JSON {
    let rule = draw.choice(["orthogonal", "uniform", "normal", "normal", "uniform_variance"])
    return ["rule": .string(rule), "scale": .number(draw.uniform(0.5, 2))]
  }

  // MARK: Families

  private func image(_ draw: inout Draw, sizes: (Int, Int), batches: (Int, Int)) -> [String: JSON] {
    let name = draw.choice(images)
    let size = draw.logInt(sizes.0, sizes.1)
    let batch = draw.logInt(batches.0, batches.1)
    return ["data": TaskConfig(name, ["imageSize": .integer(size), "batch": .integer(batch)]).json]
  }

  private var imageRanges: String { "one of \(images.joined(separator: ", "))" }

  private func mlp(isReduced: Bool) -> TaskFamily {
    var ranges = [
      "hidden": "0 to 4 layers of log-int 8 to 128", "data": imageRanges, "imageSize": "log-int 4 to 32",
      "batch": "log-int 4 to 512", "activation": "12 entries", "init": "5 rules, scale 0.5 to 2",
    ]
    if isReduced { ranges["fraction"] = "with probability 0.2 uniform to 1" }
    return TaskFamily(ranges: ranges) { shapes, dynamic in
      var fixed = Draw(shapes), free = Draw(dynamic)
      let width = fixed.logInt(8, 128), layers = fixed.choice([0, 1, 2, 3, 4])
      var arguments = image(&fixed, sizes: (4, 32), batches: (4, 512))
      if isReduced, fixed.coin(0.2), case .object(var data)? = arguments["data"],
        case .object(var members)? = data["args"], data["obj"] != "imagenet16"
      {
        members["fraction"] = .number(max(1e-3, fixed.uniform()))
        data["args"] = .object(members)
        arguments["data"] = .object(data)
      }
      arguments["hidden"] = .array([JSON](repeating: .integer(width), count: layers))
      arguments["init"] = Self.initial(&free)
      arguments["familyNormalizer"] = true
      return TaskConfig("ImageMLP", arguments.merging(Self.activation(&free)) { $1 })
    }
  }

  private var conv: TaskFamily {
    TaskFamily(ranges: [
      "filters": "0 to 3 layers of log-int 4 to 64", "strides": "the first 0 to 2 layers by 2", "data": imageRanges,
      "imageSize": "log-int 4 to 32", "batch": "log-int 4 to 512", "activation": "12 entries",
      "init": "5 rules, scale 0.5 to 2",
    ]) { shapes, dynamic in
      var fixed = Draw(shapes), free = Draw(dynamic)
      let width = fixed.logInt(4, 64), layers = fixed.choice([0, 1, 2, 3]), strided = fixed.choice([0, 1, 2])
      var arguments = image(&fixed, sizes: (4, 32), batches: (4, 512))
      arguments["filters"] = .array([JSON](repeating: .integer(width), count: layers))
      arguments["strides"] = .array((0..<layers).map { .integer($0 < strided ? 2 : 1) })
      arguments["init"] = Self.initial(&free)
      arguments["familyNormalizer"] = true
      return TaskConfig("ImageConv", arguments.merging(Self.activation(&free)) { $1 })
    }
  }

  private var autoencoder: TaskFamily {
    TaskFamily(ranges: [
      "hidden": "0 to 4 layers of log-int 8 to 128", "data": imageRanges, "imageSize": "log-int 4 to 32",
      "batch": "log-int 4 to 512", "activation": "12 entries", "init": "5 rules, scale 0.5 to 2",
      "logLoss": "coin", "center": "coin", "constrain": "coin",
    ]) { shapes, dynamic in
      var fixed = Draw(shapes), free = Draw(dynamic)
      let width = fixed.logInt(8, 128), layers = fixed.choice([0, 1, 2, 3, 4])
      var arguments = image(&fixed, sizes: (4, 32), batches: (4, 512))
      arguments["hidden"] = .array([JSON](repeating: .integer(width), count: layers))
      arguments["init"] = Self.initial(&free)
      arguments["familyNormalizer"] = true
      for coin in ["logLoss", "center", "constrain"] { arguments[coin] = .bool(free.coin()) }
      return TaskConfig("ImageMLP-AE", arguments.merging(Self.activation(&free)) { $1 })
    }
  }

  private var variational: TaskFamily {
    TaskFamily(ranges: [
      "encoder": "0 to 4 layers of log-int 4 to 128", "decoder": "0 to 4 layers of log-int 4 to 128",
      "latent": "log-int 2 to 128", "data": imageRanges, "imageSize": "log-int 4 to 32", "batch": "log-int 4 to 512",
      "activation": "12 entries", "init": "5 rules, scale 0.5 to 2", "center": "coin", "perDimension": "coin",
    ]) { shapes, dynamic in
      var fixed = Draw(shapes), free = Draw(dynamic)
      let encoder = fixed.logInt(4, 128), decoder = fixed.logInt(4, 128)
      let depths = (fixed.choice([0, 1, 2, 3, 4]), fixed.choice([0, 1, 2, 3, 4]))
      let latent = fixed.logInt(2, 128)
      var arguments = image(&fixed, sizes: (4, 32), batches: (4, 512))
      arguments["encoder"] = .array([JSON](repeating: .integer(encoder), count: depths.0))
      arguments["decoder"] = .array([JSON](repeating: .integer(decoder), count: depths.1))
      arguments["latent"] = .integer(latent)
      arguments["init"] = Self.initial(&free)
      for coin in ["center", "perDimension"] { arguments[coin] = .bool(free.coin()) }
      return TaskConfig("ImageMLP-VAE", arguments.merging(Self.activation(&free)) { $1 })
    }
  }

  private var resnet: TaskFamily {
    TaskFamily(ranges: [
      "blocks": "4 groups, each log-int 1 to a bound of log-int 1 to 10",
      "channels": "5 patterns times log-int 8 to 256",
      "stemKernel": "3, 5 or 7", "stemChannels": "log-int 8 to 64", "pool": "coin", "data": imageRanges,
      "imageSize": "log-int 8 to 64", "batch": "log-int 4 to 256", "activation": "12 entries, after the stem",
    ]) { shapes, dynamic in
      var fixed = Draw(shapes), free = Draw(dynamic)
      let most = fixed.logInt(1, 10)
      let blocks = (0..<4).map { _ in JSON.integer(fixed.logInt(1, most)) }
      let pattern = fixed.choice([[1, 1, 1, 1], [1, 2, 4, 8], [1, 2, 2, 4], [1, 2, 2, 2], [1, 2, 4, 4]])
      let width = fixed.logInt(8, 256)
      var arguments = image(&fixed, sizes: (8, 64), batches: (4, 256))
      arguments["blocks"] = .array(blocks)
      arguments["channels"] = .array(pattern.map { .integer($0 * width) })
      arguments["stemKernel"] = .integer(fixed.choice([3, 5, 7]))
      arguments["stemChannels"] = .integer(fixed.logInt(8, 64))
      arguments["pool"] = .bool(fixed.coin())
      arguments["version"] = 1
      return TaskConfig("ImageResNet", arguments.merging(Self.activation(&free)) { $1 })
    }
  }

  private var vit: TaskFamily {
    TaskFamily(ranges: [
      "layers": "log-int 1 to 16", "heads": "log-int 1 to 16",
      "width": "heads times log-int 8 to 64, to 32 from 4 heads",
      "mlp": "log-int 32 to 512", "patch": "2, 4, 8, 12 or 16, those that fit the image",
      "dropout": "uniform to 0.8 with probability 0.7", "data": imageRanges, "imageSize": "log-int 8 to 64",
      "batch": "log-int 4 to 256",
    ]) { shapes, _ in
      var fixed = Draw(shapes)
      let heads = fixed.logInt(1, 16)
      let width = heads * fixed.logInt(8, heads < 4 ? 64 : 32)
      var arguments = image(&fixed, sizes: (8, 64), batches: (4, 256))
      let size = arguments["data"]?["args"]?["imageSize"]?.integer ?? 8
      arguments["patch"] = .integer(fixed.choice([2, 4, 8, 12, 16].filter { $0 <= size }))
      arguments["layers"] = .integer(fixed.logInt(1, 16))
      arguments["heads"] = .integer(heads)
      arguments["width"] = .integer(width)
      arguments["mlp"] = .integer(fixed.logInt(32, 512))
      let dropout = fixed.uniform(0, 0.8)
      arguments["dropout"] = fixed.coin(0.7) ? .number(dropout) : 0
      return TaskConfig("ViT", arguments)
    }
  }

  private func text(_ draw: inout Draw) -> [String: JSON] {
    let name = draw.choice(texts)
    let batch = draw.logInt(4, 512), length = draw.logInt(4, 512), vocabulary = draw.logInt(100, 10_000)
    return [
      "familyNormalizer": true,
      "data": TaskConfig(
        name, ["batch": .integer(batch), "length": .integer(length), "vocabulary": .integer(vocabulary)]
      ).json,
    ]
  }

  private var textRanges: [String: String] {
    [
      "data": "one of \(texts.joined(separator: ", "))", "batch": "log-int 4 to 512", "length": "log-int 4 to 512",
      "vocabulary": "log-int 100 to 10000",
    ]
  }

  private var rnn: TaskFamily {
    let ranges = [
      "units": "log-int 8 to 256", "embedding": "log-int 8 to 256", "cell": "lstm, vanilla or gru",
      "init": "5 rules, scale 0.5 to 2",
    ]
    return TaskFamily(ranges: ranges.merging(textRanges) { $1 }) { shapes, dynamic in
      var fixed = Draw(shapes), free = Draw(dynamic)
      var arguments = text(&fixed)
      arguments["units"] = .integer(fixed.logInt(8, 256))
      arguments["embedding"] = .integer(fixed.logInt(8, 256))
      arguments["cell"] = .string(fixed.choice(["lstm", "vanilla", "gru"]))
      arguments["init"] = Self.initial(&free)
      return TaskConfig("LM-RNN", arguments)
    }
  }

  private var transformer: TaskFamily {
    let ranges = [
      "width": "heads times log-int 8 to 128", "heads": "log-int 8 to 128", "layers": "log-int 1 to 8",
      "dropout": "0.1",
    ]
    return TaskFamily(ranges: ranges.merging(textRanges) { $1 }) { shapes, _ in
      var fixed = Draw(shapes)
      var arguments = text(&fixed)
      let heads = fixed.logInt(8, 128)
      // Wider layers than models may have would be rejected for their cost anyway.
      arguments["width"] = .integer(min(heads * fixed.logInt(8, 128), 8192 / heads * heads))
      arguments["heads"] = .integer(heads)
      arguments["layers"] = .integer(fixed.logInt(1, 8))
      arguments["dropout"] = 0.1
      return TaskConfig("LM-transformer", arguments)
    }
  }
}
