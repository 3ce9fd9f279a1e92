// Writes a dataset's folder while a format reader goes through the upload: rows are routed to the training or
// the held-out part as they come, so memory stays bounded whatever the size.
import Compute
import Contract
import Foundation

/// What came of reading an upload.
public struct BuiltDataset: Sendable {
  public let schema: DatasetSchema
  /// A few rows as people want to see them.
  public let preview: JSON
}

/// Reads uploads into dataset folders.
public enum DatasetBuilder {
  /// How much an upload may decompress to.
  public static let bytesMax = 8 << 30

  /// Validates the upload in `file` and writes the dataset into `folder`, which appears whole or not at all.
  ///
  /// - Throws: ``DataFault`` with row and column of each problem; ``StorageError`` for faults of this machine.
  public static func build(file: URL, options: DatasetOptions, folder: URL) throws -> BuiltDataset {
    let manager = FileManager.default
    let partial = folder.deletingLastPathComponent()
      .appendingPathComponent(".\(folder.lastPathComponent).\(getpid()).\(UInt32.random(in: .min ... .max))")
    try manager.createDirectory(at: partial, withIntermediateDirectories: true)
    defer { try? manager.removeItem(at: partial) }
    let built: BuiltDataset
    let encoding: InputEncoding
    switch options.format {
    case .idx: (built, encoding) = try IDX.build(file: file, options: options, folder: partial)
    case .csv: (built, encoding) = (try CSVTable.build(file: file, options: options, folder: partial), .floats)
    }
    guard built.schema.trainRows > 0, built.schema.heldOutRows > 0 else {
      throw DataFault(
        "there are too few rows: \(built.schema.trainRows) to train on and \(built.schema.heldOutRows) held out; "
          + "both parts need at least one")
    }
    let description: JSON = ["schema": built.schema.json, "encoding": .string(encoding.rawValue)]
    try Data(description.bytes).write(to: partial.appendingPathComponent("dataset.json"))
    if rename(partial.path, folder.path) != 0, !manager.fileExists(atPath: folder.path) {
      throw StorageError("the dataset's folder cannot be put in place")
    }
    return built
  }

  /// Whether a row without a given split is held out: a fixed function of its index, so every reader agrees.
  static func isHeldOut(row: Int, fraction: Double) -> Bool {
    // One of the first rows is always held out and one always kept, so that tiny sets have both parts.
    if row < 2 { return row == 1 }
    let word = Philox.block(
      counter: (UInt32(truncatingIfNeeded: row), UInt32(truncatingIfNeeded: row >> 32), 0, 0), key: (0x5EED, 0)
    ).0
    return Double(word) < fraction * 4_294_967_296
  }
}

/// Buffered writing of one part's rows.
final class PartWriter {
  private(set) var rows = 0
  private let inputs: FileWriter
  private let targets: FileWriter

  init(folder: URL, name: String) throws {
    inputs = try FileWriter(folder.appendingPathComponent("\(name).inputs"))
    targets = try FileWriter(folder.appendingPathComponent("\(name).targets"))
  }

  func appendInput(_ bytes: some Sequence<UInt8>) throws { try inputs.append(bytes) }

  func appendInput(_ floats: [Float]) throws { try floats.withUnsafeBytes { try inputs.append($0) } }

  func appendTarget(_ label: Int32) throws {
    rows += 1
    try withUnsafeBytes(of: label) { try targets.append($0) }
  }

  func appendTarget(_ value: Float) throws {
    rows += 1
    try withUnsafeBytes(of: value) { try targets.append($0) }
  }

  func finish() throws {
    try inputs.finish()
    try targets.finish()
  }
}

/// A file written front to back through a buffer; a full disk is an answer, not a crash.
private final class FileWriter {
  private let descriptor: Int32
  private var buffer: [UInt8] = []
  private let name: String

  init(_ file: URL) throws {
    name = file.lastPathComponent
    descriptor = open(file.path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw StorageError("\(name) cannot be written") }
    buffer.reserveCapacity(1 << 20)
  }

  deinit { close(descriptor) }

  func append(_ bytes: some Sequence<UInt8>) throws {
    buffer.append(contentsOf: bytes)
    if buffer.count >= 1 << 20 { try flush() }
  }

  /// Writes what is left, down to the disk: a folder that appears under its name is whole even after a power cut.
  func finish() throws {
    try flush()
    guard fsync(descriptor) == 0 else { throw StorageError("\(name) cannot be written") }
  }

  private func flush() throws {
    var done = 0
    while done < buffer.count {
      let count = buffer.withUnsafeBytes { write(descriptor, $0.baseAddress! + done, $0.count - done) }
      guard count > 0 else { throw StorageError("\(name) cannot be written") }
      done += count
    }
    buffer.removeAll(keepingCapacity: true)
  }
}
