// The one thread that owns all connections: it waits for readiness, posted work and deadlines, and passes them on.

import Foundation

/// The event loop of one server.
///
/// `@unchecked Sendable`: everything but `posted` is touched only by the thread that runs `run`; other threads use `post`.
final class EventLoop: @unchecked Sendable {
  private struct Posted {
    var work: [@Sendable () -> Void] = []
    var isAsleep = false
    var isOver = false
  }

  static let listenerToken = Poller.wakeToken - 1

  let service: Service
  let listener: Listener
  private let poller: Poller
  private let posted = Guarded(Posted())
  /// Read and write scratch of all connections, one at a time.
  let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)
  /// Open connections by descriptor.
  private var connections: [Connection?] = []
  private(set) var connectionCount = 0
  private var serial: UInt32 = 0
  private var deadlines = Deadlines()
  /// Connections that stopped for fairness and go on in the next round.
  private var again: [Connection] = []
  private var stopDeadline: UInt64?
  /// Whether the end of the loop cut answers off; valid after `run`.
  private(set) var cutConnections = false
  /// The time of this round.
  private(set) var now = monotonicNanoseconds()
  var admission: Admission
  var reserve = ReserveDescriptor()

  init(service: Service, listener: Listener) throws {
    self.service = service
    self.listener = listener
    admission = Admission(limits: service.configuration.limits)
    poller = try Poller()
    guard poller.addListener(listener.descriptor, token: Self.listenerToken) else {
      throw ListenError(description: "the listening socket could not be watched")
    }
  }

  deinit { scratch.deallocate() }

  /// Has `work` run on the loop's thread soon. From any thread.
  func post(_ work: @escaping @Sendable () -> Void) {
    let (isOver, mustWake) = posted.withLock { posted in
      guard !posted.isOver else { return (true, false) }
      posted.work.append(work)
      defer { posted.isAsleep = false }
      return (false, posted.isAsleep)
    }
    if mustWake { poller.wake() }
    // After the loop's end every connection is closed and stays as it is, so late work only finds that it came too late.
    if isOver { work() }
  }

  /// Stops accepting, lets answers in progress finish for at most `seconds`, then ends the loop. From any thread.
  func stop(drainSeconds seconds: Double) {
    post { [self] in
      guard stopDeadline == nil else { return }
      stopDeadline = monotonicNanoseconds() + UInt64(seconds * 1e9)
      service.isStopping.store(true, ordering: .relaxed)
      listener.close()
      for connection in connections { connection?.serverIsStopping() }
    }
  }

  /// The body of the loop's thread; returns after `stop`.
  func run() {
    while true {
      poller.wait(milliseconds: pause()) { handle($0) }
      posted.withLock { $0.isAsleep = false }
      now = monotonicNanoseconds()
      for work in posted.withLock({ posted in take(&posted.work) }) { work() }
      for connection in take(&again) { connection.resume() }
      while let slot = deadlines.takeExpired(now: now) { connections[slot]?.deadlinePassed() }
      if let stopDeadline, connectionCount == 0 || now >= stopDeadline { break }
    }
    // Steps of handshakes at work own their transports; none may come after this thread's end.
    _ = service.handshakes?.stop(waitingSeconds: 5)
    for connection in connections {
      guard let connection else { continue }
      // One that only waits for its client to close has its answer out.
      cutConnections = cutConnections || connection.exchange != nil
      connection.abort("the server stopped before the answer was out")
    }
    let left = posted.withLock { posted in
      posted.isOver = true
      return take(&posted.work)
    }
    // Answers that came too late hold deferrals and streams, which are told of their end.
    for work in left { work() }
  }

  private func take<T>(_ items: inout [T]) -> [T] {
    defer { items = [] }
    return items
  }

  /// How long to sleep: not at all if there is work, else until the next deadline.
  private func pause() -> Int32? {
    let isIdle = posted.withLock { posted in
      posted.isAsleep = posted.work.isEmpty && again.isEmpty
      return posted.isAsleep
    }
    guard isIdle else { return 0 }
    guard let next = [deadlines.earliest, stopDeadline].compactMap({ $0 }).min() else { return nil }
    let time = monotonicNanoseconds()
    // Rounded up: waking a millisecond early would only spin.
    return next <= time ? 0 : Int32(clamping: (next - time) / 1_000_000 + 1)
  }

  private func handle(_ readiness: Poller.Readiness) {
    switch readiness.token {
    case Poller.wakeToken:
      break
    case Self.listenerToken:
      now = monotonicNanoseconds()
      acceptWaiting()
    default:
      let descriptor = Int(readiness.token & 0xFFFF_FFFF)
      // A descriptor may have been closed and given out again within this round; the serial tells the two apart.
      guard descriptor < connections.count, let connection = connections[descriptor],
        connection.token == readiness.token
      else { return }
      connection.becameReady(readiness)
    }
  }

  // MARK: For connections, on the loop's thread

  /// Takes an accepted socket in; nil if it cannot be watched.
  func open(_ transport: Transport, peer: Peer, wasRefused: Bool) -> Connection? {
    let descriptor = transport.descriptor
    serial &+= 1
    // The two topmost tokens are taken; a serial never reaches them.
    if serial >= .max - 1 { serial = 1 }
    let token = UInt64(serial) << 32 | UInt64(UInt32(bitPattern: descriptor))
    let connection = Connection(
      transport: transport, peer: peer, wasRefused: wasRefused, token: token, loop: self)
    guard poller.add(descriptor, token: token) else {
      admission.left(peer, wasRefused: wasRefused)
      return nil
    }
    let slot = Int(descriptor)
    if slot >= connections.count {
      connections.append(contentsOf: repeatElement(nil, count: slot + 1 - connections.count))
    }
    connections[slot] = connection
    connectionCount += 1
    service.configuration.gauges.openConnections.add(1, ordering: .relaxed)
    return connection
  }

  func closed(_ connection: Connection) {
    let slot = Int(connection.transport.descriptor)
    deadlines.clear(slot)
    connections[slot] = nil
    connectionCount -= 1
    service.configuration.gauges.openConnections.subtract(1, ordering: .relaxed)
    admission.left(connection.peer, wasRefused: connection.wasRefused)
  }

  func setDeadline(_ connection: Connection, at nanoseconds: UInt64?) {
    let slot = Int(connection.transport.descriptor)
    if let nanoseconds { deadlines.set(slot, at: nanoseconds) } else { deadlines.clear(slot) }
  }

  func runAgain(_ connection: Connection) { again.append(connection) }
}
