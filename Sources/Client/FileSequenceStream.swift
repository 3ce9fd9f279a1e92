// Several local files read one after another as the body of an upload: a dataset in IDX is the concatenation of its
// files. URLSession pulls from it piece by piece; nothing is held. Used by HTTPTransport.swift.
import Foundation
import Glibc

/// An input stream over the bytes of files in order, which counts and hashes what passes.
///
/// URLSession reads it on its own queue; the owner looks at `outcome` only after the task has completed, which the
/// semaphore of the exchange orders.
final class FileSequenceStream: InputStream {
  /// What went through, or why it stopped.
  enum Outcome: Sendable {
    case reading
    case done(bytes: Int, sha256: String)
    case failed(path: String, errno: Int32)
  }

  private let paths: [String]
  private var index = 0
  private var descriptor: Int32 = -1
  private var bytes = 0
  private let digest = Digest()
  private var state: Stream.Status = .notOpen
  private(set) var outcome: Outcome = .reading

  init(paths: [String]) {
    self.paths = paths
    super.init(data: Data())
  }

  deinit { if descriptor >= 0 { Glibc.close(descriptor) } }

  override func open() { state = .open }
  override func close() { state = .closed }
  override var streamStatus: Stream.Status { state }
  override var streamError: Error? {
    guard case .failed(let path, let code) = outcome else { return nil }
    return CocoaError(.fileReadUnknown, userInfo: [NSFilePathErrorKey: path, "errno": code])
  }
  override var hasBytesAvailable: Bool { state == .open }

  /// Fills `buffer` from the current file, going on to the next at its end; 0 at the end of all, -1 on a fault.
  override func read(_ buffer: UnsafeMutablePointer<UInt8>, maxLength: Int) -> Int {
    while index < paths.count {
      if descriptor < 0 {
        descriptor = Glibc.open(paths[index], O_RDONLY | O_CLOEXEC)
        if descriptor < 0 { return fail() }
      }
      let count = Glibc.read(descriptor, buffer, maxLength)
      if count > 0 {
        bytes += count
        digest.update(UnsafeRawBufferPointer(start: buffer, count: count))
        return count
      }
      if count < 0 {
        if errno == EINTR { continue }
        return fail()
      }
      Glibc.close(descriptor)
      descriptor = -1
      index += 1
    }
    if case .reading = outcome { outcome = .done(bytes: bytes, sha256: digest.finish()) }
    state = .atEnd
    return 0
  }

  private func fail() -> Int {
    outcome = .failed(path: paths[index], errno: errno)
    state = .error
    return -1
  }
}
