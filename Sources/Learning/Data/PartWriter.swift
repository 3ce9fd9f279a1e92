// Buffered writing of a dataset's files: PartWriter for the rows of one part, FileWriter for one file of numbers.
import Foundation

/// Writes the inputs and targets of one part, row by row.
final class PartWriter {
  private(set) var rows = 0
  private let inputs: FileWriter
  private let targets: FileWriter

  init(folder: URL, name: String) throws {
    inputs = try FileWriter(folder.appendingPathComponent("\(name).inputs"))
    targets = try FileWriter(folder.appendingPathComponent("\(name).targets"))
  }

  func appendInput(_ bytes: UnsafeRawBufferPointer) throws { try inputs.append(bytes) }

  func appendInput(_ bytes: [UInt8]) throws { try bytes.withUnsafeBytes { try inputs.append($0) } }

  func appendInput(_ floats: [Float]) throws { try floats.withUnsafeBytes { try inputs.append($0) } }

  func appendInput(_ tokens: [UInt16]) throws { try tokens.withUnsafeBytes { try inputs.append($0) } }

  func appendTarget(_ label: Int32) throws {
    rows += 1
    try withUnsafeBytes(of: label) { try targets.append($0) }
  }

  /// All values that one row asks for.
  func appendTargets(_ values: [Float]) throws {
    rows += 1
    try values.withUnsafeBytes { try targets.append($0) }
  }

  func finish() throws {
    try inputs.finish()
    try targets.finish()
  }
}

/// A file written front to back through a buffer; a full disk is an answer, not a crash.
final class FileWriter {
  private static let bufferBytes = 1 << 20

  private let descriptor: Int32
  private let buffer = UnsafeMutableRawPointer.allocate(byteCount: bufferBytes, alignment: 16)
  private var used = 0
  private let name: String

  init(_ file: URL) throws {
    name = file.lastPathComponent
    descriptor = open(file.path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw StorageError("\(name) cannot be written") }
  }

  deinit {
    close(descriptor)
    buffer.deallocate()
  }

  func append(_ bytes: UnsafeRawBufferPointer) throws {
    var done = 0
    while done < bytes.count {
      let count = min(bytes.count - done, Self.bufferBytes - used)
      (buffer + used).copyMemory(from: bytes.baseAddress! + done, byteCount: count)
      used += count
      done += count
      if used == Self.bufferBytes { try flush() }
    }
  }

  /// Writes what is left, down to the disk: a folder that appears under its name is whole even after a power cut.
  func finish() throws {
    try flush()
    guard fsync(descriptor) == 0 else { throw StorageError("\(name) cannot be written") }
  }

  private func flush() throws {
    var done = 0
    while done < used {
      let count = write(descriptor, buffer + done, used - done)
      guard count > 0 else { throw StorageError("\(name) cannot be written") }
      done += count
    }
    used = 0
  }
}
