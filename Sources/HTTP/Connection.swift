// One client connection: its phases, deadlines and end. Connection+Request reads, Connection+Answer writes; EventLoop drives.

/// The state machine of a connection. It reads one request at a time, answers it, and only then looks at the next, so answers
/// keep the order of pipelined requests and at most one read-full of them is held.
///
/// `@unchecked Sendable`: owned by the event loop's thread; closures that other threads carry only bring it back there by
/// `EventLoop.post` and touch nothing of it themselves.
final class Connection: @unchecked Sendable {
  enum Phase {
    /// Agreeing on keys, before anything else.
    case handshake
    /// Waiting for a request head, or in the middle of one.
    case head
    /// Another thread authorises, handles or writes a piece of the body to disk.
    case waiting
    /// Reading the body for the handler.
    case body
    case deferred(Deferral)
    /// Writing an answer of known bytes.
    case sending
    case streaming(BodyStream, isChunked: Bool)
    case events(EventStream, isChunked: Bool)
    /// The answer is out; the body nobody wanted is read and dropped.
    case unreadBody(BodyReader, droppedBytes: Int)
    /// Everything is sent; the client's last bytes are awaited so that its kernel does not drop the answer.
    case lingering
    case closed
  }

  /// What the one deadline of the connection stands for.
  enum Wait { case handshake, idle, header, body, handler, deferral, writing, heartbeat, lingering }

  /// So many reads and requests in one turn, then the other connections have theirs.
  private static let stepsPerTurn = 32

  let transport: Transport
  let peer: Peer
  /// Whether it came above the caps and only gets to hear so.
  let wasRefused: Bool
  let token: UInt64
  let loop: EventLoop
  var service: Service { loop.service }
  var limits: ServerLimits { loop.service.configuration.limits }

  var phase = Phase.head
  var input = ByteBuffer()
  var output = OutputQueue()
  var parser: HeadParser
  var exchange: Exchange?
  /// When the first byte of the head being read arrived.
  var headStartedAt: UInt64?
  /// Nothing more will come from the client.
  private(set) var inputHasEnded = false
  /// Whether the socket may have something to read, or take something, as far as the kernel has said.
  var canRead = true
  var canWrite = true
  /// Over TLS reading may wait for room to write, and writing for something to read.
  private var readNeedsRoom = false
  private var writeNeedsInput = false
  private var peerHasClosed = false
  var handshake: Handshake?
  /// What the client is told in place of being served.
  var refusal: HTTPError?
  private var hasEndedWriting = false
  private var stepsLeft = stepsPerTurn
  private var wait: Wait?

  init(transport: Transport, peer: Peer, wasRefused: Bool, token: UInt64, loop: EventLoop) {
    self.transport = transport
    self.peer = peer
    self.wasRefused = wasRefused
    self.token = token
    self.loop = loop
    parser = HeadParser(limits: loop.service.configuration.limits.head)
  }

  // MARK: Driven by the event loop

  func becameReady(_ readiness: Poller.Readiness) {
    if readiness.canRead { canRead = true }
    if readiness.canWrite { canWrite = true }
    if readiness.peerClosed { peerHasClosed = true }
    if readiness.failed {
      switch phase {
      case .waiting, .deferred, .streaming, .events, .sending:
        abort("the client closed the connection before its answer was complete")
        return
      default: break
      }
    }
    if peerHasClosed, case .events = phase {
      // A reader of events has nothing to say, so its half-close means that it has gone.
      close()
      return
    }
    resume()
  }

  func resume() {
    stepsLeft = Self.stepsPerTurn
    advance()
  }

  func deadlinePassed() {
    guard let wait else { return }
    self.wait = nil
    switch wait {
    case .handshake:
      handshakeDeadlinePassed()
    case .idle, .lingering:
      close()
    case .header:
      refuse(HTTPError(.requestTimeout, detail: "the request head did not arrive within \(limits.headerSeconds) s"))
    case .body:
      bodyDeadlinePassed()
    case .handler:
      handlerDeadlinePassed()
    case .deferral:
      if case .deferred(let deferral) = phase { deferral.resolve(.run(.timedOut)) }
    case .writing:
      abort("the client took nothing of its answer for \(limits.writeStallSeconds) s")
    case .heartbeat:
      if case .events(_, let isChunked) = phase { send(Array(":\n\n".utf8), isChunked: isChunked) }
    }
    resume()
  }

  /// Ends what would go on for ever; the rest is let finish and then closed.
  func serverIsStopping() {
    switch phase {
    case .head:
      if input.isEmpty { close() }
    case .deferred(let deferral): deferral.resolve(.run(.stopping))
    case .events(let stream, _): stream.finish()
    case .handshake, .unreadBody, .lingering: close()
    case .waiting, .body, .sending, .streaming, .closed: break
    }
  }

  // MARK: The state machine

  /// Runs until something from outside is needed: bytes, room to write, another thread's result or a deadline.
  func advance() {
    while true {
      let goesOn =
        switch phase {
        case .handshake: shakeHands()
        case .head: readHead()
        case .body: readBody()
        case .sending: finishSending()
        case .streaming(let stream, let isChunked): pump(stream, isChunked: isChunked)
        case .events(let stream, let isChunked): pump(stream, isChunked: isChunked)
        case .unreadBody(let reader, let dropped): dropBody(reader, droppedBytes: dropped)
        case .lingering: linger()
        case .waiting, .deferred, .closed: false
        }
      if !goesOn { return }
    }
  }

  func setClock(_ wait: Wait, seconds: Double) {
    self.wait = wait
    loop.setDeadline(self, at: loop.now &+ UInt64(max(0, seconds) * 1e9))
  }

  /// Like `setClock`, but leaves a deadline of the same kind as it is.
  func keepClock(_ wait: Wait, seconds: Double) {
    if self.wait != wait { setClock(wait, seconds: seconds) }
  }

  func stopClock() {
    guard wait != nil else { return }
    wait = nil
    loop.setDeadline(self, at: nil)
  }

  // MARK: Bytes in and out

  /// Counts a read or a request against this turn; false when the turn is over and the next is arranged.
  func takesTurn() -> Bool {
    guard stepsLeft > 0 else {
      loop.runAgain(self)
      return false
    }
    stepsLeft -= 1
    return true
  }

  /// Reads once if something may be there; false if nothing was, at the end of the input too.
  ///
  /// A broken connection closes itself here.
  func receive(_ use: (UnsafeRawBufferPointer) -> Void) -> Bool {
    guard readNeedsRoom ? canWrite : canRead, !inputHasEnded else { return false }
    guard takesTurn() else { return false }
    switch transport.read(into: loop.scratch) {
    case .moved(let count):
      readNeedsRoom = false
      // Of a socket that was emptied more will be reported; only an end that was reported already would not be again.
      if transport.isDrained, !peerHasClosed { canRead = false }
      use(UnsafeRawBufferPointer(rebasing: loop.scratch[..<count]))
      return true
    case .waitsForInput:
      canRead = false
      readNeedsRoom = false
    case .waitsForOutput:
      canWrite = false
      readNeedsRoom = true
    case .ended:
      inputHasEnded = true
    case .failed:
      abort("the connection broke")
    }
    return false
  }

  /// Writes what waits; true once nothing does. A broken connection closes itself here.
  func flush() -> Bool {
    guard !output.isEmpty else { return true }
    guard writeNeedsInput ? canRead : canWrite else { return false }
    let (written, result) = output.flush(to: transport)
    exchange?.responseBytes += written
    switch result {
    case .moved:
      writeNeedsInput = false
      return true
    case .waitsForInput, .waitsForOutput:
      writeNeedsInput = result == .waitsForInput
      if writeNeedsInput { canRead = false } else { canWrite = false }
      if written > 0 || wait != .writing { setClock(.writing, seconds: limits.writeStallSeconds) }
    case .ended, .failed:
      abort("the connection broke while the answer was written")
    }
    return false
  }

  // MARK: The end

  /// Says that nothing more is sent and waits a moment for the client to close.
  func startLingering() -> Bool {
    // Over TLS the end is said in words, also to a client that has said its own.
    guard !inputHasEnded || transport.isSecure else {
      close()
      return false
    }
    phase = .lingering
    input.removeAll()
    setClock(.lingering, seconds: limits.lingerSeconds)
    return true
  }

  /// Ends the connection in the middle of an exchange.
  func abort(_ reason: String) {
    if exchange != nil { exchange!.failure = exchange!.failure ?? reason }
    close()
  }

  func close() {
    switch phase {
    case .closed: return
    case .handshake where handshake?.isRunning == true:
      // Another thread works on the transport; what it leads to is dropped.
      handshake!.mustClose = true
      return
    case .deferred(let deferral): deferral.end()
    case .events(let stream, _): stream.close()
    default: break
    }
    phase = .closed
    endExchange()
    input.removeAll()
    output.removeAll()
    loop.closed(self)
    transport.close()
  }

  /// Reports the exchange and gives its budgets back.
  func endExchange() {
    guard var ended = exchange else { return }
    exchange = nil
    ended.ticket.isAbandoned.store(true, ordering: .relaxed)
    if ended.isEventStream { service.configuration.gauges.openEventStreams.subtract(1, ordering: .relaxed) }
    let requestBytes = ended.body?.collector.byteCount ?? 0
    ended.body?.collector.release()
    service.configuration.onComplete(
      RequestRecord(
        requestId: ended.context.requestId, method: ended.head?.method, pattern: ended.endpoint?.pattern,
        status: ended.status, requestBytes: requestBytes, responseBytes: ended.responseBytes,
        seconds: Double(monotonicNanoseconds() - ended.startedAt) / 1e9, peer: peer.text,
        caller: ended.ticket.caller.withLock { $0 }, traceparent: ended.head?.traceparent, failure: ended.failure))
  }

  private func linger() -> Bool {
    if !hasEndedWriting {
      guard canWrite else { return false }
      hasEndedWriting = transport.endWriting()
      guard hasEndedWriting else {
        canWrite = false
        return false
      }
      // From here on the bytes are dropped as they are on the wire, where TLS may have held some back.
      canRead = true
      readNeedsRoom = false
    }
    if receive({ _ in }) { return true }
    if inputHasEnded { close() }
    return false
  }
}
