// Judges a model on a part of the data: all rows in order, some hundred at a time, in memory that does not grow with the
// part. What is measured follows from the objective; Contract's Metric says what each measure is.
import Compute
import Contract
import Foundation

extension Trainer {
  /// Judges the current weights on a part of the data, all rows in order.
  public func judge(_ part: DataPart) -> Metrics {
    let inputs = BatchInputs(judge, plans.model)
    let noise = BatchNoise(judge)
    var tally = Tally(part, schema: data.schema, model: plans.model)
    let parameters = evaluated
    var row = 0
    while row < part.rows {
      let rows = min(plans.judgedRows, part.rows - row)
      for place in 0..<rows { inputs.fill(place, part, row + place) }
      noise?.fill(key, .judging, row)
      judge.run(parameters: parameters, gradients: nil)
      tally.add(judge, from: row, count: rows)
      row += rows
    }
    return tally.metrics
  }
}

/// Sums over the rows judged so far.
private struct Tally {
  let part: DataPart
  /// The standard deviations of the target's columns.
  let deviations: [Double]
  let model: ResolvedModel
  private var loss = 0.0
  private var error = 0.0
  private var right = 0
  private var labels: [Int32]
  private var targets: [Float]

  init(_ part: DataPart, schema: DatasetSchema, model: ResolvedModel) {
    self.part = part
    let columns = schema.targetColumns.map(\.deviation)
    deviations = columns.count == part.targetsPerRow ? columns : Array(repeating: 1, count: part.targetsPerRow)
    self.model = model
    labels = [Int32](repeating: 0, count: part.targetsPerRow)
    targets = [Float](repeating: 0, count: part.targetsPerRow)
  }

  /// Adds `count` rows from `first` on, whose outputs the executor has.
  mutating func add(_ judge: Executor, from first: Int, count: Int) {
    if case .reconstruct = model.objective {
      let losses = judge.output("loss"), errors = judge.output("error")
      for place in 0..<count {
        loss += Double(losses[place])
        error += Double(errors[place])
      }
      return
    }
    let outputs = judge.output("outputs").baseAddress!
    let perRow = part.targetsPerRow
    let width = model.data.target.outputs
    for place in 0..<count {
      switch model.data.target {
      case .classes, .tokens:
        part.labels(first + place, into: &labels)
        for position in 0..<perRow {
          let scores = UnsafeBufferPointer(start: outputs + (place * perRow + position) * width, count: width)
          add(scores, label: Int(labels[position]))
        }
      case .values:
        part.values(first + place, into: &targets)
        for (position, target) in targets.enumerated() {
          let difference = Double(outputs[place * width + position]) - Double(target)
          loss += difference * difference
          let own = difference * deviations[position]
          error += own * own
        }
      }
    }
  }

  /// Adds one classification: by its logits, or by the log-probabilities of tokens, whose vocabularies are large.
  private mutating func add(_ scores: UnsafeBufferPointer<Float>, label: Int) {
    var best = 0
    for index in 1..<scores.count where scores[index] > scores[best] { best = index }
    if best == label { right += 1 }
    if case .tokens = model.data.target {
      loss -= Double(scores[label])
      return
    }
    let peak = Double(scores[best])
    var sum = 0.0
    for score in scores { sum += exp(Double(score) - peak) }
    loss += log(sum) + peak - Double(scores[label])
  }

  /// The means over everything added.
  var metrics: Metrics {
    let rows = Double(part.rows)
    if case .reconstruct = model.objective {
      var metrics = Metrics([.loss: loss / rows, .reconstructionError: error / rows])
      let isVariational = model.steps.contains { if case .latent = $0.layer.kind { true } else { false } }
      if isVariational { metrics[.negativeELBO] = loss / rows * Double(part.width) }
      return metrics
    }
    let targets = rows * Double(part.targetsPerRow)
    let mean = loss / targets
    switch model.data.target {
    case .classes: return Metrics([.loss: mean, .accuracy: Double(right) / targets])
    case .tokens:
      return Metrics([
        .loss: mean, .accuracy: Double(right) / targets, .perplexity: exp(mean), .bitsPerToken: mean / log(2),
      ])
    case .values: return Metrics([.loss: mean, .mse: error / targets])
    }
  }
}
