// A text file as a dataset for language models. TokenStream.swift makes its rows.
import Contract
import Foundation

/// Reads UTF-8 text into a dataset folder.
enum TextFile {
  /// How much of the text a preview shows.
  private static let previewBytes = 2000

  static func build(file: URL, options: DatasetOptions, folder: URL) throws -> BuiltDataset {
    let reader = try ByteReader(file: file, bytesMax: DatasetBuilder.bytesMax)
    let stream = try TokenStreamWriter(folder: folder, kind: options.tokens ?? .bytes)
    var beginning: [UInt8] = []
    var isFirst = true
    while true {
      var bytes = try reader.next()
      if bytes.isEmpty { break }
      // A byte order mark is not part of the text.
      if isFirst, bytes.starts(with: [0xEF, 0xBB, 0xBF]) { bytes = UnsafeBufferPointer(rebasing: bytes[3...]) }
      isFirst = false
      beginning.append(contentsOf: bytes.prefix(previewBytes - beginning.count))
      try stream.append(bytes)
    }
    let length = options.sequenceLength ?? DatasetOptions.sequenceLengthDefault
    let cut = try stream.finish(sequenceLength: length, heldOutFraction: options.heldOutFraction)
    return BuiltDataset(schema: cut.schema(sequenceLength: length), preview: preview(beginning))
  }

  private static func preview(_ beginning: [UInt8]) -> JSON {
    // The last character may be cut.
    let text = String(decoding: beginning, as: UTF8.self)
    let whole = beginning.count < previewBytes ? text : String(text.unicodeScalars.dropLast())
    return ["columns": ["text"], "rows": [[.string(whole)]]]
  }
}
