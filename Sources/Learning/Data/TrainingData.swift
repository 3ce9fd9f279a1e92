// A dataset ready to train on: rows of inputs and targets in files that are mapped, not read, so that several
// workers share one copy in the page cache. DatasetBuilder writes the folder; the format readers drive it.
import Contract
import Foundation

/// How the numbers of an input row are kept.
public enum InputEncoding: String, Sendable {
  /// One byte each; the model sees value / 255.
  case bytes
  /// Little-endian Float32, as the model sees them.
  case floats
  /// Tokens as little-endian UInt16.
  case tokens
  /// One stream of such tokens. Row r is the tokens from r * width on, and its targets are the tokens from
  /// r * width + 1 on, so the stream has one token more than its rows.
  case windows

  /// Size of the inputs of `rows` rows of `width` numbers.
  func bytes(rows: Int, width: Int) -> Int {
    switch self {
    case .bytes: rows * width
    case .floats: rows * width * 4
    case .tokens: rows * width * 2
    case .windows: (rows * width + 1) * 2
    }
  }
}

/// A validated dataset: its schema and two parts, one to train on and one held out.
public final class TrainingData: Sendable {
  public let schema: DatasetSchema
  public let train: DataPart
  public let heldOut: DataPart

  public init(schema: DatasetSchema, train: DataPart, heldOut: DataPart) {
    self.schema = schema
    self.train = train
    self.heldOut = heldOut
  }

  /// Opens a folder that ``DatasetBuilder`` finished.
  public convenience init(folder: URL) throws {
    let description = try Data(contentsOf: folder.appendingPathComponent("dataset.json"))
    guard let json = try? JSON.parse(description), let schema = json["schema"].flatMap(DatasetSchema.decode),
      let encoding = json["encoding"]?.string.flatMap(InputEncoding.init)
    else { throw StorageError("the cached dataset \(folder.lastPathComponent)", reason: "its description is damaged") }
    let width = schema.shape.input.reduce(1, *)
    func part(_ name: String, rows: Int) throws -> DataPart {
      DataPart(
        rows: rows, width: width, encoding: encoding,
        inputs: try MappedFile(
          folder.appendingPathComponent("\(name).inputs"), bytes: encoding.bytes(rows: rows, width: width)),
        targets: try encoding == .windows
          ? nil
          : MappedFile(
            folder.appendingPathComponent("\(name).targets"),
            bytes: rows * 4 * DataPart.targetsPerRow(schema.shape.target, width: width)),
        target: schema.shape.target)
    }
    self.init(
      schema: schema, train: try part("train", rows: schema.trainRows),
      heldOut: try part("heldout", rows: schema.heldOutRows))
  }
}

/// Rows of inputs with their targets. Immutable, so all threads may read it.
public final class DataPart: Sendable {
  public let rows: Int
  /// Numbers in one input row.
  public let width: Int
  public let encoding: InputEncoding
  /// What one target is: a class, a value, or the next token.
  public let target: DataShape.Target
  private let inputs: MappedFile
  /// Nil where the targets are the inputs themselves, one token on.
  private let targets: MappedFile?

  init(
    rows: Int, width: Int, encoding: InputEncoding, inputs: MappedFile, targets: MappedFile?, target: DataShape.Target
  ) {
    self.rows = rows
    self.width = width
    self.encoding = encoding
    self.inputs = inputs
    self.targets = targets
    self.target = target
  }

  /// Writes input row `row` as `width` floats; tokens become their indices.
  public func input(_ row: Int, into floats: UnsafeMutablePointer<Float>) {
    switch encoding {
    case .bytes:
      let bytes = inputs.bytes.baseAddress! + row * width
      for index in 0..<width {
        floats[index] = Float(bytes.load(fromByteOffset: index, as: UInt8.self)) * (1 / 255)
      }
    case .floats:
      (inputs.bytes.baseAddress! + row * width * 4).withMemoryRebound(to: Float.self, capacity: width) {
        floats.update(from: $0, count: width)
      }
    case .tokens, .windows:
      for index in 0..<width { floats[index] = Float(token(row * width + index)) }
    }
  }

  /// Writes input row `row` as `width` token indices, each below the vocabulary. For inputs that are tokens only.
  public func tokens(_ row: Int, into indices: UnsafeMutablePointer<Int32>) {
    precondition(encoding == .tokens || encoding == .windows, "these inputs are numbers, not tokens")
    for index in 0..<width { indices[index] = Int32(token(row * width + index)) }
  }

  @inline(__always)
  private func token(_ place: Int) -> UInt16 {
    UInt16(littleEndian: inputs.bytes.load(fromByteOffset: place * 2, as: UInt16.self))
  }

  /// How many targets a row has: one class, each of its values, or one token for each position.
  public var targetsPerRow: Int { DataPart.targetsPerRow(target, width: width) }

  static func targetsPerRow(_ target: DataShape.Target, width: Int) -> Int {
    switch target {
    case .classes: 1
    case .values(let count): count
    case .tokens: width
    }
  }

  /// Writes the class of a row, or the token that follows each of its positions: `targetsPerRow` indices.
  public func labels(_ row: Int, into labels: UnsafeMutablePointer<Int32>) {
    let count = targetsPerRow
    guard let targets else {
      for index in 0..<count { labels[index] = Int32(token(row * width + index + 1)) }
      return
    }
    (targets.bytes.baseAddress! + row * count * 4).withMemoryRebound(to: Int32.self, capacity: count) {
      labels.update(from: $0, count: count)
    }
  }

  /// Writes the (standardised) values that a row of a regression dataset asks for: `targetsPerRow` of them.
  public func values(_ row: Int, into values: UnsafeMutablePointer<Float>) {
    let count = targetsPerRow
    guard let targets else { preconditionFailure("these targets are tokens, not values") }
    (targets.bytes.baseAddress! + row * count * 4).withMemoryRebound(to: Float.self, capacity: count) {
      values.update(from: $0, count: count)
    }
  }
}

/// A read-only mapping of a file, unmapped with its last user.
// @unchecked: the mapping is immutable for its whole life.
final class MappedFile: @unchecked Sendable {
  let bytes: UnsafeRawBufferPointer

  /// Maps `file`, which must be exactly `count` bytes long.
  init(_ file: URL, bytes count: Int) throws {
    let descriptor = open(file.path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw StorageError("\(file.lastPathComponent) cannot be opened")
    }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, Int(status.st_size) == count else {
      throw StorageError("\(file.lastPathComponent)", reason: "it has \(status.st_size) bytes, expected \(count)")
    }
    guard count > 0 else {
      bytes = UnsafeRawBufferPointer(start: nil, count: 0)
      return
    }
    guard let address = mmap(nil, count, PROT_READ, MAP_SHARED, descriptor, 0), address != MAP_FAILED else {
      throw StorageError("\(file.lastPathComponent) cannot be mapped")
    }
    bytes = UnsafeRawBufferPointer(start: address, count: count)
  }

  deinit {
    if let address = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: address), bytes.count) }
  }
}
