// What handlers have in common: reading a JSON body, answering with JSON, entity tags, idempotency keys.
import Contract
import Foundation
import HTTP
import Store

extension Request {
  /// The body as JSON.
  ///
  /// - Throws: ``JSONError`` with the byte of the fault; ``Problem`` 400 when there is no body.
  func json() throws -> JSON {
    let bytes = try body.bytes(max: .max)
    guard !bytes.isEmpty else {
      throw Problem(
        .badRequest, status: 400, title: "Bad Request", detail: "the body is empty; a JSON object is expected")
    }
    return try JSON.parse(bytes)
  }

  /// What the `Idempotency-Key` header makes of this request; nil without the header.
  ///
  /// - Parameter content: SHA-256 of all that the request says beside its route, in hexadecimal.
  func idempotency(route: String, content: @autoclosure () throws -> String) throws -> Idempotency? {
    try head.checkIdempotencyKey()
    guard let key = headers["idempotency-key"] else { return nil }
    return Idempotency(key: key, route: route, requestSHA256: try content())
  }

  /// ``idempotency(route:content:)`` of a request that says everything in its body.
  func idempotency(route: String) throws -> Idempotency? {
    try idempotency(route: route, content: SHA256.hexadecimal(body.bytes(max: .max)))
  }
}

extension RequestHead {
  /// Throws ``SpecError`` when there is an idempotency key that cannot be one.
  func checkIdempotencyKey() throws(SpecError) {
    let keys = headers.all("idempotency-key")
    guard let key = keys.first else { return }
    guard keys.count == 1, (1...255).contains(key.utf8.count), key.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) else {
      throw SpecError([
        Fault(path: "", reason: "Idempotency-Key: expected one header of 1 to 255 visible ASCII characters")
      ])
    }
  }

  /// The revision that a change is made for; nil without `If-Match`, or with `*`.
  ///
  /// - Throws: ``SpecError`` for what is no entity tag of ours.
  func expectedRevision() throws(SpecError) -> Int? {
    let fields = headers.all("if-match")
    guard let field = fields.first, fields != ["*"] else { return nil }
    guard fields.count == 1, let match = field.wholeMatch(of: #/\s*"(\d{1,18})"\s*/#), let revision = Int(match.1)
    else {
      throw SpecError([
        Fault(path: "", reason: "If-Match: expected one entity tag as this service gives them, such as \"3\"")
      ])
    }
    return revision
  }

  /// The number of the last event that a client which comes back has seen; nil without `Last-Event-ID`.
  ///
  /// - Throws: ``SpecError`` for what is no id of ours.
  func lastEventID() throws(SpecError) -> Int? {
    let fields = headers.all("last-event-id")
    guard let field = fields.first else { return nil }
    guard fields.count == 1, field.wholeMatch(of: #/\d{1,19}/#) != nil, let number = Int(field) else {
      throw SpecError([
        Fault(path: "", reason: "Last-Event-ID: expected one id as this stream gives them, such as 17")
      ])
    }
    return number
  }

  /// Whether the client names this media type and does not like JSON as well or better.
  func prefers(_ type: String) -> Bool {
    var quality: [String: Double] = [:]
    for range in headers.all("accept").flatMap({ $0.split(separator: ",") }) {
      let parts = range.split(separator: ";").map { $0.trimmingCharacters(in: .whitespaces).lowercased() }
      guard let type = parts.first else { continue }
      quality[type] = parts.dropFirst().first { $0.hasPrefix("q=") }.map { Double($0.dropFirst(2)) ?? 0 } ?? 1
    }
    let own = quality[type] ?? quality[String(type.prefix { $0 != "/" }) + "/*"] ?? 0
    return own > (quality["application/json"] ?? 0)
  }

  /// Whether the client has the state of this entity tag already (RFC 9110 §13.1.2).
  func hasCurrent(_ tag: String) -> Bool {
    headers.all("if-none-match").contains { field in
      field == "*"
        || field.split(separator: ",").contains { entry in
          let entry = entry.trimmingCharacters(in: .whitespaces)
          return entry == tag || entry == "W/" + tag
        }
    }
  }
}

extension Response {
  static func json(_ value: JSON, status: Status = .ok, headers: ResponseHeaders = [:]) -> Response {
    .bytes(value.bytes, contentType: "application/json", status: status, headers: headers)
  }

  /// 201 with the path of what was made; says so when it was made by an earlier request.
  static func created(_ value: JSON, at path: String, replayed: Bool = false, tag: String? = nil) -> Response {
    var headers: ResponseHeaders = ["Location": path]
    if let tag { headers["ETag"] = tag }
    if replayed { headers["Idempotency-Replayed"] = "true" }
    return .json(value, status: .created, headers: headers)
  }

  /// A JSON state with its entity tag, or 304 when the client has it.
  static func state(_ value: @autoclosure () -> JSON, tag: String, _ head: RequestHead) -> Response {
    // May be kept, but not used again unasked.
    let headers: ResponseHeaders = ["ETag": tag, "Cache-Control": "private, no-cache"]
    if head.hasCurrent(tag) { return Response(status: .notModified, headers: headers) }
    return .json(value(), headers: headers)
  }

  /// All items of something that is never too long for one page.
  static func items(_ items: [JSON]) -> Response { .json(["items": .array(items), "next_cursor": .null]) }
}
