// ONNXNormalizations: operators that shift and scale to a mean of 0 and a variance of 1. ONNXOperators joins the tables.
import Compute

extension ONNXOperator {
  static let normalizations: [ONNXOperator] = [
    ONNXOperator(
      "BatchNormalization", "for inference: mean and variance stay those of the file, scale and bias are trained", batch
    ),
    ONNXOperator("LayerNormalization", "", layer),
    ONNXOperator("InstanceNormalization", "", instance),
    ONNXOperator("GroupNormalization", "of operator set 21, with a scale and a bias for each channel", group),
  ]

  private static func batch(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    guard try site.integer("training_mode", 0) == 0 else {
      throw ONNXRefusal("its training_mode must be 0; export the model for inference")
    }
    let operand = try site.input(0)
    let rank = operand.dimensions.count
    if rank >= 2 { try translation.spend(2 * operand.dimensions[1]) }
    guard rank >= 2, let mean = try site.numbers(3), let variance = try site.numbers(4),
      mean.count == operand.dimensions[1], variance.count == mean.count
    else { throw ONNXRefusal("expected the mean and the variance of each channel of \(operand.dimensions)") }
    let epsilon = try site.float("epsilon", 1e-5)
    let x = rank == 2 ? try translation.plain(operand) : try translation.channelsLast(operand, rank: rank)
    let channels: Shape = [mean.count]
    let shift = try translation.graph.constant(mean, channels)
    let factor = try translation.graph.constant(variance.map { 1 / ($0 + epsilon).squareRoot() }, channels)
    let scale = try translation.parameter(site.weight(1)), bias = try translation.parameter(site.weight(2))
    let normal = try translation.graph.multiply(translation.graph.subtract(x, shift), factor)
    let result = try translation.graph.add(translation.graph.multiply(normal, scale), bias)
    return [.value(result, rank == 2 ? .plain : .channelsLast)]
  }

  private static func layer(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    let x = try translation.plain(site.input(0))
    let axis = try ONNXSite.axis(site.integer("axis", -1), rank: x.shape.rank)
    // Several axes are one for a row-major tensor.
    let width = x.shape.dimensions.suffix(from: axis).reduce(1, *)
    let rows = Array(x.shape.dimensions.prefix(axis))
    let scale = try translation.graph.reshape(translation.plain(site.input(1)), to: [width])
    let offset: Value
    if let bias = site.optional(2) {
      offset = try translation.graph.reshape(translation.plain(bias), to: [width])
    } else {
      try translation.spend(width)
      offset = try translation.graph.constant([Float](repeating: 0, count: width), [width])
    }
    let result = try translation.graph.layerNorm(
      translation.graph.reshape(x, to: Shape(rows + [width])), scale: scale, offset: offset,
      epsilon: site.float("epsilon", 1e-5))
    return [.value(try translation.graph.reshape(result, to: x.shape), .plain)]
  }

  private static func instance(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    try grouped(&translation, site, groups: nil)
  }

  private static func group(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    guard translation.opset >= 21 else { throw ONNXRefusal("it needs operator set 21; export with that") }
    return try grouped(&translation, site, groups: site.integer("num_groups", 0))
  }

  private static func grouped(
    _ translation: inout ONNXTranslation, _ site: ONNXSite, groups: Int?
  ) throws -> [ONNXOperand] {
    let operand = try site.input(0)
    let rank = operand.dimensions.count
    let x = try translation.channelsLast(operand, rank: rank)
    let result = try translation.graph.groupNorm(
      x, groups: groups ?? x.shape.last, scale: translation.parameter(site.weight(1)),
      offset: translation.parameter(site.weight(2)), epsilon: site.float("epsilon", 1e-5))
    return [.value(result, .channelsLast)]
  }
}
