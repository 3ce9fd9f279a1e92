// Files of learned optimizers' weights on the command line, and those that come with this executable.
import CTheta
import Contract
import Foundation
import Learning

enum ThetaFiles {
  /// The bytes of a file, which must not be larger than a theta may be.
  static func bytes(_ path: String) throws -> Data {
    let bytesMax = Theta.fileBytesMax
    let size = try? FileManager.default.attributesOfItem(atPath: path)[.size] as? Int
    guard size ?? 0 <= bytesMax else {
      throw CommandFailure(.usage, "\(path) has \(size ?? 0) bytes; weights of an optimizer have at most \(bytesMax)")
    }
    do { return try Data(contentsOf: URL(fileURLWithPath: path)) } catch {
      throw CommandFailure(.usage, "\(path) cannot be read: \(error.localizedDescription)")
    }
  }

  /// Reads our safetensors or a flax file.
  ///
  /// - Parameter name: which optimizer it must be; nil and `auto` for any.
  static func read(_ path: String, as name: OptimizerName? = nil) throws -> Theta {
    let data = try bytes(path)
    do { return try Theta(file: data, as: name == .auto ? nil : name) } catch let fault as FormatError {
      throw CommandFailure(.usage, "\(path): \(fault)")
    }
  }

  /// The constants of an architecture that `--config` means: a JSON object, or `key=value` as in recordings.
  static func constants(_ text: String) throws -> JSON {
    do { return try RecordedArguments.parse(text) } catch { throw CommandFailure(.usage, "--config: \(error)") }
  }

  /// The provenance that `key=value` options mean.
  static func provenance(_ options: [String]) throws -> [String: String] {
    var provenance: [String: String] = [:]
    for option in options {
      let parts = option.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      guard parts.count == 2, !parts[0].isEmpty, provenance.updateValue(parts[1], forKey: parts[0]) == nil else {
        throw CommandFailure(.usage, "--provenance: expected key=value, each key once, got \"\(option)\"")
      }
    }
    return provenance
  }

  /// The newest theta of that optimizer that this build ships, if it ships one.
  static func shipped(_ name: OptimizerName) throws -> Theta? {
    var newest: (version: Int, bytes: Data)?
    for index in 0..<ct_files_count {
      let file = ct_file_at(index)!.pointee
      guard String(cString: file.name) == name.rawValue, newest.map({ $0.version < file.version }) ?? true else {
        continue
      }
      newest = (file.version, Data(UnsafeBufferPointer(start: file.bytes, count: file.count)))
    }
    return try newest.map { try Theta(safetensors: $0.bytes) }
  }
}
