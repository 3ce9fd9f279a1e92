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
  /// How many rows a part may have: a run keeps their order in memory.
  static let rowsMax = 64 << 20

  /// Validates the upload in `file` and writes the dataset into `folder`, which appears whole or not at all.
  ///
  /// - Throws: ``DataFault`` with row and column of each problem; ``StorageError`` for faults of this machine.
  public static func build(file: URL, options: DatasetOptions, folder: URL) throws -> BuiltDataset {
    let manager = FileManager.default
    let partial = folder.deletingLastPathComponent()
      .appendingPathComponent(".\(folder.lastPathComponent).\(getpid()).\(UInt32.random(in: .min ... .max))")
    try manager.createDirectory(at: partial, withIntermediateDirectories: true)
    defer { try? manager.removeItem(at: partial) }
    try ByteReader.checkCompression(of: file, bytesMax: bytesMax)
    let built: BuiltDataset
    let encoding: InputEncoding
    switch options.format {
    case .idx: (built, encoding) = try IDX.build(file: file, options: options, folder: partial)
    case .csv:
      let table = Table(options: options) { try CSVReader(file: file, options: options) }
      (built, encoding) = (try table.build(folder: partial), .floats)
    case .jsonl: (built, encoding) = try JSONLines.build(file: file, options: options, folder: partial)
    case .text: (built, encoding) = (try TextFile.build(file: file, options: options, folder: partial), .windows)
    case .images: (built, encoding) = (try ImageFolders.build(file: file, options: options, folder: partial), .bytes)
    case .npz: (built, encoding) = try ArrayTable.npz(file: file, options: options, folder: partial)
    case .npy: (built, encoding) = try ArrayTable.npy(file: file, options: options, folder: partial)
    }
    guard built.schema.trainRows > 0, built.schema.heldOutRows > 0 else {
      throw DataFault(
        "there are too few rows: \(built.schema.trainRows) to train on and \(built.schema.heldOutRows) held out; "
          + "both parts need at least one")
    }
    guard built.schema.trainRows <= rowsMax, built.schema.heldOutRows <= rowsMax else {
      throw DataFault(
        "the data has \(built.schema.trainRows + built.schema.heldOutRows) rows; the limit is \(rowsMax) to train on")
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
