// Small data of each kind that the tests of models train on, and models by their JSON.
import Compute
import Contract
import Foundation

@testable import Learning

extension ModelSpec {
  /// A model from JSON text.
  init(_ text: String) throws { self = try ModelSpec.decode(JSON.parse(text)) }
}

enum ModelSamples {
  /// A bright square on dark noise: the class is the quadrant it lies in, or its colour where there are channels.
  static func images(_ scratch: Scratch, size: Int = 12, rows: Int = 240, channels: Int? = nil) throws -> TrainingData {
    var pixels: [UInt8] = []
    var labels: [UInt8] = []
    for row in 0..<rows {
      let key = RandomKey(seed: UInt64(row))
      let words = key.words(block: 0)
      let label = Int(words.0 % 4)
      let half = size / 2, side = size / 4
      let top = (label / 2) * half + Int(words.1 % UInt32(half - side))
      let left = (label % 2) * half + Int(words.2 % UInt32(half - side))
      for y in 0..<size {
        for x in 0..<size {
          for channel in 0..<(channels ?? 1) {
            let noise = UInt8(key.words(block: UInt32(1 + y * size + x)).0 % 60)
            let isInside = (top..<top + side).contains(y) && (left..<left + side).contains(x)
            pixels.append(isInside && channel == 0 ? 200 + noise / 2 : noise)
          }
        }
      }
      labels.append(UInt8(label))
    }
    let sizes = [rows, size, size] + (channels.map { [$0] } ?? [])
    return try scratch.build(
      idx(sizes, pixels) + idx([rows], labels), DatasetOptions(format: .idx)
    ).1
  }

  /// A table of two numbers: the class is the quadrant, the value a smooth function.
  static func table(_ scratch: Scratch, regression: Bool = false) throws -> TrainingData {
    let key = RandomKey(seed: 1)
    let rows = (0..<600).map { index -> String in
      let words = key.words(block: UInt32(index))
      let x = 2 * RandomKey.uniform(words.0) - 1, y = 2 * RandomKey.uniform(words.1) - 1
      return "\(x),\(y)," + (regression ? "\(30 * x * y + 9 * x)" : (x > 0) == (y > 0) ? "same" : "other")
    }
    return try scratch.build(
      Array(("x,y,target\n" + rows.joined(separator: "\n")).utf8), DatasetOptions(format: .csv)
    ).1
  }

  /// Words in an order that follows rules, as bytes.
  static func text(_ scratch: Scratch, length: Int = 16) throws -> TrainingData {
    let words = ["the cat ", "sat on ", "a mat. ", "it was ", "not fat. "]
    var text = ""
    for index in 0..<1200 {
      text += words[(index + (RandomKey(seed: 2).words(block: UInt32(index)).0 % 5 == 0 ? 2 : 0)) % 5]
    }
    var options = DatasetOptions(format: .text)
    options.sequenceLength = length
    return try scratch.build(Array(text.utf8), options).1
  }

  private static func idx(_ sizes: [Int], _ payload: [UInt8]) -> [UInt8] {
    [0, 0, 8, UInt8(sizes.count)] + sizes.flatMap { size in (0..<4).map { UInt8(size >> (24 - 8 * $0) & 255) } }
      + payload
  }
}

/// A run of Adam on a model.
func adam(
  _ model: ModelSpec, _ data: TrainingData, steps: Int = 60, batch: Int = 32, rate: Float = 0.003, seed: Int = 0,
  level: CPULevel = .best
) throws -> Trainer {
  let plans = try ModelPlans(model.resolved(for: data.schema.shape), batchSize: batch, judgedRows: 19, level: level)
  return Trainer(
    plans: plans, data: data,
    optimizer: Adam(
      parameters: plans.layout, settings: OptimizerSettings(.adam, ["learning_rate": .number(Double(rate))]),
      level: level), theta: nil,
    configuration: TrainerConfiguration(steps: steps, batchSize: batch, seed: seed))
}
