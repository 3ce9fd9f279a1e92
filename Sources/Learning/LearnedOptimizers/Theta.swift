// Theta: the meta-parameters of a learned optimizer, their file with its provenance, and their import from the files
// of the reference implementations. ThetaSchema.swift knows which tensors there are.
import Compute
import Contract
import Foundation

/// A learned optimizer's meta-parameters. Every value is finite.
public struct Theta: Sendable, Hashable {
  /// The architecture these are the weights of.
  public let schema: ThetaSchema
  /// Where each tensor lies in `values`: the schema's layout.
  public let layout: ParameterLayout
  /// The values in `layout`; padding is zero.
  public let values: [Float]
  /// Where they come from, as stored in the file: such as `source`, `licence`, `campaign`, `meta_step`.
  public var provenance: [String: String]

  private static let format = "lopt-theta"
  private static let formatVersion = "1"
  /// Metadata that the file itself needs; provenance cannot use these names.
  private static let reserved: Set<String> = ["format", "format_version", "architecture", "config"]

  /// Meta-parameters in the schema's layout.
  ///
  /// - Throws: ``FormatError`` naming the tensor when a value is not finite. Traps on another number of values.
  public init(schema: ThetaSchema, values: [Float], provenance: [String: String] = [:]) throws(FormatError) {
    let layout = schema.layout
    precondition(values.count == layout.floats, "Theta: \(values.count) values, expected \(layout.floats)")
    var packed = [Float](repeating: 0, count: layout.floats)
    for tensor in layout.tensors {
      for index in tensor.offset..<tensor.offset + tensor.count {
        guard values[index].isFinite else {
          throw Self.fault("tensor \"\(tensor.name)\"", "element \(index - tensor.offset) is \(values[index])")
        }
        packed[index] = values[index]
      }
    }
    self.schema = schema
    self.layout = layout
    self.values = packed
    self.provenance = provenance.filter { !Self.reserved.contains($0.key) }
  }

  /// Where meta-training starts: weights drawn from `key`, biases, decay offsets and LSTM state zero.
  ///
  /// Leaf number i draws from its own sub-key. Weights are standard normals resampled to [-2, 2], over the root of the
  /// layer's number of inputs.
  public static func initial(_ schema: ThetaSchema, key: RandomKey) -> Theta {
    let layout = schema.layout
    var values = [Float](repeating: 0, count: layout.floats)
    for (index, leaf) in schema.leaves.enumerated() {
      let tensor = layout[leaf.name]!
      switch leaf.start {
      case .constant(let value): for element in 0..<tensor.count { values[tensor.offset + element] = value }
      case .truncatedNormal(let deviation):
        var normals = TruncatedNormals(key: key.derive(UInt32(index), 0, 0))
        for element in 0..<tensor.count { values[tensor.offset + element] = deviation * normals.next() }
      }
    }
    do { return try Theta(schema: schema, values: values) } catch { preconditionFailure("\(error)") }
  }

  /// One tensor's values, row-major; traps on an unknown name.
  public subscript(name: String) -> ArraySlice<Float> {
    guard let tensor = layout[name] else { preconditionFailure("Theta: no tensor \(name)") }
    return values[tensor.offset..<tensor.offset + tensor.count]
  }

  /// A copy in aligned memory, as updates want it.
  public func aligned() -> AlignedBuffer {
    let buffer = AlignedBuffer(floats: values.count)
    values.withUnsafeBufferPointer { buffer.pointer.update(from: $0.baseAddress!, count: $0.count) }
    return buffer
  }

  // MARK: Files

  /// Files beyond this are refused.
  public static let fileBytesMax = LearnedOptimizerRecord.fileBytesMax

  /// Whether a file is to be read as one of the reference implementations; our own begin as safetensors.
  public static func isFlax(_ data: Data) -> Bool { !SafetensorsFile.isLikely(data) }

  /// Reads a file of any kind: ours, of the reference implementations, a recorded case with `theta/<path>` in it, or
  /// safetensors of nothing but weights, named by their paths.
  ///
  /// - Parameter name: which optimizer it must be; nil for any.
  /// - Throws: ``FormatError`` as the two readers do, and for files beyond ``fileBytesMax``.
  public init(file data: Data, as name: OptimizerName? = nil) throws(FormatError) {
    guard data.count <= Self.fileBytesMax else {
      throw Self.fault("file", "expected at most \(Self.fileBytesMax) bytes, got \(data.count)")
    }
    if Self.isFlax(data) {
      try self.init(flax: data, as: name)
      return
    }
    let file = try SafetensorsFile(data)
    var weights = try file.recordedWeights()
    if weights.isEmpty, file.metadata["format"] == nil { weights = try file.recordedWeights(under: "") }
    if !weights.isEmpty {
      try self.init(tensors: weights, as: name)
      return
    }
    try self.init(safetensors: data)
    if let name, schema.name != name {
      throw Self.fault(
        "metadata architecture", "expected weights of \(name.rawValue), got those of \(schema.name.rawValue)")
    }
  }

  /// The file's bytes: safetensors with the architecture, its constants and the provenance as metadata.
  public func safetensors() -> Data {
    let tensors = schema.leaves.map { leaf in
      SafetensorsWriter.Tensor(name: leaf.fileName, shape: leaf.shape.dimensions, floats: Array(self[leaf.name]))
    }
    var metadata = provenance
    metadata["format"] = Self.format
    metadata["format_version"] = Self.formatVersion
    metadata["architecture"] = schema.architecture
    metadata["config"] = schema.configuration.text
    return SafetensorsWriter.encode(tensors, metadata: metadata)
  }

  /// Reads what `safetensors()` wrote.
  ///
  /// - Throws: ``FormatError`` for a file that is not a theta, an unknown architecture, missing or additional tensors,
  ///   other shapes, and values that are not finite.
  public init(safetensors data: Data) throws(FormatError) {
    let file = try SafetensorsFile(data)
    guard file.metadata["format"] == Self.format, file.metadata["format_version"] == Self.formatVersion else {
      throw Self.fault(
        "metadata",
        "expected format \(Self.format) version \(Self.formatVersion), got "
          + "\(file.metadata["format"] ?? "none") version \(file.metadata["format_version"] ?? "none")")
    }
    let architecture = file.metadata["architecture"] ?? "none"
    guard let type = OptimizerCatalog.learned.first(where: { $0.architecture == architecture }) else {
      let known = OptimizerCatalog.learned.map { $0.architecture }.joined(separator: ", ")
      throw Self.fault("metadata architecture", "\(architecture) is not known; known are \(known)")
    }
    let schema: ThetaSchema
    do {
      let config = try JSON.parse(file.metadata["config"] ?? "{}", depthMax: 4)
      schema = try Faults.collect { faults in
        guard var fields = Fields(config, faults: faults) else { return nil }
        let schema = ThetaSchema(type, reading: &fields)
        fields.finish()
        return schema
      }
    } catch { throw Self.fault("metadata config", "\(error)") }
    let leaves = schema.leaves
    let expected = Set(leaves.map(\.fileName))
    if let extra = file.tensors.first(where: { !expected.contains($0.name) }) {
      throw Self.fault("tensor \"\(extra.name)\"", "\(architecture) has no such tensor")
    }
    let layout = schema.layout
    var values = [Float](repeating: 0, count: layout.floats)
    for leaf in leaves {
      let floats = try file.floats(leaf.fileName, shape: leaf.shape.dimensions)
      let offset = layout[leaf.name]!.offset
      values.replaceSubrange(offset..<offset + floats.count, with: floats)
    }
    try self.init(schema: schema, values: values, provenance: file.metadata)
  }

  /// Reads a file of the reference implementations, such as Celo's `theta.state` or VeLO's `params`.
  ///
  /// The architecture is found by the tensors. A file whose root has the key `params`, or is a tuple with `0`, holds
  /// theta there.
  /// - Parameters:
  ///   - name: which optimizer it is, where several have the same weights; nil takes the first that fits.
  ///   - constants: an object of the constants that such files do not hold; those left out are the published ones.
  /// - Throws: ``FormatError`` with the byte or path of the fault.
  public init(
    flax data: Data, as name: OptimizerName? = nil, constants: JSON = [:], provenance: [String: String] = [:]
  ) throws(FormatError) {
    let root = try FlaxValue(flax: data)
    var tensors: [String: ThetaTensor] = [:]
    try Self.collect(root["params"] ?? root["0"] ?? root, under: [], into: &tensors)
    try self.init(tensors: tensors, as: name, constants: constants, provenance: provenance)
  }

  /// Meta-parameters out of tensors by their names: the keys of their paths joined with `/`.
  ///
  /// - Parameters: as of ``init(flax:as:constants:provenance:)``.
  public init(
    tensors: [String: ThetaTensor], as name: OptimizerName? = nil, constants: JSON = [:],
    provenance: [String: String] = [:]
  ) throws(FormatError) {
    let schema = try Self.detect(ThetaTree(tensors.mapValues(\.shape)), as: name, constants: constants)
    let layout = schema.layout
    var values = [Float](repeating: 0, count: layout.floats)
    for tensor in layout.tensors {
      guard let found = tensors[tensor.name] else {
        throw Self.fault(tensor.name, "expected an array, but the file has none at this path")
      }
      guard found.shape == tensor.shape.dimensions, let floats = found.floats, floats.count == tensor.count else {
        throw Self.fault(tensor.name, "expected float32 \(tensor.shape), got \(found.type) \(found.shape)")
      }
      values.replaceSubrange(tensor.offset..<tensor.offset + floats.count, with: floats)
    }
    if let extra = tensors.keys.sorted().first(where: { layout[$0] == nil }) {
      throw Self.fault(extra, "\(schema.architecture) has no such tensor")
    }
    try self.init(schema: schema, values: values, provenance: provenance)
  }

  /// The same weights with other constants.
  ///
  /// - Throws: ``FormatError`` naming a tensor that the constants give another shape.
  public func with(_ schema: ThetaSchema) throws(FormatError) -> Theta {
    for tensor in schema.layout.tensors where layout[tensor.name]?.shape != tensor.shape {
      let got = layout[tensor.name].map { "\($0.shape)" } ?? "none"
      throw Self.fault(tensor.name, "the constants want \(tensor.shape), but the weights have \(got)")
    }
    if let extra = layout.tensors.first(where: { schema.layout[$0.name] == nil }) {
      throw Self.fault(extra.name, "with these constants \(schema.architecture) has no such tensor")
    }
    return try Theta(schema: schema, values: values, provenance: provenance)
  }

  /// The same weights with these constants in place of their own.
  ///
  /// - Throws: ``SpecError`` with the faults of `constants`; ``FormatError`` as ``with(_:)``.
  public func with(constants: JSON) throws -> Theta {
    let schema: ThetaSchema = try Faults.collect { faults in
      guard var fields = Fields(constants, faults: faults) else { return nil }
      let schema = self.schema.reading(&fields)
      fields.finish()
      return schema
    }
    return try with(schema)
  }

  private static func detect(
    _ tree: ThetaTree, as name: OptimizerName?, constants: JSON
  ) throws(FormatError) -> ThetaSchema {
    let candidates = OptimizerCatalog.learned.filter { name == nil || $0.optimizer == name }
    let faults = Faults()
    for type in candidates {
      guard var fields = Fields(constants, path: "/constants", faults: faults) else { break }
      guard let schema = ThetaSchema(type, recognising: tree, &fields) else { continue }
      fields.finish()
      do { try faults.check() } catch { throw fault("constants", error.description) }
      return schema
    }
    let known = candidates.map { $0.optimizer.rawValue }.joined(separator: ", ")
    throw fault("root", "expected the weights of \(known), got other tensors")
  }

  /// Gathers the leaves of a tree under their names.
  private static func collect(
    _ value: FlaxValue, under path: [String], into tensors: inout [String: ThetaTensor]
  ) throws(FormatError) {
    if case .map(let members) = value {
      for member in members { try collect(member.value, under: path + [member.key], into: &tensors) }
      return
    }
    let name = path.joined(separator: "/")
    let tensor =
      if case .array(let array) = value {
        ThetaTensor(shape: array.shape, type: array.dtype, floats: array.floats)
      } else { ThetaTensor(shape: [], type: value.kind, floats: nil) }
    // Keys may hold slashes, so two paths may have one name.
    guard tensors.updateValue(tensor, forKey: name) == nil else { throw fault(name, "two tensors have this name") }
  }

  private static func fault(_ place: String, _ reason: String) -> FormatError {
    FormatError(format: "theta", place: place, reason: reason)
  }
}

/// A tensor of a file that may be part of a theta.
public struct ThetaTensor: Sendable {
  public let shape: [Int]
  /// The element type as the file names it, for refusals.
  public let type: String
  /// The elements, row-major; nil where they are no floating-point numbers.
  public let floats: [Float]?

  public init(shape: [Int], type: String, floats: [Float]?) {
    self.shape = shape
    self.type = type
    self.floats = floats
  }
}

extension SafetensorsFile {
  /// The tensors `theta/<path>` by their paths; empty where there are none.
  ///
  /// - Throws: ``FormatError`` for one that holds no floating-point numbers.
  func recordedWeights(under prefix: String = "theta/") throws(FormatError) -> [String: ThetaTensor] {
    var weights: [String: ThetaTensor] = [:]
    for tensor in tensors where tensor.name.hasPrefix(prefix) {
      weights[String(tensor.name.dropFirst(prefix.count))] = ThetaTensor(
        shape: tensor.shape, type: tensor.dtype.rawValue, floats: try floats(tensor.name))
    }
    return weights
  }
}
