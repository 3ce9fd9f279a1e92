// Every setting and limit of the server with its default and its reason; read by HTTPServer and all parts under it.

/// Bounds on a request head and on the framing of a body.
public struct HeadLimits: Sendable {
  /// Longest request line; 414 above. Default 8 KiB (RFC 9112 §3 asks for at least 8,000).
  public var requestLineBytesMax = 8 << 10
  /// Longest block of header fields, and of trailer fields; 431 above. Default 16 KiB.
  public var headerBytesMax = 16 << 10
  /// Most header fields, and most trailer fields; 431 above. Default 100.
  public var headerFieldsMax = 100
  /// All chunk extensions of one body together; 400 above. Default 4 KiB, they are ignored anyway.
  public var chunkExtensionBytesMax = 4 << 10

  /// The defaults.
  public init() {}
}

/// Bounds on what clients may hold of the server: time, connections, memory and disk.
public struct ServerLimits: Sendable {
  /// Bounds on heads and framing.
  public var head = HeadLimits()

  /// From a request's first byte to the end of its head; 408 and close. As long may a TLS handshake take. Default 10 s.
  public var headerSeconds = 10.0
  /// A connection without a request in progress is closed. Default 60 s.
  public var idleSeconds = 60.0
  /// What a body may take before its rate is judged; 408 and close. Default 10 s.
  public var bodyGraceSeconds = 10.0
  /// The slowest body that is waited for, averaged since the grace began. Default 4 KiB/s.
  public var bodyBytesPerSecondMin = 4096.0
  /// The longest any body may take, whatever its rate. Default one hour.
  public var bodySeconds = 3600.0
  /// A client that takes nothing of its answer for so long is cut off. Default 30 s.
  public var writeStallSeconds = 30.0
  /// From the moment a handler could start to its answer, waiting for a thread included; 503. A route may set its own. Default 30 s.
  public var handlerSeconds = 30.0
  /// How long a refused client is listened to after its answer, so that the answer is not lost to a reset. Default 2 s.
  public var lingerSeconds = 2.0

  /// Open connections; above, new ones get 503 and are closed. Default 1,024.
  public var connectionsMax = 1024
  /// Open connections of one address (of one /64 with IPv6); above, new ones get 429 and are closed. Default 512.
  public var connectionsPerPeerMax = 512
  /// Whether `connectionsPerPeerMax` does not count for loopback, where a reverse proxy is the one peer. Default true.
  public var loopbackIsExempt = true
  /// Requests waiting for a handler thread; above, they get 503 at once. Default 1,024.
  public var handlerQueueMax = 1024

  /// A body up to this length stays in memory; a longer one goes to the spool folder. Default 1 MiB.
  public var bodyMemoryBytesMax = 1 << 20
  /// All bodies in memory together; above, even small ones go to the spool folder. Default 32 MiB.
  public var bodyMemoryTotalBytesMax = 32 << 20
  /// All spooled bodies together; above, 503. Default 8 GiB.
  public var spoolTotalBytesMax = 8 << 30
  /// An unread body up to this length is read and dropped to keep the connection; a longer one closes it. Default 64 KiB.
  public var unreadBodyBytesMax = 64 << 10

  /// The defaults.
  public init() {}
}

/// One finished request, for logs and metrics.
public struct RequestRecord: Sendable {
  /// The id that was sent with the answer.
  public var requestId: String
  /// As it came; nil when the head could not be read.
  public var method: Method?
  /// The route's pattern, never the path itself; nil when no route matched.
  public var pattern: String?
  /// The status that was sent, or was about to be when the connection broke.
  public var status: Status
  /// Bytes of the body as read from the client.
  public var requestBytes: Int
  /// Bytes handed to the system for this answer, head included.
  public var responseBytes: Int
  /// From the first byte of the head to the last of the answer.
  public var seconds: Double
  /// The client's address as text.
  public var peer: String
  /// Who asked, as the router's `describe` says of the identity; empty for those who were not let in.
  public var caller: [String: String]
  /// The client's `traceparent` if it was well-formed.
  public var traceparent: String?
  /// Why an answer was cut or an unexpected error hidden behind a 500; for the operator, never sent to the client.
  public var failure: String?
}

/// How a server is set up.
public struct Configuration: Sendable {
  /// `host:port`, e.g. `127.0.0.1:8080`, `[::1]:8080`, `0.0.0.0:80`; port 0 takes a free one.
  public var address: String
  /// Certificate and key for TLS 1.2 and 1.3; nil speaks plain HTTP. The hosts it is for need not be in `allowedHosts`.
  public var credentials: TLSCredentials?
  /// What clients may hold of the server.
  public var limits = ServerLimits()
  /// Threads for handlers, which may block; default 4.
  public var handlerThreads = 4
  /// Hosts beyond localhost, loopback and the bound address that the Host field may name, without ports; `*` allows all. Any
  /// other is answered with 421, so that a foreign web page cannot reach this server under its own name (DNS rebinding).
  public var allowedHosts: [String] = []
  /// The folder for large bodies; they have no name in it and vanish with the process. Default `/var/tmp`.
  public var spoolFolder = "/var/tmp"
  /// Fields for every answer, e.g. `X-Content-Type-Options`; a field of the answer itself wins.
  public var commonHeaders: ResponseHeaders = [:]
  /// Ids for requests that bring none; must not repeat. Default: 64 random bits and a counter.
  public var makeRequestId: @Sendable () -> String = RequestIds().next
  /// Writes the body of the server's own errors as `application/problem+json`.
  public var formatProblem: @Sendable (Problem) -> [UInt8] = { $0.json() }
  /// Answers what a handler or authorisation threw, other than `HTTPError`; nil leaves it to a 500 without internals. It runs
  /// where the handler ran.
  public var respondToError: @Sendable (any Error, RequestHead) -> Response? = { _, _ in nil }
  /// Filled with what is open at the moment.
  public var gauges = ServerGauges()
  /// Called once for each answered request, on the event loop's thread: it must not block.
  public var onComplete: @Sendable (RequestRecord) -> Void = { _ in }
  /// Told of each TLS handshake that led to nothing, with the client's address and the reason, on the event loop's thread: it
  /// must not block.
  public var onHandshakeFailure: @Sendable (_ peer: String, _ reason: String) -> Void = { _, _ in }
  /// Told of troubles outside any request, e.g. no descriptors left, on the event loop's thread: it must not block.
  public var onTrouble: @Sendable (String) -> Void = { _ in }

  /// - Parameter address: `host:port`.
  public init(address: String) { self.address = address }
}
