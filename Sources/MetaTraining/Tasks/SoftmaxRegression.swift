// Softmax regression on normal points with the labels of a random linear teacher: a convex problem to check optimizers on.
import Compute
import Contract
import Foundation

/// Points X [rows, d], labels argmax X T, loss = mean cross-entropy + decay · sum W².
enum SoftmaxRegression {
  static func build(_ config: TaskConfig, _ fields: inout Fields, level: CPULevel) throws -> TrainingTask? {
    let dimensions = fields.integer("dimensions", in: 2...1000) ?? 10
    let classes = fields.integer("classes", in: 2...100) ?? 10
    let rows = fields.integer("rows", in: 2...100_000) ?? 1000
    let batch = fields.integer("batch", in: 1...4096) ?? 64
    let decay = fields.number("decay", in: 0...1e3) ?? 1e-3
    let seed = fields.integer("seed", in: 0...Int(Int32.max)) ?? 0
    fields.finish()
    guard rows * dimensions <= 1 << 25 else {
      fields.fault("rows", "expected at most \(1 << 25) numbers in all, got \(rows) rows of \(dimensions)")
      return nil
    }
    guard fields.faults.isEmpty else { return nil }
    let points = LabelledPoints(
      rows: rows, dimensions: dimensions, classes: classes, batch: batch,
      key: RandomKey(seed: UInt64(seed)).derive(32, 0, 0))
    var graph = Graph()
    let b = try graph.parameter("b", [classes])
    let w = try graph.parameter("w", [dimensions, classes])
    let logits = try graph.add(graph.matmul(graph.input("inputs", [batch, dimensions]), w), b)
    var loss = try graph.softmaxCrossEntropy(logits, labels: graph.input("labels", [batch], .int32))
    if decay > 0 { loss = try graph.add(loss, graph.scale(graph.sum(graph.square(w)), by: Float(decay))) }
    graph.output("loss", loss)
    return TrainingTask(
      config: config, plan: try Plan(graph, differentiating: loss, level: level),
      start: .tensors([.zeros, .normal(deviation: 1.2 / Float(dimensions).squareRoot())]), source: points,
      normaliser: .entropy(classes: classes), chanceLoss: log(Double(classes)), batchSize: batch,
      tags: ["analytic", "convex", "classification"])
  }
}

/// Points with classes, kept in memory.
struct LabelledPoints: BatchSource {
  let inputs = [BatchInput("inputs"), BatchInput("labels", .int32)]
  let points: [Float]
  let labels: [Int32]
  private let dimensions: Int
  private let batch: Int

  init(rows: Int, dimensions: Int, classes: Int, batch: Int, key: RandomKey) {
    self.dimensions = dimensions
    self.batch = batch
    var points = [Float](repeating: 0, count: rows * dimensions)
    var teacher = [Float](repeating: 0, count: dimensions * classes)
    key.derive(0, 0, 0).fillNormals(&points)
    key.derive(1, 0, 0).fillNormals(&teacher)
    labels = (0..<rows).map { row in
      let scores = (0..<classes).map { label in
        (0..<dimensions).reduce(Float(0)) { $0 + points[row * dimensions + $1] * teacher[$1 * classes + label] }
      }
      return Int32(scores.indices.max { scores[$0] < scores[$1] }!)
    }
    self.points = points
  }

  func draw(_ key: RandomKey, into places: BatchPlaces) {
    points.withUnsafeBufferPointer { points in
      labels.withUnsafeBufferPointer { labels in
        for place in 0..<batch {
          let row = Int((UInt64(key.words(block: UInt32(place)).0) * UInt64(labels.count)) >> 32)
          (places.floats(0) + place * dimensions).update(
            from: points.baseAddress! + row * dimensions, count: dimensions)
          places.int32(1)[place] = labels[row]
        }
      }
    }
  }
}
