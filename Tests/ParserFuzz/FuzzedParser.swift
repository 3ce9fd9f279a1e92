// The parsers that are fuzzed: one line each in `all`, one small file each in Parsers/.
import Contract
import Foundation
import Learning

/// A parser with seeds to damage.
struct FuzzedParser: Sendable {
  let name: String
  /// Small inputs that the parser takes.
  let seeds: [[UInt8]]
  /// Words of the format, to be strewn in.
  var tokens: [String] = []
  /// Mends checksums in a damaged input, so that what lies behind them is reached too.
  var mend: @Sendable ([UInt8]) -> [UInt8] = { $0 }
  /// Whether an error is the parser's own way to refuse; any other is a failure.
  let isFault: @Sendable (any Error) -> Bool
  let parse: @Sendable ([UInt8], FuzzScratch) throws -> Void

  static let all: [FuzzedParser] = [
    json, safetensors, msgpack, onnx, csv, idx, text, jsonl, npy, npz, zip, tar, png, jpeg,
  ]

  /// A format of datasets, read as an upload is.
  static func dataset(
    _ name: String, _ options: DatasetOptions, seeds: [[UInt8]], tokens: [String] = [],
    mend: @escaping @Sendable ([UInt8]) -> [UInt8] = { $0 }, wrap: @escaping @Sendable ([UInt8]) -> [UInt8] = { $0 }
  ) -> FuzzedParser {
    FuzzedParser(name: name, seeds: seeds, tokens: tokens, mend: mend, isFault: { $0 is DataFault }) { bytes, scratch in
      try scratch.build(wrap(bytes), options)
    }
  }
}

/// A folder in memory for uploads and what is made of them.
struct FuzzScratch {
  private let folder: URL

  init() throws {
    let memory = "/dev/shm"
    let base = FileManager.default.isWritableFile(atPath: memory) ? memory : NSTemporaryDirectory()
    folder = URL(filePath: base).appending(path: "fuzz-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  }

  func remove() { try? FileManager.default.removeItem(at: folder) }

  /// Validates an upload, and reads the dataset that came of it.
  func build(_ bytes: [UInt8], _ options: DatasetOptions) throws {
    let upload = folder.appending(path: "upload")
    let descriptor = open(upload.path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    guard descriptor >= 0, write(descriptor, bytes, bytes.count) == bytes.count else {
      ParserFuzz.fail("the upload cannot be written")
    }
    close(descriptor)
    let place = folder.appending(path: "set")
    defer { try? FileManager.default.removeItem(at: place) }
    let built = try DatasetBuilder.build(file: upload, options: options, folder: place)
    let data = try TrainingData(folder: place)
    precondition(DatasetSchema.decode(built.schema.json) == built.schema, "the schema changes when it is stored")
    precondition((try? JSON.parse(built.preview.text)) != nil, "the preview cannot be stored")
    check(data.train)
    check(data.heldOut)
  }

  private func check(_ part: DataPart) {
    var inputs = [Float](repeating: .nan, count: part.width)
    var labels = [Int32](repeating: -1, count: part.targetsPerRow)
    for row in Set([0, part.rows - 1]) {
      part.input(row, into: &inputs)
      precondition(inputs.allSatisfy(\.isFinite), "an input is not finite")
      if case .values = part.target { continue }
      part.labels(row, into: &labels)
      precondition(labels.allSatisfy { (0..<Int32(part.target.outputs)).contains($0) }, "a label is out of range")
    }
  }
}
