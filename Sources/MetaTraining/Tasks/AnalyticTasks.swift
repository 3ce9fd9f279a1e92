// Tasks whose loss is a formula: quadratics and two-dimensional toy losses. TestFunctions has the standard test functions
// of optimization; SoftmaxRegression and NoisyQuadratic have files of their own.
import Compute
import Contract
import Foundation

/// The library quadratics (Metz et al. 2022, arXiv 2203.11860) and toy losses, by the names of their configurations.
enum AnalyticTask: String, CaseIterable {
  /// sum p², p from N(0, I).
  case quadratic = "Quadratic"
  /// ln sum p².
  case logQuadratic = "LogQuadratic"
  /// sum (a + b)², two tensors.
  case sumQuadratic = "SumQuadratic"
  /// (p - n)' H (p - n), n fresh normals each step, H = A A', p from 10 N(0, I).
  case noisyMeanQuadratic = "NoisyMeanQuadratic"
  /// sum (c - p)², c drawn once.
  case centredQuadratic = "FixedDimQuadratic"
  /// The same plus a normal number each step.
  case centredQuadraticData = "FixedDimQuadraticData"
  /// sum (k (c - p))², c normal and k uniform to 25, drawn once; normal noise on the gradient.
  case noisyQuadratic = "NoisyQuadratic"
  /// (x - y)² / 2: a valley of minima.
  case valley = "Valley"
  /// (1 - x y)².
  case product = "Product"
  /// (x² + condition y²) / 2.
  case bowl = "Bowl"
  /// x² - y².
  case saddle = "Saddle"

  /// Builds the task from its arguments.
  func build(_ config: TaskConfig, _ fields: inout Fields, level: CPULevel) throws -> TrainingTask? {
    switch self {
    case .valley, .product, .bowl, .saddle: return try toy(config, &fields, level: level)
    default: return try quadratic(config, &fields, level: level)
    }
  }

  private func quadratic(_ config: TaskConfig, _ fields: inout Fields, level: CPULevel) throws -> TrainingTask? {
    let count = fields.integer("dimensions", in: 1...100_000) ?? (self == .noisyMeanQuadratic ? 2 : 10)
    let seed = fields.integer("seed", in: 0...Int(Int32.max)) ?? 0
    let scale = self == .noisyMeanQuadratic ? fields.number("scale", in: 0...1e6) ?? 1 : 1
    let noise = self == .noisyQuadratic ? fields.number("noise", in: 0...1e6) ?? 0.1 : 0
    fields.finish()
    guard fields.faults.isEmpty else { return nil }
    let key = RandomKey(seed: UInt64(seed)).derive(30, 0, 0)
    func normals(_ index: UInt32, _ count: Int) -> [Float] {
      var values = [Float](repeating: 0, count: count)
      key.derive(index, 0, 0).fillNormals(&values)
      return values
    }
    var graph = Graph()
    var source: any BatchSource = NoBatches()
    var deviation: Float = 1
    var augmentations: [Augmentation] = []
    var normaliser = LossNormaliser.identity
    let p = try graph.parameter("p", [count])
    let loss: Value
    switch self {
    case .quadratic: loss = try graph.sum(graph.square(p))
    case .logQuadratic: loss = try graph.log(graph.sum(graph.square(p)))
    case .sumQuadratic: loss = try graph.sum(graph.square(graph.add(p, graph.parameter("q", [count]))))
    case .noisyMeanQuadratic:
      guard count <= 2048 else {
        fields.fault("dimensions", "expected at most 2048, because the matrix is dense; got \(count)")
        return nil
      }
      deviation = 10
      source = NoiseBatches([("noise", count)], level: level)
      // (p - n)' A A' (p - n) is the squared length of A' (p - n).
      let a = try graph.constant(normals(0, count * count), [count, count])
      let n = try graph.scale(graph.input("noise", [count]), by: Float(scale))
      let row = try graph.reshape(graph.subtract(p, n), to: [1, count])
      loss = try graph.sum(graph.square(graph.matmul(row, a)))
    case .centredQuadratic, .centredQuadraticData:
      let centred = try graph.sum(graph.square(graph.subtract(graph.constant(normals(1, count), [count]), p)))
      if self == .centredQuadratic {
        loss = centred
      } else {
        source = NoiseBatches([("noise", 1)], level: level)
        loss = try graph.add(centred, graph.reshape(graph.input("noise", [1]), to: .scalar))
        normaliser = .clip(low: 0, high: 1000, nan: 1000)
      }
    default:
      var draw = Draw(key.derive(2, 0, 0))
      let factors = (0..<count).map { _ in Float(draw.uniform(0, 25)) }
      let centre = try graph.constant(normals(1, count), [count])
      let scaled = try graph.multiply(graph.constant(factors, [count]), graph.subtract(centre, p))
      loss = try graph.sum(graph.square(scaled))
      if noise > 0 { augmentations = [.noise(deviation: noise)] }
    }
    graph.output("loss", loss)
    return TrainingTask(
      config: config, plan: try Plan(graph, differentiating: loss, level: level),
      start: .tensors([TaskStart.TensorStart](repeating: .normal(deviation: deviation), count: graph.parameters.count)),
      source: source, normaliser: normaliser, augmentations: augmentations, tags: ["analytic", "quadratic"])
  }

  private func toy(_ config: TaskConfig, _ fields: inout Fields, level: CPULevel) throws -> TrainingTask? {
    let condition = self == .bowl ? fields.number("condition", in: 1e-6...1e6) ?? 100 : 1
    let noise = fields.number("noise", in: 0...1e6) ?? 0
    fields.finish()
    guard fields.faults.isEmpty else { return nil }
    var graph = Graph()
    let p = try graph.parameter("p", [2])
    let parts = try graph.split(p, into: 2, axis: 0)
    let (x, y) = (parts[0], parts[1])
    let value: Value
    switch self {
    case .valley: value = try graph.scale(graph.square(graph.subtract(x, y)), by: 0.5)
    case .product: value = try graph.square(graph.affine(graph.multiply(x, y), scale: -1, shift: 1))
    case .bowl:
      let sum = try graph.add(graph.square(x), graph.scale(graph.square(y), by: Float(condition)))
      value = try graph.scale(sum, by: 0.5)
    default: value = try graph.subtract(graph.square(x), graph.square(y))
    }
    let loss = try graph.reshape(value, to: .scalar)
    graph.output("loss", loss)
    return TrainingTask(
      config: config, plan: try Plan(graph, differentiating: loss, level: level),
      start: .tensors([.uniform([-2...2])]), augmentations: noise > 0 ? [.noise(deviation: noise)] : [],
      tags: ["analytic", "toy"])
  }
}
