// Reads an uploaded file front to back in bounded memory, through gzip where the bytes are gzip. The format
// readers (IDX.swift, CSVTable.swift) pull from it.
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

  public var description: String {
    problems.map { place in
      [place.row.map { "row \($0)" }, place.column.map { "column \($0)" }].compactMap { $0 }
        .joined(separator: ", ") + (place.row == nil && place.column == nil ? "" : ": ") + place.reason
    }.joined(separator: "\n")
  }
}

/// This machine's disk or memory did not do what was asked; the data may be perfectly good.
public struct StorageError: Error, Sendable, CustomStringConvertible {
  public let description: String

  /// What was attempted, followed by what the system says of `errno` unless `reason` tells it.
  init(_ attempt: String, reason: String? = nil) {
    description = "\(attempt): \(reason ?? String(cString: strerror(errno)))"
  }
}

/// A file read once from front to back. Gzip members, also several in a row, are decompressed on the way.
final class ByteReader {
  private let descriptor: Int32
  private var raw = [UInt8](repeating: 0, count: 256 << 10)
  private var rawStart = 0
  private var rawEnd = 0
  private var decoded = [UInt8](repeating: 0, count: 256 << 10)
  private var start = 0
  private var end = 0
  private var stream = z_stream()
  private var mode = Mode.undecided
  /// Decompressed bytes handed out so far.
  private(set) var offset = 0
  private let bytesMax: Int

  private enum Mode { case undecided, plain, gzip }

  /// Opens `file`; `bytesMax` bounds what it may decompress to.
  init(file: URL, bytesMax: Int) throws {
    descriptor = open(file.path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw StorageError("the file cannot be read") }
    self.bytesMax = bytesMax
  }

  deinit {
    if mode == .gzip { inflateEnd(&stream) }
    close(descriptor)
  }

  /// The next decompressed bytes, or an empty slice at the end. At most `countMax` are taken.
  func next(_ countMax: Int) throws -> ArraySlice<UInt8> {
    if start == end { try refill() }
    let count = min(countMax, end - start)
    defer { start += count }
    offset += count
    guard offset <= bytesMax else {
      throw DataFault("the data decompresses to more than \(bytesMax) bytes, the limit for one dataset")
    }
    return decoded[start..<start + count]
  }

  /// Exactly `count` bytes; a fault naming `what` when the file ends before.
  func exactly(_ count: Int, _ what: @autoclosure () -> String) throws -> [UInt8] {
    var bytes: [UInt8] = []
    // The count may be a lie of a header: what is reserved grows with what truly comes.
    bytes.reserveCapacity(min(count, 1 << 20))
    while bytes.count < count {
      let slice = try next(count - bytes.count)
      guard !slice.isEmpty else {
        throw DataFault("the data ends inside \(what()): expected \(count) more bytes, got \(bytes.count)")
      }
      bytes.append(contentsOf: slice)
    }
    return bytes
  }

  /// Whether everything was read. Between the parts of a concatenation, a gzip part may follow a plain one.
  func isAtEnd() throws -> Bool {
    if mode == .plain {
      // What follows is decided afresh, from bytes not yet handed out.
      let rest = Array(decoded[start..<end]) + Array(raw[rawStart..<rawEnd])
      raw = rest + [UInt8](repeating: 0, count: 256 << 10)
      (rawStart, rawEnd, start, end) = (0, rest.count, 0, 0)
      mode = .undecided
    }
    if start == end { try refill() }
    return start == end
  }

  private func fill() throws {
    if rawStart > 0 {
      raw.replaceSubrange(0..<rawEnd - rawStart, with: Array(raw[rawStart..<rawEnd]))
      (rawStart, rawEnd) = (0, rawEnd - rawStart)
    }
    let count = raw.withUnsafeMutableBytes { read(descriptor, $0.baseAddress! + rawEnd, $0.count - rawEnd) }
    guard count >= 0 else { throw StorageError("the file cannot be read") }
    rawEnd += count
  }

  private func refill() throws {
    (start, end) = (0, 0)
    if mode == .undecided {
      while rawEnd - rawStart < 2 {
        let before = rawEnd - rawStart
        try fill()
        if rawEnd - rawStart == before { break }
      }
      guard rawStart < rawEnd else { return }
      let isGzip = rawEnd - rawStart >= 2 && raw[rawStart] == 0x1F && raw[rawStart + 1] == 0x8B
      if isGzip {
        stream = z_stream()
        guard inflateInit2_(&stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
          throw StorageError("decompressing the data", reason: "there is no memory")
        }
      }
      mode = isGzip ? .gzip : .plain
    }
    if rawStart == rawEnd {
      try fill()
      if rawStart == rawEnd {
        if mode == .gzip { throw DataFault("the gzip data is cut off after \(offset) decompressed bytes") }
        return
      }
    }
    if mode == .plain {
      end = min(decoded.count, rawEnd - rawStart)
      decoded.replaceSubrange(0..<end, with: raw[rawStart..<rawStart + end])
      rawStart += end
      return
    }
    try inflateSome()
  }

  private func inflateSome() throws {
    while end == 0 {
      if rawStart == rawEnd { try fill() }
      guard rawStart < rawEnd else { throw DataFault("the gzip data is cut off after \(offset) decompressed bytes") }
      let status = raw.withUnsafeMutableBufferPointer { input in
        decoded.withUnsafeMutableBufferPointer { output in
          stream.next_in = input.baseAddress! + rawStart
          stream.avail_in = UInt32(rawEnd - rawStart)
          stream.next_out = output.baseAddress!
          stream.avail_out = UInt32(output.count)
          let status = inflate(&stream, Z_NO_FLUSH)
          rawStart = rawEnd - Int(stream.avail_in)
          end = output.count - Int(stream.avail_out)
          return status
        }
      }
      if status == Z_STREAM_END {
        inflateEnd(&stream)
        mode = .undecided
        if end == 0 { return try refill() }
        return
      }
      guard status == Z_OK || status == Z_BUF_ERROR else {
        throw DataFault("the gzip data is damaged after \(offset) decompressed bytes")
      }
    }
  }
}
