// What a handler answers: status, headers and a body of one of five kinds; serialised by ResponseWriter, sent by Connection.

/// The header fields of a response, in order.
///
/// The server itself writes `Date`, `Content-Length`, `Transfer-Encoding`, `Connection` and `X-Request-Id`; values given here
/// for those are ignored.
public struct ResponseHeaders: Sendable, ExpressibleByDictionaryLiteral {
  private(set) var fields: [(name: String, value: String)] = []

  /// No fields.
  public init() {}

  /// Fields in the order written, repeated names kept.
  public init(dictionaryLiteral elements: (String, String)...) {
    for (name, value) in elements { add(name, value) }
  }

  /// The first value of that name, letter case ignored; setting replaces all of them, setting nil removes them.
  public subscript(name: String) -> String? {
    get { fields.first { $0.name.caseInsensitiveEquals(name) }?.value }
    set {
      fields.removeAll { $0.name.caseInsensitiveEquals(name) }
      if let newValue { add(name, newValue) }
    }
  }

  /// Adds a field beside those of the same name, e.g. a second `Link`.
  public mutating func add(_ name: String, _ value: String) {
    fields.append((name, value))
  }

  /// The first field that cannot be written: a name that is no token, or a value with CR, LF, NUL or another control character.
  ///
  /// A response with such a field is replaced by a 500, so text from a client can never split a response.
  var firstIllegal: (name: String, value: String)? {
    fields.first { name, value in
      name.isEmpty || !name.utf8.allSatisfy(\.isToken) || !value.utf8.allSatisfy(\.isFieldText)
    }
  }
}

extension String {
  fileprivate func caseInsensitiveEquals(_ other: String) -> Bool {
    utf8.count == other.utf8.count && utf8.elementsEqual(other.utf8) { $0.lowercased == $1.lowercased }
  }
}

/// The answer to one request.
public struct Response: Sendable {
  /// The status; default 200.
  public var status: Status
  /// The fields beside those that the server writes.
  public var headers: ResponseHeaders
  /// The body; default empty.
  public var body: ResponseBody
  /// Whether the connection is closed after this answer; default false.
  public var closesConnection: Bool

  /// An answer; without arguments an empty 200.
  public init(
    status: Status = .ok, headers: ResponseHeaders = [:], body: ResponseBody = .empty, closesConnection: Bool = false
  ) {
    self.status = status
    self.headers = headers
    self.body = body
    self.closesConnection = closesConnection
  }

  /// An answer of bytes with a content type.
  public static func bytes(
    _ bytes: [UInt8], contentType: String, status: Status = .ok, headers: ResponseHeaders = [:]
  ) -> Response {
    var headers = headers
    headers["Content-Type"] = contentType
    return Response(status: status, headers: headers, body: .bytes(bytes))
  }

  /// An answer of text; the content type defaults to plain UTF-8.
  public static func text(
    _ text: String, contentType: String = "text/plain; charset=utf-8", status: Status = .ok
  ) -> Response {
    .bytes(Array(text.utf8), contentType: contentType, status: status)
  }

  /// An answer that is made later, without holding a thread; see `Deferral`.
  public static func later(_ deferral: Deferral) -> Response { Response(body: .deferred(deferral)) }

  /// A stream of server-sent events; see `EventStream`.
  public static func events(_ stream: EventStream, headers: ResponseHeaders = [:]) -> Response {
    var headers = headers
    headers["Content-Type"] = "text/event-stream"
    headers["Cache-Control"] = "no-store"
    return Response(headers: headers, body: .events(stream))
  }
}

/// The body of a response.
public enum ResponseBody: Sendable {
  case empty
  case bytes([UInt8])
  /// Produced piece by piece; memory holds one piece at a time.
  case stream(BodyStream)
  /// Server-sent events, fed from any thread.
  case events(EventStream)
  /// The whole response comes later; status and headers beside it are not used.
  case deferred(Deferral)
}

/// A body made piece by piece on handler threads, each piece only after the client took most of the one before.
public struct BodyStream: Sendable {
  /// The exact length if known; without it the body is sent in chunked coding.
  public let byteCount: Int?
  let next: @Sendable () throws -> [UInt8]?

  /// - Parameters:
  ///   - byteCount: the exact length, or nil if it is not known before the end.
  ///   - next: the next piece, nil at the end; never called twice at the same time, and not at all for HEAD. Pieces of 64 KiB
  ///     to 1 MiB serve best. A throw, or a total other than `byteCount`, cuts the connection: the client sees a truncated
  ///     body, never a wrong one that looks complete.
  public init(byteCount: Int?, next: @escaping @Sendable () throws -> [UInt8]?) {
    precondition(byteCount ?? 0 >= 0, "a body cannot have a negative length")
    self.byteCount = byteCount
    self.next = next
  }
}

/// An error that already says how it is answered; thrown by handlers and authorisation.
public struct HTTPError: Error, Sendable {
  /// The status of the answer.
  public var status: Status
  /// Short and the same for every occurrence; the status phrase by default.
  public var title: String
  /// What is wrong in this request and what to do about it.
  public var detail: String
  /// A URI that names the kind of problem; `about:blank` by default.
  public var type: String
  /// Whether the same request may succeed later; by default true for 408, 429, 503 and 504.
  public var retryable: Bool
  /// Fields of the answer, e.g. `WWW-Authenticate` or `Retry-After`.
  public var headers: ResponseHeaders

  /// An error with the status phrase as its title unless another is given.
  public init(
    _ status: Status, title: String? = nil, detail: String, type: String = "about:blank", retryable: Bool? = nil,
    headers: ResponseHeaders = [:]
  ) {
    self.status = status
    self.title = title ?? status.reason
    self.detail = detail
    self.type = type
    self.retryable = retryable ?? status.suggestsRetry
    self.headers = headers
  }
}
