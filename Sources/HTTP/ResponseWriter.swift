// Turns a Response into bytes for the wire, framing and common fields included; called on handler threads and the event loop.

/// What the request decides about the form of its answer.
struct ResponseContext: Sendable {
  var requestId: String
  var isHead: Bool
  var minorVersion: Int
  /// Whether the connection may go on after the answer, as far as the request and the server's state say.
  var keepsAlive: Bool
}

/// A response ready to be sent.
struct OutgoingResponse: Sendable {
  enum Rest: Sendable {
    /// Everything is in `bytes` and `tail`.
    case none
    case stream(BodyStream, isChunked: Bool)
    case events(EventStream, isChunked: Bool)
  }

  var status: Status
  /// The head, and the body too if it is small.
  var bytes: [UInt8]
  /// A large body.
  var tail: [UInt8] = []
  var rest = Rest.none
  var keepsAlive: Bool
  var failure: String?
}

/// Writes response heads; one for each server.
final class ResponseWriter: Sendable {
  /// A body up to this length is copied behind its head so that both leave in one write; copying more costs more than a write.
  private static let copiedBodyBytesMax = 64 << 10

  private let commonHeaders: ResponseHeaders
  private let formatProblem: @Sendable (Problem) -> [UInt8]
  private let date = HTTPDate()

  init(_ configuration: Configuration) {
    if let (name, value) = configuration.commonHeaders.firstIllegal {
      preconditionFailure("the common header \(name): \(value) holds characters that are not allowed")
    }
    commonHeaders = configuration.commonHeaders
    formatProblem = configuration.formatProblem
  }

  /// - Parameter failure: what the operator should know about this answer.
  func write(_ response: Response, _ context: ResponseContext, failure: String? = nil) -> OutgoingResponse {
    if let (name, _) = response.headers.firstIllegal {
      return problem(
        HTTPError(.internalServerError, detail: "the server could not form its answer"), context,
        failure: "the response header \(name.debugDescription) holds characters that are not allowed")
    }
    let status = response.status
    var outgoing = OutgoingResponse(
      status: status, bytes: [], keepsAlive: context.keepsAlive && !response.closesConnection, failure: failure)
    var length: Int?
    var isChunked = false
    switch response.body {
    case .empty: length = 0
    case .bytes(let bytes): length = bytes.count
    case .stream(let stream): length = stream.byteCount
    case .events: length = nil
    case .deferred: preconditionFailure("a deferral is resolved before its answer is written")
    }
    if length == nil {
      // HTTP/1.0 knows no chunks: the end of the connection is the end of the body.
      if context.minorVersion >= 1 { isChunked = true } else { outgoing.keepsAlive = false }
    }
    var out: [UInt8] = []
    out.reserveCapacity(320 + min(length ?? 0, Self.copiedBodyBytesMax))
    func line(_ name: StaticString, _ value: some Sequence<UInt8>) {
      name.withUTF8Buffer { out.append(contentsOf: $0) }
      out.append(contentsOf: value)
      out.append(0x0D)
      out.append(0x0A)
    }
    line("HTTP/1.1 ", "\(status.code) \(status.reason)".utf8)
    line("Date: ", date.now())
    line("X-Request-Id: ", context.requestId.utf8)
    if !outgoing.keepsAlive {
      line("Connection: ", "close".utf8)
    } else if context.minorVersion == 0 {
      line("Connection: ", "keep-alive".utf8)
    }
    if !status.forbidsBody {
      if let length {
        line("Content-Length: ", String(length).utf8)
      } else if isChunked {
        line("Transfer-Encoding: ", "chunked".utf8)
      }
    }
    append(response.headers, to: &out) { _ in true }
    append(commonHeaders, to: &out) { response.headers[$0] == nil }
    out.append(0x0D)
    out.append(0x0A)
    if !context.isHead, !status.forbidsBody {
      switch response.body {
      case .empty, .deferred: break
      case .bytes(let bytes) where bytes.count <= Self.copiedBodyBytesMax: out.append(contentsOf: bytes)
      case .bytes(let bytes): outgoing.tail = bytes
      case .stream(let stream): outgoing.rest = .stream(stream, isChunked: isChunked)
      case .events(let stream): outgoing.rest = .events(stream, isChunked: isChunked)
      }
    } else if case .events(let stream) = response.body {
      stream.close()
    }
    outgoing.bytes = out
    return outgoing
  }

  func problem(_ error: HTTPError, _ context: ResponseContext, failure: String? = nil) -> OutgoingResponse {
    let problem = Problem(
      type: error.type, title: error.title, status: error.status, detail: error.detail, retryable: error.retryable,
      requestId: context.requestId)
    var headers = error.headers
    headers["Content-Type"] = "application/problem+json"
    let response = Response(status: error.status, headers: headers, body: .bytes(formatProblem(problem)))
    return write(response, context, failure: failure)
  }

  private func append(_ headers: ResponseHeaders, to out: inout [UInt8], where isWanted: (String) -> Bool) {
    for (name, value) in headers.fields where !Self.isReserved(name) && isWanted(name) {
      out.append(contentsOf: name.utf8)
      out.append(0x3A)
      out.append(0x20)
      out.append(contentsOf: value.utf8)
      out.append(0x0D)
      out.append(0x0A)
    }
  }

  /// The fields that only the server knows how to set.
  private static func isReserved(_ name: String) -> Bool {
    let bytes = name.utf8
    switch bytes.count {
    case 4: return equalsIgnoringCase(bytes, "date")
    case 10: return equalsIgnoringCase(bytes, "connection")
    case 12: return equalsIgnoringCase(bytes, "x-request-id")
    case 14: return equalsIgnoringCase(bytes, "content-length")
    case 17: return equalsIgnoringCase(bytes, "transfer-encoding")
    default: return false
    }
  }
}
