// Request bodies on their way in: in memory while small, in nameless files when large, within budgets; fed by Connection.

import Foundation
import Glibc
import Synchronization

/// A request body in a file that has no name: it takes disk space only as long as this value is referenced.
public final class SpooledFile: Sendable {
  /// Open for reading; stays valid as long as this value does. `/proc/self/fd/<n>` is a path to it.
  public var descriptor: Int32 { file.descriptor }
  /// Length in bytes.
  public let byteCount: Int
  private let file: NamelessFile
  private let spool: BodySpool

  init(file: NamelessFile, byteCount: Int, spool: BodySpool) {
    self.file = file
    self.byteCount = byteCount
    self.spool = spool
  }

  deinit { spool.releaseDisk(byteCount) }

  /// Reads `count` bytes at `offset`, fewer only at the end; safe from several threads. Throws HTTPError 500 if the disk fails.
  public func read(from offset: Int, count: Int) throws -> [UInt8] {
    precondition(offset >= 0 && count >= 0, "a file is read at an offset and a count that are not negative")
    let wanted = max(0, min(count, byteCount - offset))
    return try [UInt8](unsafeUninitializedCapacity: wanted) { buffer, filled in
      while filled < wanted {
        let got = pread(descriptor, buffer.baseAddress! + filled, wanted - filled, off_t(offset + filled))
        if got < 0, errno == EINTR { continue }
        guard got > 0 else {
          throw HTTPError(.internalServerError, detail: "the stored request body could not be read")
        }
        filled += got
      }
    }
  }
}

/// A file that never has a name for longer than a moment, so that even a crash leaves nothing behind. Closed when released:
/// a write in flight on another thread keeps its descriptor from being given out again.
final class NamelessFile: Sendable {
  let descriptor: Int32

  /// Throws HTTPError 507 when the disk is full, 503 for other failures.
  init(folder: String) throws(HTTPError) {
    // O_TMPFILE, which Swift does not import: __O_TMPFILE with O_DIRECTORY.
    let direct = open(folder, 0o20000000 | O_DIRECTORY | O_RDWR | O_CLOEXEC, 0o600)
    if direct >= 0 {
      descriptor = direct
      return
    }
    // Some file systems do not know it: make a name and take it away at once.
    var template = Array("\(folder)/body-XXXXXX".utf8CString)
    let named = mkstemp(&template)
    guard named >= 0 else { throw Self.failure(errno) }
    unlink(template)
    _ = fcntl(named, F_SETFD, FD_CLOEXEC)
    descriptor = named
  }

  /// Takes over an open descriptor.
  init(descriptor: Int32) { self.descriptor = descriptor }

  deinit { close(descriptor) }

  /// Writes all of `bytes` at `offset`; throws HTTPError 507 when the disk is full, 503 for other failures.
  func write(_ bytes: [UInt8], at offset: Int) throws(HTTPError) {
    var done = 0
    while done < bytes.count {
      let written = bytes.withUnsafeBytes {
        pwrite(descriptor, $0.baseAddress! + done, bytes.count - done, off_t(offset + done))
      }
      if written < 0, errno == EINTR { continue }
      guard written > 0 else { throw Self.failure(written < 0 ? errno : EIO) }
      done += written
    }
  }

  private static func failure(_ code: Int32) -> HTTPError {
    switch code {
    case ENOSPC, EDQUOT, EFBIG:
      HTTPError(
        .insufficientStorage, detail: "the server's disk has no room for this body; try again after space was freed",
        retryable: true)
    default:
      HTTPError(.serviceUnavailable, detail: "the server cannot store large bodies at the moment")
    }
  }
}

/// The budgets for bodies of one server, and the folder of the large ones.
final class BodySpool: Sendable {
  let limits: ServerLimits
  let folder: String
  private let diskBytes = Atomic<Int>(0)
  private let memoryBytes = Atomic<Int>(0)

  init(folder: String, limits: ServerLimits) {
    self.folder = folder
    self.limits = limits
  }

  /// What a client is told when `spoolTotalBytesMax` is reached.
  static let full = HTTPError(
    .serviceUnavailable, detail: "too many large bodies are being received at the moment",
    headers: ["Retry-After": "10"])

  var diskBytesInUse: Int { diskBytes.load(ordering: .relaxed) }
  var memoryBytesInUse: Int { memoryBytes.load(ordering: .relaxed) }

  /// Whether a body of that length could be received now; asked before it is read, to refuse early.
  func mayFit(_ count: Int) -> Bool {
    count <= limits.bodyMemoryBytesMax || count <= limits.spoolTotalBytesMax - diskBytesInUse
  }

  func reserveDisk(_ count: Int) -> Bool { Self.reserve(count, from: diskBytes, max: limits.spoolTotalBytesMax) }

  func reserveMemory(_ count: Int) -> Bool {
    Self.reserve(count, from: memoryBytes, max: limits.bodyMemoryTotalBytesMax)
  }

  func releaseDisk(_ count: Int) { diskBytes.subtract(count, ordering: .relaxed) }

  func releaseMemory(_ count: Int) { memoryBytes.subtract(count, ordering: .relaxed) }

  private static func reserve(_ count: Int, from used: borrowing Atomic<Int>, max: Int) -> Bool {
    var current = used.load(ordering: .relaxed)
    while count <= max - current {
      let (exchanged, original) = used.compareExchange(
        expected: current, desired: current + count, ordering: .relaxed)
      if exchanged { return true }
      current = original
    }
    return false
  }
}

/// One body being received; owned by its connection, on the event loop's thread.
///
/// Bytes gather in memory until they are too many, from then on in pieces that `takePiece` hands out to be written on another
/// thread; the connection reads nothing more until `pieceWritten`.
struct BodyCollector {
  /// What is written to the file at once.
  static let pieceBytes = 256 << 10

  /// A write to do off the event loop's thread.
  struct Piece: Sendable {
    let bytes: [UInt8]
    /// Nil if the file must be made first.
    let file: NamelessFile?
    let offset: Int

    /// Writes the piece and returns the file; throws HTTPError.
    func write(folder: String) throws(HTTPError) -> NamelessFile {
      let file = if let file { file } else { try NamelessFile(folder: folder) }
      try file.write(bytes, at: offset)
      return file
    }
  }

  private let spool: BodySpool
  private var pending: [UInt8] = []
  private var memoryReserved = 0
  private var file: NamelessFile?
  private var written = 0
  private var diskReserved = 0
  /// All bytes received so far.
  private(set) var byteCount = 0

  init(spool: BodySpool) { self.spool = spool }

  mutating func append(_ bytes: UnsafeRawBufferPointer) {
    pending.append(contentsOf: bytes)
    byteCount += bytes.count
  }

  /// Whether the bytes in memory must go to the file now, before more are read.
  mutating func needsWrite(atEnd: Bool) -> Bool {
    if file != nil, atEnd || pending.count >= Self.pieceBytes { return !pending.isEmpty }
    if file == nil, pending.count > spool.limits.bodyMemoryBytesMax { return true }
    let growth = pending.count - memoryReserved
    guard growth > 0 else { return false }
    guard spool.reserveMemory(growth) else { return true }
    memoryReserved += growth
    return false
  }

  /// Takes the bytes in memory to be written; throws HTTPError 503 when the spool is full.
  mutating func takePiece() throws(HTTPError) -> Piece {
    guard spool.reserveDisk(pending.count) else { throw BodySpool.full }
    diskReserved += pending.count
    let piece = Piece(bytes: pending, file: file, offset: written)
    written += pending.count
    pending = []
    releaseMemory()
    return piece
  }

  mutating func pieceWritten(to file: NamelessFile) { self.file = file }

  /// The whole body; nothing may be waiting to be written.
  mutating func finish() -> Body {
    guard let file else { return .memory(pending) }
    // The file's value answers for its disk space from now on.
    diskReserved = 0
    return .file(SpooledFile(file: file, byteCount: written, spool: spool))
  }

  /// Gives budgets and the file back; needed after `finish` too, once the request is answered.
  mutating func release() {
    releaseMemory()
    spool.releaseDisk(diskReserved)
    diskReserved = 0
    file = nil
    pending = []
  }

  private mutating func releaseMemory() {
    spool.releaseMemory(memoryReserved)
    memoryReserved = 0
  }
}
