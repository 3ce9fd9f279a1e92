// One request and its answer while they last, and the reader of the request's body; owned by Connection.

/// The state of the request that a connection is busy with.
struct Exchange {
  /// Nil when the head could not be read.
  var head: RequestHead?
  var endpoint: RouteTable.Endpoint?
  /// How answers are formed; `keepsAlive` in it is what holds while the body is unread.
  var context: ResponseContext
  /// Whether the connection may go on once the body has been read.
  var keepsAliveOnceRead = false
  let startedAt: UInt64
  let ticket = Ticket()
  var expectsContinue = false
  /// Nil without a body.
  var body: IncomingBody?
  var handler: RouteTable.Handler?
  /// When the body began to be waited for; moved on by the time in which the server itself was not reading.
  var bodyStartedAt: UInt64 = 0

  var status = Status.ok
  var failure: String?
  var responseBytes = 0
  var keepsAlive = false

  /// Bytes handed out by a stream so far; a producer at work; its end seen.
  var streamedBytes = 0
  var isProducing = false
  var streamHasEnded = false
  var isEventStream = false

  init(context: ResponseContext, startedAt: UInt64) {
    self.context = context
    self.startedAt = startedAt
  }
}

/// A body on its way in: its end on the wire and its bytes so far.
struct IncomingBody {
  private(set) var reader: BodyReader
  var collector: BodyCollector

  init(reader: BodyReader, collector: BodyCollector) {
    self.reader = reader
    self.collector = collector
  }

  var isRead: Bool { reader.isFinished }

  /// Takes what belongs to the body from `bytes` and says how much that was, and whether it is more than `bytesMax` in all.
  mutating func feed(
    _ bytes: UnsafeBufferPointer<UInt8>, bytesMax: Int
  ) throws(ProtocolFault) -> (used: Int, isTooLarge: Bool) {
    var reader = reader
    defer { self.reader = reader }
    var isTooLarge = false
    let used = try reader.read(bytes) { data in
      isTooLarge = data.count > bytesMax - collector.byteCount
      if !isTooLarge { collector.append(data) }
      return !isTooLarge
    }
    return (used, isTooLarge)
  }
}

/// Delimits the body of a request in the bytes that follow its head.
enum BodyReader {
  case length(remaining: Int)
  case chunked(ChunkedDecoder)

  init?(_ framing: BodyFraming, limits: HeadLimits) {
    switch framing {
    case .none: return nil
    case .length(let length): self = .length(remaining: length)
    case .chunked: self = .chunked(ChunkedDecoder(limits: limits))
    }
  }

  var isFinished: Bool {
    switch self {
    case .length(let remaining): remaining == 0
    case .chunked(let decoder): decoder.isFinished
    }
  }

  /// Passes the data in `bytes` on and returns how many of them belong to the body; stops early when `sink` returns false.
  mutating func read(
    _ bytes: UnsafeBufferPointer<UInt8>, _ sink: (UnsafeRawBufferPointer) -> Bool
  ) throws(ProtocolFault) -> Int {
    switch self {
    case .length(let remaining):
      let count = min(remaining, bytes.count)
      self = .length(remaining: remaining - count)
      if count > 0 { _ = sink(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(bytes)[..<count])) }
      return count
    case .chunked(var decoder):
      // The enum lets go of the decoder while it works, so that its small array is not copied.
      self = .length(remaining: 0)
      defer { self = .chunked(decoder) }
      return try decoder.decode(bytes, sink)
    }
  }
}
