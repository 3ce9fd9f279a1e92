// The folder a local server lives in: private, used by one server at a time, with the admin key and the address in it.
// `serve` owns it; Settings.swift and CommandOptions.swift read key and address from it.
import Foundation
import Glibc

/// A data folder that this process holds the lock of, until it is released or the process ends.
final class DataFolder {
  /// Free space without which a server does not start: a fresh cluster with its write-ahead log takes about 120 MB.
  static let freeBytesMin = 256 << 20

  let url: URL
  private let lock: Int32

  /// Creates the folder if need be and takes its lock.
  ///
  /// - Parameters:
  ///   - url: the folder.
  ///   - isTraversable: lets other users reach what they own inside by its full path, without listing anything: a
  ///     private cluster of a server run by root belongs to the user postgres.
  /// - Throws: ``CommandFailure`` that says what is wrong with the folder, or who uses it.
  init(_ url: URL, isTraversable: Bool) throws {
    self.url = url
    let path = url.path
    do {
      try FileManager.default.createDirectory(
        at: url, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    } catch {
      throw CommandFailure(
        .failure, "cannot create the data folder \(path): \(Self.reason(error))", cure: "Choose another with --data.")
    }
    chmod(path, isTraversable ? 0o711 : 0o700)
    let lockPath = url.appendingPathComponent("lock").path
    lock = open(lockPath, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard lock >= 0 else {
      throw CommandFailure(
        .failure, "cannot write to the data folder \(path): \(String(cString: strerror(errno)))",
        cure: "Make it writable for this user, or choose another with --data.")
    }
    guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
      let holder = (try? String(contentsOfFile: lockPath, encoding: .utf8))?.trimmingCharacters(
        in: .whitespacesAndNewlines)
      close(lock)
      throw CommandFailure(
        .failure, "another server uses the data folder \(path)\(holder.map { " (process \($0))" } ?? "")",
        cure: "Stop it, or give this one a folder of its own with --data.")
    }
    do {
      try checkSpace()
      guard ftruncate(lock, 0) == 0 else { throw Self.cannotWrite(URL(fileURLWithPath: lockPath)) }
      let text = Array("\(getpid())\n".utf8)
      // What a server that was killed has left behind says nothing any more.
      unlink(Settings.addressFile(in: url).path)
      guard write(lock, text, text.count) == text.count else { throw Self.cannotWrite(URL(fileURLWithPath: lockPath)) }
    } catch {
      close(lock)
      throw error
    }
  }

  deinit { close(lock) }

  /// Writes an admin key for the CLI, readable by this user alone. It needs no lock: the last one written counts.
  static func writeAdminKey(_ secret: String, in folder: URL) throws {
    try replace(Settings.adminKeyFile(in: folder), with: secret + "\n", mode: 0o600)
  }

  /// A folder inside for this user alone, made if need be.
  func makeFolder(_ name: String) throws -> URL {
    let inner = url.appendingPathComponent(name)
    guard mkdir(inner.path, 0o700) == 0 || errno == EEXIST else { throw Self.cannotWrite(inner) }
    return inner
  }

  /// Tells the CLI where the server listens.
  func writeAddress(_ address: URL) throws {
    try Self.replace(Settings.addressFile(in: url), with: address.absoluteString + "\n", mode: 0o644)
  }

  /// Takes back what ``writeAddress(_:)`` told.
  func removeAddress() { unlink(Settings.addressFile(in: url).path) }

  private func checkSpace() throws {
    var status = statvfs()
    guard statvfs(url.path, &status) == 0 else { return }
    let free = Int(clamping: status.f_bavail) * Int(clamping: status.f_frsize)
    guard free >= Self.freeBytesMin else {
      throw CommandFailure(
        .failure,
        "the disk of \(url.path) is full: \(free >> 20) MB are free, \(Self.freeBytesMin >> 20) MB are needed",
        cure: "Make room, or choose a folder on another disk with --data.")
    }
  }

  /// Writes a file beside the target and moves it there, so that readers see the old one or the new one.
  private static func replace(_ file: URL, with text: String, mode: mode_t) throws {
    let fresh = file.path + ".new"
    unlink(fresh)
    let descriptor = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
    guard descriptor >= 0 else { throw cannotWrite(file) }
    let bytes = Array(text.utf8)
    let isWritten = write(descriptor, bytes, bytes.count) == bytes.count && fsync(descriptor) == 0
    close(descriptor)
    guard isWritten, rename(fresh, file.path) == 0 else { throw cannotWrite(file) }
  }

  private static func cannotWrite(_ file: URL) -> CommandFailure {
    CommandFailure(.failure, "cannot write \(file.path): \(String(cString: strerror(errno)))")
  }

  private static func reason(_ error: Error) -> String {
    let underlying = (error as NSError).userInfo[NSUnderlyingErrorKey] as? NSError
    if let underlying, underlying.domain == NSPOSIXErrorDomain {
      return String(cString: strerror(Int32(underlying.code)))
    }
    return error.localizedDescription
  }
}
