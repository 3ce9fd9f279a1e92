// What a server has open at the moment, for whoever shows it; counted by Connection and EventLoop.

import Synchronization

/// Numbers that go up and down; read from any thread.
public final class ServerGauges: Sendable {
  let openConnections = Atomic(0)
  let openEventStreams = Atomic(0)

  /// All zero.
  public init() {}

  /// Open connections, refused ones included.
  public var connections: Int { openConnections.load(ordering: .relaxed) }
  /// Answers that are event streams and not over.
  public var eventStreams: Int { openEventStreams.load(ordering: .relaxed) }
}
