// Where data enter a plan: inputs, targets and random words of an executor, resolved once and filled for each batch.
// Trainer fills training batches and rows to be judged through the same types.
import Compute
import Contract

/// The input rows of an executor.
struct BatchInputs {
  private let width: Int
  private let numbers: UnsafeMutablePointer<Float>?
  private let tokens: UnsafeMutablePointer<Int32>?

  init(_ executor: Executor, _ model: ResolvedModel) {
    width = model.data.input.reduce(1, *)
    let isTokens = model.data.vocabulary != nil
    numbers = isTokens ? nil : executor.floats("inputs").baseAddress!
    tokens = isTokens ? executor.int32("inputs").baseAddress! : nil
  }

  /// Writes a row of the data at a place of the batch.
  @inline(__always)
  func fill(_ place: Int, _ part: DataPart, _ row: Int) {
    if let numbers { part.input(row, into: numbers + place * width) }
    if let tokens { part.tokens(row, into: tokens + place * width) }
  }
}

/// The targets of an executor; none where a model reconstructs its input.
struct BatchTargets {
  private let perRow: Int
  private let labels: UnsafeMutablePointer<Int32>?
  private let values: UnsafeMutablePointer<Float>?

  init(_ executor: Executor, _ model: ResolvedModel) {
    var labels: UnsafeMutablePointer<Int32>?, values: UnsafeMutablePointer<Float>?
    if case .target = model.objective {
      switch model.data.target {
      case .classes, .tokens: labels = executor.int32("labels").baseAddress!
      case .values: values = executor.floats("targets").baseAddress!
      }
    }
    self.labels = labels
    self.values = values
    perRow = DataPart.targetsPerRow(model.data.target, width: model.data.input.reduce(1, *))
  }

  /// Writes the targets of a row at a place of the batch.
  @inline(__always)
  func fill(_ place: Int, _ part: DataPart, _ row: Int) {
    if let labels { part.labels(row, into: labels + place * perRow) }
    if let values { part.values(row, into: values + place * perRow) }
  }
}

/// The random words of an executor, where its plan draws random numbers.
struct BatchNoise {
  private let words: UnsafeMutablePointer<Int32>

  /// nil for a plan that draws none.
  init?(_ executor: Executor) {
    guard executor.plan.inputs.contains(where: { $0.name == ModelGraph.keyName }) else { return nil }
    words = executor.int32(ModelGraph.keyName).baseAddress!
  }

  /// Sets the words that belong to a step, or to a row.
  func fill(_ key: RandomKey, _ purpose: RunKey, _ index: Int) {
    let own = key.derive(
      purpose.rawValue, UInt32(truncatingIfNeeded: index), UInt32(truncatingIfNeeded: index >> 32))
    words[0] = Int32(bitPattern: own.low)
    words[1] = Int32(bitPattern: own.high)
  }
}
