// A typed client of Trainyard's API. This file has what every call shares: the key, problems as errors, retries with
// an idempotency key, waiting. APIClient+Jobs.swift and APIClient+Resources.swift have the calls themselves.
import Contract
import Foundation
import FoundationNetworking

/// Calls the API of one server with one key. Every call blocks its thread until it is answered.
///
/// Reading calls, and creating ones by their `Idempotency-Key`, are made again while the server cannot be reached or
/// says 503 or 429, as long as the policy allows.
public struct APIClient: Sendable {
  /// The server's address, e.g. `http://127.0.0.1:8470`.
  public let server: URL
  /// How long failing calls are made again.
  public var retry: RetryPolicy
  /// Seconds without a byte after which one try is given up.
  public var idleSeconds: Double
  /// A stream of events without a byte for so long is dead: the server sends something every 15 s.
  var silenceSecondsMax = 45.0

  private let key: String?
  private let transport: HTTPTransport

  /// - Parameters:
  ///   - server: scheme, host and port; a path is kept as prefix.
  ///   - key: the API key's secret; nil calls without one, which is enough for `/livez` and `/readyz`.
  ///   - retry: default up to 10 s.
  ///   - idleSeconds: default 60.
  public init(server: URL, key: String?, retry: RetryPolicy = RetryPolicy(), idleSeconds: Double = 60) {
    self.server = server
    self.key = key
    self.retry = retry
    self.idleSeconds = idleSeconds
    transport = HTTPTransport()
  }

  /// The same client, over the same connections, with another patience.
  public func with(retry: RetryPolicy) -> APIClient {
    var client = self
    client.retry = retry
    return client
  }

  // MARK: What the calls are made of

  /// A value of a query string, left out where it is nil.
  typealias Query = KeyValuePairs<String, String?>

  /// Reads a JSON resource, or waits for it to differ from what carries the entity tag `unless`.
  ///
  /// - Returns: the resource and its entity tag; nil when nothing has changed.
  func change(
    _ path: String, _ query: Query, unless entityTag: String?, waitSeconds: Double
  ) throws(APIError) -> (JSON, entityTag: String?)? {
    let exchange = HTTPExchange(
      method: "GET", url: url(path, query), headers: headers(entityTag.map { ["If-None-Match": $0] } ?? [:]),
      idleSeconds: idleSeconds + waitSeconds)
    let answer = try repeating(exchange, accepting: [304])
    return answer.status == 304 ? nil : (try json(answer), answer.headers["etag"])
  }

  /// Reads a JSON resource.
  func get(_ path: String, _ query: Query = [:], waitSeconds: Double = 0) throws(APIError) -> JSON {
    let exchange = HTTPExchange(
      method: "GET", url: url(path, query), headers: headers(), idleSeconds: idleSeconds + waitSeconds)
    return try json(repeating(exchange))
  }

  /// What may be done when the answer to a POST was lost.
  enum Repetition {
    /// The route keeps idempotency keys: under the same one the request may be sent again. Nil makes a fresh one.
    case underKey(String?)
    /// Doing it twice is the same as doing it once.
    case harmless
    /// A second request would do it a second time.
    case forbidden
  }

  /// Posts a JSON body, or none.
  func post(_ path: String, _ body: JSON?, repetition: Repetition) throws(APIError) -> JSON {
    var more: [String: String] = [:]
    var client = self
    switch repetition {
    case .underKey(let key): more["Idempotency-Key"] = key ?? Self.freshKey()
    case .harmless: break
    case .forbidden: client = with(retry: .never)
    }
    let exchange = HTTPExchange(
      method: "POST", url: url(path, [:]), headers: headers(more),
      body: body.map { .bytes($0.bytes, contentType: "application/json") } ?? .none, idleSeconds: idleSeconds)
    return try json(client.repeating(exchange))
  }

  /// Changes a resource by a JSON body, once: a second time might be another change.
  ///
  /// - Parameter entityTag: of the state that the change is made for; nil for any.
  func patch(_ path: String, _ body: JSON, entityTag: String?) throws(APIError) -> JSON {
    let exchange = HTTPExchange(
      method: "PATCH", url: url(path, [:]), headers: headers(entityTag.map { ["If-Match": $0] } ?? [:]),
      body: .bytes(body.bytes, contentType: "application/json"), idleSeconds: idleSeconds)
    return try json(with(retry: .never).repeating(exchange))
  }

  private static func freshKey() -> String { UUID().uuidString.lowercased() }

  /// Posts files as one raw body; the answer and what was sent.
  func upload(_ path: String, _ query: [(String, String?)], files: [String]) throws(APIError) -> (JSON, sha256: String)
  {
    let exchange = HTTPExchange(
      method: "POST", url: url(path, query),
      headers: headers(["Idempotency-Key": Self.freshKey()]),
      body: .files(files, contentType: "application/octet-stream"), idleSeconds: idleSeconds)
    let answer = try repeating(exchange)
    return (try json(answer), answer.sent?.sha256 ?? "")
  }

  /// Deletes a resource and returns what the server says of it. After a lost answer, one that is gone counts as deleted.
  @discardableResult
  func delete(_ path: String) throws(APIError) -> JSON {
    let exchange = HTTPExchange(method: "DELETE", url: url(path, [:]), headers: headers(), idleSeconds: idleSeconds)
    let answer = try repeating(exchange, accepting: [404])
    if answer.status == 404 {
      guard answer.failures > 0 else { throw .problem(answer) }
      return .null
    }
    return try json(answer)
  }

  /// Reads a file of some megabytes into memory.
  func bytes(_ path: String, _ query: Query) throws(APIError) -> Data {
    let exchange = HTTPExchange(method: "GET", url: url(path, query), headers: headers(), idleSeconds: idleSeconds)
    return try Data(repeating(exchange).body)
  }

  /// Reads text that is not JSON, such as CSV.
  func text(_ path: String, _ query: Query, accept: String) throws(APIError) -> String {
    let exchange = HTTPExchange(
      method: "GET", url: url(path, query), headers: headers(["Accept": accept]), idleSeconds: idleSeconds)
    return String(decoding: try repeating(exchange).body, as: UTF8.self)
  }

  /// Downloads to `destination` by way of a file beside it, which is moved into place only when its hash is right.
  ///
  /// - Returns: bytes and SHA-256 of the file.
  func download(
    _ path: String, _ query: Query, to destination: URL, sha256: String
  ) throws(APIError) -> (bytes: Int, sha256: String) {
    // The finished file is renamed into place, which would replace a device or a pipe by a file.
    var status = stat()
    guard lstat(destination.path, &status) != 0 || status.st_mode & S_IFMT == S_IFREG else {
      throw APIError(
        .file, title: "cannot write \(destination.path)", detail: "it is no regular file; name a file that may be made")
    }
    let partial = destination.path + ".part"
    let exchange = HTTPExchange(
      method: "GET", url: url(path, query), headers: headers(["Accept": "*/*"]), destination: partial,
      idleSeconds: idleSeconds)
    defer { unlink(partial) }
    let answer = try repeating(exchange)
    guard let written = answer.written, written.sha256 == sha256 else {
      throw APIError(
        .corrupt, title: "the download is damaged",
        detail: "expected SHA-256 \(sha256), got \(answer.written?.sha256 ?? "nothing"); try again", retryable: true)
    }
    guard rename(partial, destination.path) == 0 else {
      throw APIError(.file, title: "cannot write \(destination.path)", detail: String(cString: strerror(errno)))
    }
    return written
  }

  /// All pages of a list, up to `limit` items.
  func list(_ path: String, _ query: [String: String] = [:], limit: Int) throws(APIError) -> [JSON] {
    var items: [JSON] = []
    var cursor: String?
    repeat {
      var values = query
      values["limit"] = String(min(limit - items.count, Page<JSON>.limitRange.upperBound))
      values["cursor"] = cursor
      let exchange = HTTPExchange(
        method: "GET", url: url(path, values.map { ($0.key, $0.value) }), headers: headers(), idleSeconds: idleSeconds)
      let page = try json(repeating(exchange))
      guard let list = page["items"]?.array else {
        throw APIError(.malformedAnswer, title: "unexpected answer", detail: "\(path) has no \"items\"")
      }
      items += list
      cursor = page["next_cursor"]?.string
    } while cursor != nil && items.count < limit
    return Array(items.prefix(limit))
  }

  /// Reads a stream of events until the server ends it, it breaks, or `sink` has enough; one try.
  ///
  /// - Parameters:
  ///   - lastID: of the last event seen.
  ///   - onStart: told of the task, which may be cancelled from any thread.
  ///   - sink: takes the bytes as they come, and ends the stream by returning false; it must not block.
  func stream(
    _ path: String, lastID: String?, onStart: @escaping @Sendable (URLSessionTask) -> Void,
    sink: @escaping @Sendable (Data) -> Bool
  ) throws(APIError) {
    var more = ["Accept": "text/event-stream", "Cache-Control": "no-cache"]
    more["Last-Event-ID"] = lastID
    var exchange = HTTPExchange(
      method: "GET", url: url(path, [:]), headers: headers(more), idleSeconds: silenceSecondsMax)
    exchange.onStart = onStart
    exchange.sink = sink
    // Foundation keeps watching for room to write on a connection for as long as the exchange lasts that opened it, and
    // there always is room: the stream would cost a whole core. On a connection that is open already it costs nothing.
    _ = try? transport.perform(HTTPExchange(method: "GET", url: url("/livez", [:]), idleSeconds: 5))
    let answer = try transport.perform(exchange)
    guard answer.status == 200 else { throw .problem(answer) }
    guard answer.headers["content-type"]?.hasPrefix("text/event-stream") == true else {
      throw APIError(
        .malformedAnswer, title: "unexpected answer",
        detail: "\(path) is no stream of events but \(answer.headers["content-type"] ?? "of no type")")
    }
  }

  /// Whether the server says it is ready to serve; one try, never throws.
  public func isReady() -> Bool {
    let exchange = HTTPExchange(method: "GET", url: url("/readyz", [:]), idleSeconds: 5)
    return (try? transport.perform(exchange))?.status == 200
  }

  // MARK: Inside

  private func headers(_ more: [String: String] = [:]) -> [String: String] {
    var headers = ["Accept": "application/json", "User-Agent": "trainyard"]
    if let key { headers["Authorization"] = "Bearer \(key)" }
    return headers.merging(more) { $1 }
  }

  private func url(_ path: String, _ query: Query) -> URL { url(path, query.map { ($0.key, $0.value) }) }

  private func url(_ path: String, _ query: [(String, String?)]) -> URL {
    var parts = URLComponents(url: server, resolvingAgainstBaseURL: false) ?? URLComponents()
    parts.path = (parts.path.hasSuffix("/") ? String(parts.path.dropLast()) : parts.path) + path
    let items = query.compactMap { name, value in value.map { (name, $0) } }
    if !items.isEmpty {
      // Foundation leaves '+' as it is in queries, which servers may read as a space.
      let allowed = CharacterSet(charactersIn: "-._~").union(
        .alphanumerics.intersection(CharacterSet(charactersIn: "\u{21}"..."\u{7E}")))
      parts.percentEncodedQuery = items.map { name, value in
        "\(name)=\(value.addingPercentEncoding(withAllowedCharacters: allowed) ?? "")"
      }.joined(separator: "&")
    }
    return parts.url ?? server
  }

  private func json(_ answer: HTTPAnswer) throws(APIError) -> JSON {
    if answer.body.isEmpty { return .null }
    do {
      return try JSON.parse(answer.body)
    } catch {
      throw APIError(.malformedAnswer, title: "the answer is not JSON", detail: "\(error)")
    }
  }

  /// Performs the exchange until it succeeds, fails for good, or the policy gives up.
  private func repeating(
    _ exchange: HTTPExchange, accepting statuses: Set<Int> = []
  ) throws(APIError) -> HTTPAnswer {
    let clock = ContinuousClock()
    let start = clock.now
    var failures = 0
    while true {
      var wishedSeconds: Double?
      let failure: APIError
      do throws(APIError) {
        var answer = try transport.perform(exchange)
        answer.failures = failures
        if answer.status < 300 || statuses.contains(answer.status) { return answer }
        wishedSeconds = answer.headers["retry-after"].flatMap(Double.init)
        failure = .problem(answer)
      } catch {
        failure = error
      }
      guard Self.isPassing(failure) else { throw failure }
      failures += 1
      let delay = retry.delaySeconds(
        failures: failures, elapsedSeconds: (clock.now - start) / .seconds(1), wishedSeconds: wishedSeconds)
      guard let delay else { throw failure }
      Thread.sleep(forTimeInterval: delay)
    }
  }

  /// Whether a failure is about the way to the server or its momentary state, and not about the request.
  private static func isPassing(_ failure: APIError) -> Bool {
    switch failure.kind {
    case .unreachable, .timedOut, .answered(status: 503), .answered(status: 429): return failure.retryable
    default: return false
    }
  }
}
