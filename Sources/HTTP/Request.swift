// What a handler receives: the head, the path parameters and the body; made by Connection after Router's match.

/// The request methods that this server implements; all others are answered with 501.
public enum Method: String, Sendable, CaseIterable {
  case get = "GET"
  case head = "HEAD"
  case post = "POST"
  case put = "PUT"
  case patch = "PATCH"
  case delete = "DELETE"
  case options = "OPTIONS"

  /// Methods are compared letter by letter, case included (RFC 9110 §9.1).
  init?(bytes: ArraySlice<UInt8>) {
    for method in Method.allCases where bytes.elementsEqual(method.rawValue.utf8) {
      self = method
      return
    }
    return nil
  }
}

/// Everything known about a request before its body is read; what authorisation decides on.
public struct RequestHead: Sendable {
  /// HEAD stays `.head` here although the route of GET may answer it.
  public let method: Method
  /// The path and the query.
  public let target: RequestTarget
  /// All header fields as they came.
  public let headers: HeaderFields
  /// The host asked for, lower-case, with the port if one was given; empty for an HTTP/1.0 request without one.
  public let host: String
  /// The values of the pattern's `{names}`, decoded, never empty.
  public internal(set) var parameters: [String: String]
  /// The pattern that matched, e.g. `/v1/jobs/{id}`; nil in an error responder when no route did.
  public internal(set) var pattern: String?
  /// The id of this request: the client's `X-Request-Id` if it was sane, else one made here. Also sent with the answer.
  public let requestId: String
  /// The `traceparent` field (W3C Trace Context) if well-formed.
  public let traceparent: String?
  /// The address of the client as text, e.g. `127.0.0.1` or `::1`, without the port.
  public let peer: String
  /// Length of the body if the client declared it; 0 without a body; nil when the body is chunked.
  public let declaredBodyBytes: Int?

  /// The value of a pattern's `{name}`; traps if the pattern has no such name, since that is a mistake in the route table.
  public func parameter(_ name: String) -> String {
    guard let value = parameters[name] else { preconditionFailure("the pattern \(pattern ?? "") has no {\(name)}") }
    return value
  }
}

/// A request with its whole body.
public struct Request: Sendable {
  /// What was known before the body was read.
  public let head: RequestHead
  /// The body, empty if there was none.
  public let body: Body

  /// The method, `.head` also where the route of GET answers.
  public var method: Method { head.method }
  /// The path and the query.
  public var target: RequestTarget { head.target }
  /// All header fields as they came.
  public var headers: HeaderFields { head.headers }
  /// The id of this request.
  public var requestId: String { head.requestId }

  /// The value of a pattern's `{name}`; traps if the pattern has no such name.
  public func parameter(_ name: String) -> String { head.parameter(name) }

  /// The value of the first query item of that name; nil if there is none.
  public func query(_ name: String) -> String? { head.target.queryValue(name) }
}

/// The body of a request: small ones in memory, large ones in a file without a name.
public enum Body: Sendable {
  case memory([UInt8])
  /// The file vanishes with the last reference to it.
  case file(SpooledFile)

  /// A body of no bytes.
  public static var empty: Body { .memory([]) }

  /// Length in bytes.
  public var byteCount: Int {
    switch self {
    case .memory(let bytes): bytes.count
    case .file(let file): file.byteCount
    }
  }

  /// The whole body as one array; throws HTTPError 413 when it is longer than `bytesMax`, and HTTPError 500 when the file
  /// cannot be read.
  public func bytes(max bytesMax: Int) throws -> [UInt8] {
    guard byteCount <= bytesMax else {
      throw HTTPError(.contentTooLarge, detail: "the body has \(byteCount) bytes, at most \(bytesMax) fit here")
    }
    switch self {
    case .memory(let bytes): return bytes
    case .file(let file): return try file.read(from: 0, count: file.byteCount)
    }
  }

  /// Hands the body over in order, in pieces of at most `chunkBytesMax`; throws what `consume` throws, and HTTPError 500 when
  /// the file cannot be read.
  public func forEachChunk(
    chunkBytesMax: Int = 1 << 20, _ consume: (UnsafeRawBufferPointer) throws -> Void
  ) throws {
    switch self {
    case .memory(let bytes):
      try bytes.withUnsafeBytes { whole in
        var start = 0
        while start < whole.count {
          let end = min(start + chunkBytesMax, whole.count)
          try consume(UnsafeRawBufferPointer(rebasing: whole[start..<end]))
          start = end
        }
      }
    case .file(let file):
      var start = 0
      while start < file.byteCount {
        let chunk = try file.read(from: start, count: min(chunkBytesMax, file.byteCount - start))
        try chunk.withUnsafeBytes { try consume($0) }
        start += chunk.count
      }
    }
  }
}
