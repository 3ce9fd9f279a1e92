// Model tasks whose loss is no plain objective of a model: auto-encoders with their options, and the variational one with
// a Gaussian of a learned deviation for each pixel.
import Compute
import Contract
import Foundation
import Learning

extension ModelTask {
  /// Builds `ImageMLP-AE` and `ImageMLP-VAE`.
  func reconstruction(
    _ config: TaskConfig, _ fields: inout Fields, _ site: TaskSite, _ builder: TaskBuilder
  ) throws -> TrainingTask? {
    guard let data = ImageData.read(&fields, site) else { return nil }
    let isVariational = self == .variational
    let activation = TaskActivation.read(&fields)
    let initial = TaskInitial.read(&fields)
    let isFamily = fields.bool("familyNormalizer") ?? false
    let hidden = fields.widths(isVariational ? "encoder" : "hidden") ?? [32]
    let decoder = isVariational ? fields.widths("decoder") ?? [32] : []
    let latent = isVariational ? fields.integer("latent", in: 1...4096) ?? 16 : 0
    let isCentred = fields.bool("center") ?? false
    let isConstrained = isVariational ? false : fields.bool("constrain") ?? true
    let isLogarithm = isVariational ? false : fields.bool("logLoss") ?? false
    let isPerDimension = isVariational ? fields.bool("perDimension") ?? true : false
    fields.finish()
    guard fields.faults.isEmpty,
      let images = try builder.data.images(data.request, path: data.path, faults: site.faults)
    else { return nil }
    let batch = site.batch(data.batch)
    let width = images.width, size = images.size
    func stack(_ widths: [Int]) -> [Layer] { widths.flatMap { [.dense(units: $0), activation.layer] } }
    var layers = stack(hidden)
    if isVariational {
      layers +=
        [.dense(units: 2 * latent), Layer(.latent(Layer.Latent(size: latent)))] + stack(decoder) + [
          .dense(units: width)
        ]
    } else {
      layers.append(.dense(units: width, activation: isConstrained ? (isCentred ? .tanh : .sigmoid) : .linear))
    }
    let shape = DataShape(input: [width], target: .values(width))
    guard
      let model = ModelSpec.layers(layers, objective: isVariational ? .reconstruct(.mse) : .target).resolve(
        for: shape, path: site.path, faults: site.faults)
    else {
      return nil
    }
    try site.guardSize(model, batch: batch)
    guard !site.leaves(model, batch: batch) else { return nil }
    let plan = try CustomLossPlan(model, batchSize: batch, level: builder.level) { graph, parts in
      let x = isCentred ? try graph.affine(parts.inputs, scale: 2, shift: -1) : parts.inputs
      if isVariational {
        let loss = try Self.evidence(&graph, x, parts, batch: batch, width: width)
        return isPerDimension ? try graph.scale(loss, by: 1 / Float(width)) : loss
      }
      var error = try graph.square(graph.subtract(parts.output, x))
      if isLogarithm {
        // The mean over rows of the image comes before the logarithm.
        let rows = try graph.reshape(error, to: [batch, size, size * images.channels])
        error = try graph.log(graph.affine(graph.mean(rows, axes: [1]), scale: 1, shift: 1e-8))
      }
      return try graph.mean(error)
    }
    let rules = initial.map { initial in
      zip(plan.plan.parameterLayout.tensors, plan.initializations).map { initial.rule(for: $0.shape, usual: $1) }
    }
    return TrainingTask(
      config: config, plan: plan.plan, start: .model(rules ?? plan.initializations),
      source: ImageBatches(images, batchSize: batch, target: .none),
      normaliser: isVariational
        ? .evidence(divisor: isPerDimension ? 1 : Double(width))
        : isFamily || isLogarithm ? .reconstruction(isLogarithm: isLogarithm) : .clip(low: 0, high: 1, nan: nil),
      batchSize: batch, tags: ["image", isVariational ? "vae" : "autoencoder"])
  }

  /// -ELBO, the mean over the batch: a Gaussian for each pixel, of the input with noise of a pixel's step, and
  /// the divergence of the code from the standard normal.
  private static func evidence(
    _ graph: inout Graph, _ x: Value, _ parts: CustomLossPlan.Parts, batch: Int, width: Int
  ) throws -> Value {
    // One deviation for each pixel, shared by all examples: the decoder itself makes the means.
    let deviations = try graph.broadcast(graph.parameter("log_deviation", [width]), to: [batch, width])
    let mean = try graph.clamp(parts.output, min: -10, max: 10)
    let logDeviation = try graph.clamp(deviations, min: -10, max: 10)
    // Stream 1000 lies beyond those of any layer.
    let noise = try graph.normal(key: parts.key, shape: x.shape, stream: 1000)
    // The deviation of a uniform over one step of a pixel's 256.
    let noisy = try graph.add(x, graph.scale(noise, by: 1 / (255 * Float(12).squareRoot())))
    let perElement = try graph.gaussianNegativeLogLikelihood(noisy, mean: mean, logDeviation: logDeviation)
    // Of whole pixels: log(1/255) each.
    var loss = try graph.scale(graph.affine(perElement, scale: 1, shift: Float(log(255.0))), by: Float(width))
    for (mean, logDeviation) in parts.latents {
      loss = try graph.add(loss, graph.gaussianKL(mean: mean, logDeviation: logDeviation))
    }
    return loss
  }
}
