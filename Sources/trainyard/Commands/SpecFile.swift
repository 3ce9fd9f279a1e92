// Files that commands take: specifications in YAML or JSON, and bytes as they are; and the interrupt that long commands
// end in order by.
import Contract
import Foundation
import Yams

/// Reads specifications from YAML, of which JSON is a part.
enum SpecFile {
  /// Files beyond this are refused.
  private static let bytesMax = 1 << 20

  /// The value that `decode` makes of a file.
  ///
  /// - Throws: ``CommandFailure`` that names the file and every fault in it.
  static func read<Value>(_ path: String, _ decode: (JSON) throws(SpecError) -> Value) throws -> Value {
    let json = try json(path)
    do { return try decode(json) } catch { throw CommandFailure(.usage, "\(path):\n\(error)") }
  }

  /// The document of a file.
  static func json(_ path: String) throws -> JSON {
    let text = String(decoding: try readFile(path), as: UTF8.self)
    guard text.utf8.count <= bytesMax else { throw CommandFailure(.usage, "\(path) is larger than 1 MiB") }
    let node: Node?
    do { node = try Yams.compose(yaml: text) } catch { throw CommandFailure(.usage, "\(path): \(error)") }
    guard let node else { throw CommandFailure(.usage, "\(path) is empty") }
    return json(node)
  }

  /// One value as it stands on the command line: what it would be in a file.
  static func value(_ text: String) throws -> JSON {
    do { return try Yams.compose(yaml: text).map(json) ?? .null } catch {
      throw CommandFailure(.usage, "\"\(text)\": \(error)")
    }
  }

  private static func json(_ node: Node) -> JSON {
    switch node {
    case .mapping(let mapping):
      return .object(
        Dictionary(mapping.map { ($0.key.string ?? "", json($0.value)) }, uniquingKeysWith: { $1 }))
    case .sequence(let sequence): return .array(sequence.map(json))
    default:
      if let value = node.int { return .integer(value) }
      if let value = node.float { return .number(value) }
      if let value = node.bool { return .bool(value) }
      if node.null != nil { return .null }
      return .string(node.string ?? "")
    }
  }
}

/// The bytes of a file.
func readFile(_ path: String) throws -> Data {
  do { return try Data(contentsOf: URL(fileURLWithPath: path)) } catch {
    throw CommandFailure(.usage, "\(path) cannot be read: \(error.localizedDescription)")
  }
}

/// Raised by SIGINT or SIGTERM, so that a long command can end in order.
// @unchecked: the source only sets the flag, under the lock.
final class InterruptFlag: @unchecked Sendable {
  private let lock = NSLock()
  private var raised = false
  private var sources: [DispatchSourceSignal] = []

  init() {
    for number in [SIGINT, SIGTERM] {
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler { [self] in lock.withLock { raised = true } }
      source.resume()
      sources.append(source)
    }
  }

  var isRaised: Bool { lock.withLock { raised } }
}
