// One stream of tokens, written while text comes in, then cut into rows: consecutive windows to train on, and a tail
// of the stream held out, so that no held-out window was seen in training. Rows are views of the stream
// (InputEncoding.windows); the readers of text and of documents (TextFile.swift) feed it.
import Contract
import Foundation

/// Turns UTF-8 text into a stream of tokens in a dataset's folder.
final class TokenStreamWriter {
  /// What the finished stream holds.
  struct Cut {
    let trainRows: Int
    let heldOutRows: Int
    let vocabulary: Int
    let tokens: DatasetSchema.Tokens

    /// The schema of a language model's data.
    func schema(sequenceLength: Int) -> DatasetSchema {
      var schema = DatasetSchema(
        shape: DataShape(
          input: [sequenceLength], elements: .tokens(vocabulary: vocabulary), target: .tokens(vocabulary: vocabulary)),
        trainRows: trainRows, heldOutRows: heldOutRows, classNames: [], columns: [])
      schema.tokens = tokens
      return schema
    }
  }

  /// A stream takes two bytes a token on disk, and twice that while it is cut.
  private static let tokensMax = 1 << 30
  /// Stands for the gap between documents until the vocabulary is known.
  private static let staged: (gap: UInt16, other: UInt16) = (.max, .max - 1)

  private let folder: URL
  private let kind: DatasetOptions.Tokens
  private let file: FileWriter
  private var buffer: [UInt16] = []
  private var count = 0
  private var hasGaps = false
  private var decoder = UTF8Decoder()
  private var characters = CharacterTable()
  private var largest: UInt16 = 0

  init(folder: URL, kind: DatasetOptions.Tokens) throws {
    self.folder = folder
    self.kind = kind
    file = try FileWriter(folder.appendingPathComponent("staged"))
    buffer.reserveCapacity(Self.bufferTokens)
  }

  private static let bufferTokens = 32 << 10

  /// Appends text; `bytes` may end inside a character.
  ///
  /// - Throws: ``DataFault`` with the line where the text is not UTF-8 or holds a zero byte.
  func append(_ bytes: UnsafeBufferPointer<UInt8>) throws {
    for byte in bytes {
      guard let scalar = try decoder.next(byte) else {
        if kind == .bytes { try emit(UInt16(byte)) }
        continue
      }
      switch kind {
      case .bytes: try emit(UInt16(byte))
      case .characters: try emit(characters.index(of: scalar, at: count) ?? Self.staged.other)
      case .integers: preconditionFailure("integers come one by one")
      }
    }
  }

  /// Appends a token where tokens are integers.
  func append(_ token: UInt16) throws {
    largest = max(largest, token)
    try emit(token)
  }

  /// Ends a document: a token of its own stands between this one and the next.
  func endDocument() throws {
    try decoder.finish()
    hasGaps = true
    try emit(Self.staged.gap)
  }

  private func emit(_ token: UInt16) throws {
    buffer.append(token)
    count += 1
    if buffer.count == Self.bufferTokens { try flush() }
  }

  private func flush() throws {
    guard count <= Self.tokensMax else {
      throw DataFault("the text has more than \(Self.tokensMax) tokens, the limit for one dataset")
    }
    try buffer.withUnsafeBytes { try file.append($0) }
    buffer.removeAll(keepingCapacity: true)
  }

  /// Cuts the stream into windows of `sequenceLength` tokens, holds out the tail, and writes both parts.
  func finish(sequenceLength: Int, heldOutFraction: Double) throws -> Cut {
    try decoder.finish()
    try flush()
    try file.finish()
    // A window is its tokens and one more, the last target.
    let windowTokens = sequenceLength + 1
    guard count >= 2 * windowTokens else {
      throw DataFault(
        "the text has \(count) tokens: expected at least \(2 * windowTokens), a window of \(sequenceLength) and the "
          + "token after it for each part; give more text or a smaller sequence_length")
    }
    let heldOutTokens = max(windowTokens, Int(Double(count) * heldOutFraction))
    let trainTokens = count - heldOutTokens
    guard trainTokens >= windowTokens else {
      throw DataFault("the text has \(count) tokens, too few to hold out \(heldOutTokens); give more text")
    }
    let (map, tokens, vocabulary) = try vocabulary(trainTokens: trainTokens)
    let train = (trainTokens - 1) / sequenceLength
    let heldOut = (heldOutTokens - 1) / sequenceLength
    try copy(from: 0, count: train * sequenceLength + 1, to: "train", map: map)
    try copy(from: trainTokens, count: heldOut * sequenceLength + 1, to: "heldout", map: map)
    try FileManager.default.removeItem(at: folder.appendingPathComponent("staged"))
    return Cut(trainRows: train, heldOutRows: heldOut, vocabulary: vocabulary, tokens: tokens)
  }

  /// What each staged token becomes, and the vocabulary they become one of.
  private func vocabulary(trainTokens: Int) throws -> (map: [UInt16], tokens: DatasetSchema.Tokens, count: Int) {
    var map = [UInt16](repeating: 0, count: 1 << 16)
    var tokens: DatasetSchema.Tokens
    var count: Int
    switch kind {
    case .bytes:
      for byte in 0..<256 { map[byte] = UInt16(byte) }
      tokens = .init(kind: .bytes)
      count = 256
    case .characters:
      let scalars = try characters.vocabulary(before: trainTokens)
      for entry in map.indices { map[entry] = UInt16(scalars.count) }
      for (index, entry) in scalars.enumerated() { map[Int(entry.staged)] = UInt16(index) }
      tokens = .init(
        kind: .characters, characters: scalars.map { String(Character($0.scalar)) }, unknown: scalars.count)
      count = scalars.count + 1
    case .integers:
      for token in map.indices { map[token] = UInt16(token) }
      tokens = .init(kind: .integers)
      count = Int(largest) + 1
    }
    if hasGaps {
      map[Int(Self.staged.gap)] = UInt16(count)
      tokens.separator = count
      count += 1
    }
    return (map, tokens, count)
  }

  private func copy(from first: Int, count: Int, to part: String, map: [UInt16]) throws {
    let source = folder.appendingPathComponent("staged")
    let descriptor = open(source.path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw StorageError("the staged tokens cannot be read") }
    defer { close(descriptor) }
    let target = try FileWriter(folder.appendingPathComponent("\(part).inputs"))
    var tokens = [UInt16](repeating: 0, count: Self.bufferTokens)
    var done = 0
    while done < count {
      let wanted = min(tokens.count, count - done)
      try tokens.withUnsafeMutableBytes { bytes in
        var read = 0
        while read < wanted * 2 {
          let got = pread(descriptor, bytes.baseAddress! + read, wanted * 2 - read, off_t((first + done) * 2 + read))
          guard got > 0 else { throw StorageError("the staged tokens cannot be read") }
          read += got
        }
        bytes.withMemoryRebound(to: UInt16.self) { tokens in
          for index in 0..<wanted { tokens[index] = map[Int(tokens[index])] }
        }
        try target.append(UnsafeRawBufferPointer(rebasing: bytes[..<(wanted * 2)]))
      }
      done += wanted
    }
    try target.finish()
  }
}

/// The characters of a text in the order they first came, with the place where they did.
struct CharacterTable {
  private var indices: [UInt32: UInt16] = [:]
  // Most text is mostly ASCII.
  private var ascii = [UInt16](repeating: .max, count: 128)
  private var scalars: [(scalar: Unicode.Scalar, first: Int)] = []
  /// Where a character came for which there was no room.
  private var overflow: (scalar: Unicode.Scalar, place: Int)?

  /// The index of `scalar`, by order of appearance; nil when there is no room for one more.
  mutating func index(of scalar: Unicode.Scalar, at place: Int) -> UInt16? {
    if scalar.value < 128, ascii[Int(scalar.value)] != .max { return ascii[Int(scalar.value)] }
    if let index = indices[scalar.value] { return index }
    guard scalars.count < DatasetOptions.charactersMax else {
      if overflow == nil { overflow = (scalar, place) }
      return nil
    }
    let index = UInt16(scalars.count)
    scalars.append((scalar, place))
    if scalar.value < 128 { ascii[Int(scalar.value)] = index } else { indices[scalar.value] = index }
    return index
  }

  /// The characters that came before `place`, in code point order, with the index they were given.
  func vocabulary(before place: Int) throws -> [(scalar: Unicode.Scalar, staged: UInt16)] {
    if let overflow, overflow.place < place {
      let code = String(overflow.scalar.value, radix: 16, uppercase: true)
      throw DataFault(
        "the text has more than \(DatasetOptions.charactersMax) different characters (the next would be U+\(code)); "
          + "use tokens=bytes")
    }
    return scalars.enumerated().filter { $1.first < place }.map { ($1.scalar, UInt16($0)) }
      .sorted { $0.scalar.value < $1.scalar.value }
  }
}

/// Decodes UTF-8 byte by byte, strictly, and keeps the line for its faults.
struct UTF8Decoder {
  private var value: UInt32 = 0
  private var missing = 0
  private var allowed: ClosedRange<UInt8> = 0x80...0xBF
  /// The line that is being read, from 1.
  private(set) var line = 1

  /// The character that `byte` completes, if it does.
  @inline(__always)
  mutating func next(_ byte: UInt8) throws -> Unicode.Scalar? {
    if missing == 0, byte < 0x80 {
      if byte == 0 {
        throw DataFault(row: line, "the text holds a zero byte: is it another format, or UTF-16? Expected UTF-8 text")
      }
      if byte == 0x0A { line += 1 }
      return Unicode.Scalar(byte)
    }
    return try longer(byte)
  }

  private mutating func longer(_ byte: UInt8) throws -> Unicode.Scalar? {
    if missing == 0 {
      allowed = 0x80...0xBF
      switch byte {
      case 0xC2...0xDF: (missing, value) = (1, UInt32(byte & 0x1F))
      case 0xE0...0xEF:
        (missing, value) = (2, UInt32(byte & 0x0F))
        if byte == 0xE0 { allowed = 0xA0...0xBF }
        if byte == 0xED { allowed = 0x80...0x9F }
      case 0xF0...0xF4:
        (missing, value) = (3, UInt32(byte & 0x07))
        if byte == 0xF0 { allowed = 0x90...0xBF }
        if byte == 0xF4 { allowed = 0x80...0x8F }
      default: throw invalid
      }
      return nil
    }
    guard allowed.contains(byte) else { throw invalid }
    allowed = 0x80...0xBF
    value = value << 6 | UInt32(byte & 0x3F)
    missing -= 1
    return missing == 0 ? Unicode.Scalar(value) : nil
  }

  /// Checks that the text does not end inside a character.
  func finish() throws {
    if missing > 0 { throw invalid }
  }

  private var invalid: DataFault {
    DataFault(row: line, "the text is not valid UTF-8; convert it, for example with iconv -t UTF-8")
  }
}
