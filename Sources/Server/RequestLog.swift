// One log line for each answered request, written on a queue of its own: the event loop must not wait for a terminal.
import Dispatch
import HTTP
import Logging
import Synchronization

/// Logs requests without their secrets: patterns in place of paths, no headers, no bodies.
final class RequestLog: Sendable {
  /// Lines that wait to be written; more are dropped and counted.
  private static let pendingMax = 10_000

  private let logger: Logger
  private let queue = DispatchQueue(label: "request-log", qos: .utility)
  private let pending = Atomic(0)
  private let dropped = Atomic(0)

  init(logger: Logger) { self.logger = logger }

  /// Takes a record; never blocks.
  func record(_ record: RequestRecord) {
    let level = Self.level(of: record)
    guard level >= logger.logLevel else { return }
    enqueue { [self] in write(record, level) }
  }

  /// Takes a TLS handshake that led to nothing: scanners and health checks do that all day, misled clients too.
  func handshakeFailed(peer: String, reason: String) {
    guard .info >= logger.logLevel else { return }
    enqueue { [logger] in
      logger.info("TLS handshake failed", metadata: ["peer": "\(peer)", "reason": "\(reason)"])
    }
  }

  private func enqueue(_ write: @escaping @Sendable () -> Void) {
    guard pending.add(1, ordering: .relaxed).newValue <= Self.pendingMax else {
      pending.subtract(1, ordering: .relaxed)
      dropped.add(1, ordering: .relaxed)
      return
    }
    queue.async { [self] in
      write()
      pending.subtract(1, ordering: .relaxed)
    }
  }

  /// Waits until everything taken so far is written.
  func flush() { queue.sync {} }

  /// Faults of the server are warnings; what changes something or is refused is told; reads only to who debugs.
  static func level(of record: RequestRecord) -> Logger.Level {
    if record.status.code >= 500 || record.failure != nil { return .warning }
    if record.status.code >= 400 { return .info }
    switch record.method {
    case .get, .head, .options: return .debug
    default: return .info
    }
  }

  private func write(_ record: RequestRecord, _ level: Logger.Level) {
    var metadata: Logger.Metadata = [
      "request_id": "\(record.requestId)", "status": .stringConvertible(record.status.code),
      "method": "\(record.method?.rawValue ?? "-")", "route": "\(record.pattern ?? "-")", "peer": "\(record.peer)",
      "bytes_in": .stringConvertible(record.requestBytes), "bytes_out": .stringConvertible(record.responseBytes),
      "seconds": .stringConvertible((record.seconds * 1e6).rounded() / 1e6),
    ]
    for (name, value) in record.caller { metadata[name] = "\(value)" }
    // 00-<trace>-<span>-<flags>: the trace is what ties the lines of all services together.
    if let parts = record.traceparent?.split(separator: "-"), parts.count == 4 { metadata["trace_id"] = "\(parts[1])" }
    if let failure = record.failure { metadata["failure"] = "\(failure)" }
    let lost = dropped.exchange(0, ordering: .relaxed)
    if lost > 0 { metadata["dropped_lines"] = "\(lost)" }
    logger.log(level: level, "request", metadata: metadata)
  }
}
