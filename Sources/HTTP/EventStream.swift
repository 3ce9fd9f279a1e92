// Server-sent events (WHATWG HTML §9.2) fed from any thread, with a bound on what a slow reader holds back; sent by Connection.

/// One event of a stream.
public struct ServerSentEvent: Sendable {
  /// What a client that comes back names in `Last-Event-ID`.
  public var id: String?
  /// The event's name; `message` for the client when nil.
  public var name: String?
  /// Any text; its line ends are kept as line feeds.
  public var data: String
  /// How soon the client comes back after the stream broke; nil leaves it as it is.
  public var retryMilliseconds: Int?

  /// An event with its data and, if wanted, an id, a name and a pause before coming back.
  public init(id: String? = nil, name: String? = nil, data: String, retryMilliseconds: Int? = nil) {
    self.id = id
    self.name = name
    self.data = data
    self.retryMilliseconds = retryMilliseconds
  }

  /// The event as it goes on the wire. Line ends and NUL in `id` and `name` are dropped: they cannot be expressed there.
  func encoded() -> [UInt8] {
    var out: [UInt8] = []
    func line(_ field: StaticString, _ text: some Sequence<UInt8>) {
      field.withUTF8Buffer { out.append(contentsOf: $0) }
      out.append(contentsOf: text)
      out.append(0x0A)
    }
    if let retryMilliseconds { line("retry: ", String(retryMilliseconds).utf8) }
    if let id { line("id: ", id.utf8.filter { $0 != 0x0A && $0 != 0x0D && $0 != 0 }) }
    if let name { line("event: ", name.utf8.filter { $0 != 0x0A && $0 != 0x0D }) }
    // By code units: Swift sees CR LF as one character, the other two as one each.
    var text: [UInt8] = []
    var previous: UInt8 = 0
    for byte in data.utf8 {
      if byte == 0x0A || byte == 0x0D {
        if !(byte == 0x0A && previous == 0x0D) {
          line("data: ", text)
          text.removeAll(keepingCapacity: true)
        }
      } else {
        text.append(byte)
      }
      previous = byte
    }
    line("data: ", text)
    out.append(0x0A)
    return out
  }
}

/// A stream of events to one client; a handler returns it with `Response.events` and any thread may send to it.
public final class EventStream: Sendable {
  private struct State {
    var pending: [UInt8] = []
    var isFinished = false
    var isClosed = false
    var wake: (@Sendable () -> Void)?
  }

  let heartbeatSeconds: Double
  private let pendingBytesMax: Int
  private let onClose: @Sendable () -> Void
  private let state = Guarded(State())

  /// - Parameters:
  ///   - heartbeatSeconds: a comment is sent after so long without an event, which also finds clients that vanished. Default 15 s.
  ///   - pendingBytesMax: what may wait for a slow client before the stream is ended, beside one event of any length.
  ///     Default 256 KiB.
  ///   - onClose: called exactly once when the stream is over, from any thread; it must not block.
  public init(
    heartbeatSeconds: Double = 15, pendingBytesMax: Int = 256 << 10, onClose: @escaping @Sendable () -> Void = {}
  ) {
    self.heartbeatSeconds = heartbeatSeconds
    self.pendingBytesMax = pendingBytesMax
    self.onClose = onClose
  }

  /// Whether events can still be sent.
  public var isOpen: Bool { state.withLock { !$0.isFinished && !$0.isClosed } }

  /// What is queued and not yet taken for sending.
  public var queuedBytes: Int { state.withLock { $0.pending.count } }

  /// Queues an event; never blocks.
  ///
  /// - Returns: false if the stream is over. A client too slow for `pendingBytesMax` has its stream ended after what is queued;
  ///   it may come back with `Last-Event-ID`.
  @discardableResult
  public func send(_ event: ServerSentEvent) -> Bool {
    let bytes = event.encoded()
    let (sent, wake) = state.withLock { state -> (Bool, (@Sendable () -> Void)?) in
      guard !state.isFinished, !state.isClosed else { return (false, nil) }
      guard state.pending.isEmpty || state.pending.count + bytes.count <= pendingBytesMax else {
        state.isFinished = true
        return (false, state.wake)
      }
      let wasEmpty = state.pending.isEmpty
      state.pending.append(contentsOf: bytes)
      return (true, wasEmpty ? state.wake : nil)
    }
    wake?()
    return sent
  }

  /// Ends the stream after what is queued.
  public func finish() {
    let wake = state.withLock { state -> (@Sendable () -> Void)? in
      guard !state.isFinished, !state.isClosed else { return nil }
      state.isFinished = true
      return state.wake
    }
    wake?()
  }

  /// `wake` is called whenever there is something new to take.
  func attach(wake: @escaping @Sendable () -> Void) {
    state.withLock { state in
      precondition(state.wake == nil, "an event stream answers one request only")
      state.wake = wake
    }
    wake()
  }

  /// What is queued, and whether nothing more comes after it.
  func take() -> (bytes: [UInt8], isFinished: Bool) {
    state.withLock { state in
      let bytes = state.pending
      state.pending = []
      return (bytes, state.isFinished)
    }
  }

  /// The client has gone or has everything.
  func close() {
    let isFirst = state.withLock { state -> Bool in
      let isFirst = !state.isClosed
      state.isClosed = true
      state.wake = nil
      state.pending = []
      return isFirst
    }
    if isFirst { onClose() }
  }
}
