// What a worker found in an uploaded ONNX file: enough to say which data fits it and what training it costs, without
// reading the file again. Learning makes it; the server admits jobs by it.
import Foundation

/// An uploaded model file, and what a worker made of it.
public struct ModelFile: Sendable, Hashable {
  /// SHA-256 of the file, lower-case hexadecimal; the blob's name.
  public var sha256: String
  public var bytes: Int
  public var state: DatasetState
  /// What is in it, once it is ready.
  public var imported: ImportedModel?
  /// Why it was rejected: the node or tensor, and what to do.
  public var problem: String?
  public var validatedAt: Timestamp?

  /// The largest file that is taken: 512 MiB.
  public static let bytesMax = 512 << 20

  public init(
    sha256: String, bytes: Int, state: DatasetState = .validating, imported: ImportedModel? = nil,
    problem: String? = nil, validatedAt: Timestamp? = nil
  ) {
    self.sha256 = sha256
    self.bytes = bytes
    self.state = state
    self.imported = imported
    self.problem = problem
    self.validatedAt = validatedAt
  }

  public var json: JSON {
    [
      "sha256": .string(sha256), "bytes": .integer(bytes), "imported": imported?.json ?? .null,
      "problem": .optional(problem), "validated_at": .time(validatedAt),
    ]
  }
}

/// A model from a file, as jobs name it.
public struct ImportedSpec: Sendable, Hashable {
  /// SHA-256 of the file; the blob's name.
  public var sha256: String
  public var facts: ImportedModel

  public init(sha256: String, facts: ImportedModel) {
    self.sha256 = sha256
    self.facts = facts
  }

  var json: JSON { ["sha256": .string(sha256), "facts": facts.json] }

  static func decode(_ json: JSON) -> ImportedSpec? {
    guard let sha256 = json["sha256"]?.string, let facts = json["facts"].flatMap(ImportedModel.decode) else {
      return nil
    }
    return ImportedSpec(sha256: sha256, facts: facts)
  }
}

/// The facts of an imported model.
public struct ImportedModel: Sendable, Hashable {
  /// Shape of one example as the file has it, such as [3, 32, 32] for images with their channels first.
  public var input: [Int]
  /// How many tokens the model knows, where its input is tokens; nil for numbers.
  public var vocabulary: Int?
  /// Shape of what comes out for one example.
  public var output: [Int]
  /// How often each operator stands in the graph.
  public var operators: [String: Int]
  /// The version of the operator set.
  public var opset: Int
  /// What wrote the file.
  public var producer: String
  /// How many numbers are trained.
  public var parameterCount: Int
  /// Floating-point operations of the forward pass for one example.
  public var flops: Int
  /// Floats that a training step holds for each example, and besides.
  public var trainingFloats: Int
  public var fixedFloats: Int
  /// Floats that judging holds for each example.
  public var judgingFloats: Int

  public init(
    input: [Int], vocabulary: Int?, output: [Int], operators: [String: Int], opset: Int, producer: String,
    parameterCount: Int, flops: Int, trainingFloats: Int, fixedFloats: Int, judgingFloats: Int
  ) {
    self.input = input
    self.vocabulary = vocabulary
    self.output = output
    self.operators = operators
    self.opset = opset
    self.producer = producer
    self.parameterCount = parameterCount
    self.flops = flops
    self.trainingFloats = trainingFloats
    self.fixedFloats = fixedFloats
    self.judgingFloats = judgingFloats
  }

  public var json: JSON {
    [
      "input_shape": .array(input.map(JSON.integer)), "vocabulary": vocabulary.map(JSON.integer) ?? .null,
      "output_shape": .array(output.map(JSON.integer)), "operators": .object(operators.mapValues(JSON.integer)),
      "opset": .integer(opset), "producer": .string(producer), "parameters": .integer(parameterCount),
      "flops_per_example": .integer(flops), "training_floats_per_example": .integer(trainingFloats),
      "judging_floats_per_example": .integer(judgingFloats), "fixed_floats": .integer(fixedFloats),
    ]
  }

  /// Reads back what ``json`` wrote; nil for anything else.
  public static func decode(_ json: JSON) -> ImportedModel? {
    func shape(_ key: String) -> [Int]? { json[key]?.array?.map { $0.integer ?? -1 } }
    guard let input = shape("input_shape"), let output = shape("output_shape"),
      case .object(let operators)? = json["operators"], let opset = json["opset"]?.integer,
      let producer = json["producer"]?.string, let parameters = json["parameters"]?.integer,
      let flops = json["flops_per_example"]?.integer, let training = json["training_floats_per_example"]?.integer,
      let judging = json["judging_floats_per_example"]?.integer, let fixed = json["fixed_floats"]?.integer
    else { return nil }
    return ImportedModel(
      input: input, vocabulary: json["vocabulary"]?.integer, output: output,
      operators: operators.compactMapValues(\.integer), opset: opset, producer: producer, parameterCount: parameters,
      flops: flops, trainingFloats: training, fixedFloats: fixed, judgingFloats: judging)
  }

  // MARK: Data

  /// How an example of a dataset becomes the model's input.
  public enum Arrangement: Sendable, Hashable {
    /// The numbers in their order.
    case same
    /// Height, width and channels become channels, height and width.
    case channelsFirst
  }

  /// How examples of that shape become the model's input; nil where they do not fit.
  public func arrangement(of example: [Int]) -> Arrangement? {
    if input.count == 3,
      example == [input[1], input[2], input[0]] || (input[0] == 1 && example == [input[1], input[2]])
    {
      return .channelsFirst
    }
    func long(_ shape: [Int]) -> [Int] { shape.filter { $0 != 1 } }
    if long(example) == long(input) { return .same }
    // A vector takes the numbers of any example, row by row.
    return input.count == 1 && example.reduce(1, *) == input[0] ? .same : nil
  }

  /// The model on `data`; nil and faults where it cannot be trained on it.
  func resolve(for data: DataShape, path: String, faults: Faults) -> ResolvedModel? {
    let own = Faults()
    check(against: data, path: path, faults: own)
    for fault in own.list { faults.add(fault.path, fault.reason) }
    return own.isEmpty ? ResolvedModel(data: data, objective: .target, steps: [], imported: self) : nil
  }

  private func check(against data: DataShape, path: String, faults: Faults) {
    switch (data.elements, vocabulary) {
    case (.tokens(let tokens), let known?) where tokens > known:
      faults.add(path, "the model knows \(known) tokens, but the dataset has \(tokens)")
    case (.tokens, nil): faults.add(path, "the model's input is numbers, but the dataset has tokens")
    case (.numbers, _?): faults.add(path, "the model's input is tokens, but the dataset has numbers")
    default: break
    }
    if arrangement(of: data.input) == nil {
      faults.add(
        path, "the model takes inputs of shape \(input), but the dataset's have shape \(data.input)")
    }
    let expected: [[Int]] =
      switch data.target {
      case .classes(let count): [[count]]
      case .values(1): [[1], []]
      case .values(let count): [[count]]
      case .tokens(let count): [data.input + [count]]
      }
    if !expected.contains(output) {
      faults.add(
        path, "the model's output for one example has shape \(output), but the dataset asks for \(expected[0])")
    }
  }

  // MARK: Costs

  /// Rows that are judged at once, as for other models.
  public var judgedRows: Int { max(1, min(256, (16 << 20) / max(1, judgingFloats))) }

  /// Bytes a run holds at once; `Int.max` where it does not fit.
  public func memoryBytes(batchSize: Int, stateFloatsPerParameter: Int) -> Int {
    var bytes = 0
    for (count, factor) in [
      (parameterCount, 3 + stateFloatsPerParameter + 2 * (2 + stateFloatsPerParameter)),
      (trainingFloats, batchSize), (judgingFloats, judgedRows), (fixedFloats, 2),
    ] {
      let (product, overflow) = count.multipliedReportingOverflow(by: 4 * factor)
      let (sum, more) = bytes.addingReportingOverflow(product)
      if overflow || more { return .max }
      bytes = sum
    }
    return bytes
  }
}
