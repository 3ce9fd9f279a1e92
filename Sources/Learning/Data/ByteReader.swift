// Reads an uploaded file, or one entry of it, front to back in bounded memory, decompressing on the way. The format
// readers (IDX.swift, CSVReader.swift, TextFile.swift and their neighbours) pull from it.
import CZlib
import Foundation

/// What is wrong with uploaded data: every problem found, each with its place.
public struct DataFault: Error, Sendable, CustomStringConvertible {
  public let problems: [Place]

  /// One problem: the row (from 1) and column where they are known, and what is wrong there.
  public struct Place: Sendable, Hashable {
    public let row: Int?
    public let column: String?
    public let reason: String
  }

  public init(row: Int? = nil, column: String? = nil, _ reason: String) {
    problems = [Place(row: row, column: column, reason: reason)]
  }

  /// Several problems; there is at least one.
  public init(_ problems: [Place]) {
    precondition(!problems.isEmpty, "a fault without a problem")
    self.problems = problems
  }

  /// Text out of the data as it may stand in a reason: short, and without control characters.
  static func quoted(_ text: String) -> String {
    let shown = text.unicodeScalars.prefix(60).map { $0.value < 0x20 || $0.value == 0x7F ? "\u{FFFD}" : String($0) }
    return "\"" + shown.joined() + (text.unicodeScalars.count > 60 ? "…\"" : "\"")
  }

  public var description: String {
    problems.map { place in
      [place.row.map { "row \($0)" }, place.column.map { "column \($0)" }].compactMap { $0 }
        .joined(separator: ", ") + (place.row == nil && place.column == nil ? "" : ": ") + place.reason
    }.joined(separator: "\n")
  }
}

extension String {
  /// The first characters, which are bounded as those that people see are not: one may be of any number of scalars.
  func beginning(scalars count: Int) -> String { String(String.UnicodeScalarView(unicodeScalars.prefix(count))) }
}

/// This machine's disk or memory did not do what was asked; the data may be perfectly good.
public struct StorageError: Error, Sendable, CustomStringConvertible {
  public let description: String

  /// What was attempted, followed by what the system says of `errno` unless `reason` tells it.
  init(_ attempt: String, reason: String? = nil) {
    description = "\(attempt): \(reason ?? String(cString: strerror(errno)))"
  }
}

/// A file, or a part of one, read once from front to back.
///
/// A whole file may be plain bytes or gzip members, also several in a row; an archive's entry is stored or deflated.
final class ByteReader {
  /// How the bytes are kept in the file.
  enum Encoding { case plainOrGzip, stored, deflated }

  /// What an archive announces of an entry; the entry is refused when it turns out otherwise.
  struct Announced {
    let name: String
    let bytes: Int
    let crc: UInt
  }

  /// The most that a whole upload may decompress to for each of its bytes, once it is more than `compressionBytesFree`:
  /// data compresses to a tenth or a fiftieth, and only what repeats itself without end to less. So a small upload cannot
  /// keep a worker busy for minutes.
  static let compressionMax = 200
  static let compressionBytesFree = 128 << 20
  private static let bufferBytes = 256 << 10

  private let descriptor: Int32
  private let ownsDescriptor: Bool
  private var place: Int
  private let placeEnd: Int
  private let announced: Announced?
  private let bytesMax: Int
  // What was read from the file and not yet handed on, and the same after decompression.
  private let raw: UnsafeMutablePointer<UInt8>
  private var rawStart = 0
  private var rawEnd = 0
  private let decoded: UnsafeMutablePointer<UInt8>
  private var start = 0
  private var end = 0
  private var stream = z_stream()
  private var mode: Mode
  private var crc = crc32(0, nil, 0)
  /// Decompressed bytes handed out so far.
  private(set) var offset = 0

  private enum Mode { case undecided, plain, inflating, finished }

  /// Opens `file`; `bytesMax` bounds what it may decompress to.
  init(file: URL, bytesMax: Int) throws {
    descriptor = open(file.path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw StorageError("the file cannot be read") }
    ownsDescriptor = true
    (place, placeEnd, announced, mode) = (0, .max, nil, .undecided)
    self.bytesMax = bytesMax
    raw = .allocate(capacity: Self.bufferBytes)
    decoded = .allocate(capacity: Self.bufferBytes)
  }

  /// Reads the bytes `range` of an open file, which must stay open, as one entry of an archive.
  init(descriptor: Int32, range: Range<Int>, encoding: Encoding, announced: Announced) throws {
    self.descriptor = descriptor
    ownsDescriptor = false
    (place, placeEnd) = (range.lowerBound, range.upperBound)
    self.announced = announced
    mode = encoding == .stored ? .plain : .undecided
    bytesMax = announced.bytes
    raw = .allocate(capacity: Self.bufferBytes)
    decoded = .allocate(capacity: Self.bufferBytes)
    if encoding == .deflated { try startInflating(windowBits: -15) }
  }

  deinit {
    if mode == .inflating { inflateEnd(&stream) }
    if ownsDescriptor { close(descriptor) }
    raw.deallocate()
    decoded.deallocate()
  }

  /// Decompresses `file` once without looking at it, so that an upload which is nearly nothing, written many times, is
  /// refused at zlib's pace and not at a parser's. Plain files are left alone.
  static func checkCompression(of file: URL, bytesMax: Int) throws {
    let reader = try ByteReader(file: file, bytesMax: bytesMax)
    guard try !reader.next().isEmpty, reader.mode != .plain else { return }
    while try !reader.next().isEmpty {}
  }

  /// The next decompressed bytes, at most `countMax`, none at the end. They are valid until the next call.
  func next(_ countMax: Int = .max) throws -> UnsafeBufferPointer<UInt8> {
    if mode != .plain, start == end { try refill() }
    // Plain bytes are handed out where they lie.
    if mode == .plain, start == end {
      if rawStart == rawEnd { try fill() }
      let bytes = UnsafeBufferPointer(start: raw + rawStart, count: min(countMax, rawEnd - rawStart))
      rawStart += bytes.count
      return try account(bytes)
    }
    let bytes = UnsafeBufferPointer(start: decoded + start, count: min(countMax, end - start))
    start += bytes.count
    return try account(bytes)
  }

  private func account(_ bytes: UnsafeBufferPointer<UInt8>) throws -> UnsafeBufferPointer<UInt8> {
    offset += bytes.count
    guard offset <= bytesMax else {
      if let announced {
        throw DataFault(column: announced.name, "holds more than the \(announced.bytes) bytes its archive announces")
      }
      throw DataFault("the data decompresses to more than \(bytesMax) bytes, the limit for one dataset")
    }
    guard let announced else {
      let consumed = place - (rawEnd - rawStart)
      guard offset <= Self.compressionBytesFree || offset / Self.compressionMax <= consumed else { throw Self.inflated }
      return bytes
    }
    if bytes.isEmpty {
      guard offset == announced.bytes else {
        throw DataFault(
          column: announced.name, "holds \(offset) bytes where its archive announces \(announced.bytes)")
      }
      guard crc == announced.crc else {
        throw DataFault(column: announced.name, "is damaged: its checksum is not the one in the archive")
      }
    } else {
      crc = crc32(crc, bytes.baseAddress, UInt32(bytes.count))
    }
    return bytes
  }

  /// The fault of an upload that is nearly nothing, written many times.
  static let inflated = DataFault(
    "the data decompresses to more than \(compressionMax) times its size, which only data that repeats itself does; "
      + "send it uncompressed")

  /// Fills `target`; a fault naming `what` when the data ends before.
  func read(into target: UnsafeMutableRawBufferPointer, _ what: @autoclosure () -> String) throws {
    var done = 0
    while done < target.count {
      let bytes = try next(target.count - done)
      guard !bytes.isEmpty else { throw shortage(what(), target.count, done) }
      target.baseAddress!.advanced(by: done).copyMemory(from: bytes.baseAddress!, byteCount: bytes.count)
      done += bytes.count
    }
  }

  /// Exactly `count` bytes; a fault naming `what` when the data ends before.
  func exactly(_ count: Int, _ what: @autoclosure () -> String) throws -> [UInt8] {
    var bytes: [UInt8] = []
    // The count may be a lie of a header: what is reserved grows with what truly comes.
    bytes.reserveCapacity(min(count, 1 << 20))
    while bytes.count < count {
      let slice = try next(count - bytes.count)
      guard !slice.isEmpty else { throw shortage(what(), count, bytes.count) }
      bytes.append(contentsOf: slice)
    }
    return bytes
  }

  /// Checks that an archive's entry ends here and is whole; for a whole file there is nothing to check.
  func finish() throws {
    guard let announced, try !next().isEmpty else { return }
    throw DataFault(column: announced.name, "has more bytes than it should")
  }

  /// Passes over exactly `count` bytes.
  func skip(_ count: Int, _ what: @autoclosure () -> String) throws {
    var done = 0
    while done < count {
      let bytes = try next(count - done)
      guard !bytes.isEmpty else { throw shortage(what(), count, done) }
      done += bytes.count
    }
  }

  private func shortage(_ what: String, _ count: Int, _ got: Int) -> DataFault {
    DataFault(
      column: announced?.name, "the data ends inside \(what): expected \(count) more bytes, got \(got)")
  }

  /// Whether everything was read. Between the parts of a concatenation, a gzip part may follow a plain one.
  func isAtEnd() throws -> Bool {
    if mode == .plain, announced == nil { mode = .undecided }
    if start == end, mode != .plain { try refill() }
    if mode == .plain {
      if rawStart == rawEnd { try fill() }
      return rawStart == rawEnd
    }
    return start == end
  }

  /// Reads more of the file behind what is left of it.
  private func fill() throws {
    if rawStart > 0 {
      raw.update(from: raw + rawStart, count: rawEnd - rawStart)
      (rawStart, rawEnd) = (0, rawEnd - rawStart)
    }
    let wanted = min(Self.bufferBytes - rawEnd, placeEnd - place)
    guard wanted > 0 else { return }
    let count = pread(descriptor, raw + rawEnd, wanted, off_t(place))
    guard count >= 0 else { throw StorageError("the file cannot be read") }
    rawEnd += count
    place += count
  }

  private func startInflating(windowBits: Int32) throws {
    stream = z_stream()
    guard inflateInit2_(&stream, windowBits, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
      throw StorageError("decompressing the data", reason: "there is no memory")
    }
    mode = .inflating
  }

  /// Decompresses more, or finds out that the bytes are plain or that there are none.
  private func refill() throws {
    (start, end) = (0, 0)
    while end == 0 {
      if mode == .undecided {
        while rawEnd - rawStart < 2 {
          let before = rawEnd - rawStart
          try fill()
          if rawEnd - rawStart == before { break }
        }
        guard rawStart < rawEnd else { return }
        guard rawEnd - rawStart >= 2, raw[rawStart] == 0x1F, raw[rawStart + 1] == 0x8B else {
          mode = .plain
          return
        }
        try startInflating(windowBits: 15 + 16)
      }
      guard mode == .inflating else { return }
      try inflateSome()
    }
  }

  private func inflateSome() throws {
    let kind = announced == nil ? "gzip" : "compressed"
    if rawStart == rawEnd { try fill() }
    guard rawStart < rawEnd else {
      throw DataFault(column: announced?.name, "the \(kind) data is cut off after \(offset) decompressed bytes")
    }
    stream.next_in = raw + rawStart
    stream.avail_in = UInt32(rawEnd - rawStart)
    stream.next_out = decoded
    stream.avail_out = UInt32(Self.bufferBytes)
    let status = inflate(&stream, Z_NO_FLUSH)
    rawStart = rawEnd - Int(stream.avail_in)
    end = Self.bufferBytes - Int(stream.avail_out)
    if status == Z_STREAM_END {
      inflateEnd(&stream)
      mode = announced == nil ? .undecided : .finished
      return
    }
    guard status == Z_OK || status == Z_BUF_ERROR else {
      throw DataFault(column: announced?.name, "the \(kind) data is damaged after \(offset) decompressed bytes")
    }
  }
}
