// What readers of datasets share beside files: the first rows as people want to see them, and running moments.
import Contract

/// The first rows of a dataset of numbers.
struct RowPreview {
  static let count = 8
  static let valuesMax = 4096

  let shape: [Int]
  private var inputs: [[Float]] = []
  private var targets: [[Float]] = []

  /// - Parameter shape: of one input.
  init(shape: [Int]) { self.shape = shape }

  /// Takes an input if it is one of the first; rows come in order.
  mutating func see(_ row: Int, _ input: @autoclosure () -> [Float]) {
    if row < Self.count { inputs.append(input()) }
  }

  /// Takes what a row asks for if it is one of the first; rows come in order.
  mutating func see(_ row: Int, target: @autoclosure () -> [Float]) {
    if row < Self.count { targets.append(target()) }
  }

  /// - Parameter kind: "classes" or "values".
  func json(_ kind: String, names: [String] = []) -> JSON {
    func shown(_ target: [Float]) -> JSON {
      if kind == "values" {
        return target.count == 1 ? .finite(Double(target[0])) : .array(target.map { .finite(Double($0)) })
      }
      let label = Int(target[0])
      return label < names.count ? .string(names[label]) : .integer(label)
    }
    return [
      "columns": ["input", kind == "values" ? "target" : "label"], "input_shape": .array(shape.map(JSON.integer)),
      "rows": .array(
        zip(inputs, targets).map { input, target in [.array(input.map { .finite(Double($0)) }), shown(target)] }),
    ]
  }
}

/// Mean and deviation of numbers that come one by one (Welford).
struct RunningMoments {
  private(set) var count = 0.0
  private(set) var mean = 0.0
  private var squares = 0.0

  mutating func see(_ value: Double) {
    count += 1
    let step = value - mean
    mean += step / count
    squares += step * (value - mean)
  }

  /// The deviation, or 1 where all numbers are equal: what is divided by it then stays as it is.
  var deviation: Double {
    let deviation = count > 1 ? (squares / count).squareRoot() : 0
    return deviation > 0 ? deviation : 1
  }
}
