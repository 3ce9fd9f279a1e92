// One HTTP exchange at a time per caller, over Foundation's URLSession: bytes out (from memory or files), a bounded
// answer in memory or streamed to a file. It knows nothing of the API's resources; APIClient.swift does.
import Contract
import Foundation
import FoundationNetworking
import Glibc
import Synchronization

/// A request as the transport sends it.
struct HTTPExchange: Sendable {
  enum Body: Sendable {
    case none
    case bytes([UInt8], contentType: String)
    /// Files one after another, streamed in chunks.
    case files([String], contentType: String)
  }
  var method: String
  var url: URL
  var headers: [String: String] = [:]
  var body: Body = .none
  /// Where the body of a successful answer goes; nil keeps it in memory.
  var destination: String?
  /// Takes the body of a successful answer piece by piece as it arrives, and ends the exchange by returning false. It is
  /// called on the queue of all exchanges of the transport, so it must not block.
  var sink: (@Sendable (Data) -> Bool)?
  /// Told of the task before it begins, so that somebody else can cancel it.
  var onStart: (@Sendable (URLSessionTask) -> Void)?
  /// Seconds without any progress after which the exchange is given up.
  var idleSeconds: Double
}

/// What came back.
struct HTTPAnswer: Sendable {
  var status: Int
  /// Header fields by lower-case name.
  var headers: [String: String]
  /// The body; empty when it went to a file.
  var body: [UInt8]
  /// Bytes and hash of what went to the file.
  var written: (bytes: Int, sha256: String)?
  /// Bytes and hash of the files that were sent.
  var sent: (bytes: Int, sha256: String)?
  /// Tries that failed before this answer came.
  var failures = 0
}

/// Performs exchanges and blocks the calling thread until each is over; never call it on the cooperative pool.
///
/// `@unchecked Sendable`: the session and the inbox are both safe to use from any thread.
final class HTTPTransport: @unchecked Sendable {
  /// Longest answer that is kept in memory; the largest legal one is a page of 100,000 curve points.
  static let answerBytesMax = 64 << 20

  private let session: URLSession
  private let inbox = TaskInbox()

  init() {
    let configuration = URLSessionConfiguration.ephemeral
    configuration.httpShouldSetCookies = false
    configuration.urlCache = nil
    // Each stream of events keeps one; with the default of six the next call would wait for ever.
    configuration.httpMaximumConnectionsPerHost = 256
    configuration.requestCachePolicy = .reloadIgnoringLocalCacheData
    session = URLSession(configuration: configuration, delegate: inbox, delegateQueue: nil)
  }

  deinit { session.invalidateAndCancel() }

  func perform(_ exchange: HTTPExchange) throws(APIError) -> HTTPAnswer {
    var request = URLRequest(url: exchange.url, timeoutInterval: exchange.idleSeconds)
    request.httpMethod = exchange.method
    for (name, value) in exchange.headers { request.setValue(value, forHTTPHeaderField: name) }
    var stream: FileSequenceStream?
    switch exchange.body {
    case .none: break
    case .bytes(let bytes, let contentType):
      request.setValue(contentType, forHTTPHeaderField: "Content-Type")
      request.httpBody = Data(bytes)
    case .files(let paths, let contentType):
      request.setValue(contentType, forHTTPHeaderField: "Content-Type")
      let files = FileSequenceStream(paths: paths)
      stream = files
      request.httpBodyStream = files
    }
    let task = session.dataTask(with: request)
    let pending = PendingTask(
      destination: exchange.destination, sink: exchange.sink, bytesMax: Self.answerBytesMax)
    inbox.await(task, pending)
    exchange.onStart?(task)
    task.resume()
    pending.wait(idleSeconds: exchange.idleSeconds, cancelling: task)
    if let stream, case .failed(let path, let code) = stream.outcome {
      throw APIError(.file, title: "cannot read \(path)", detail: String(cString: strerror(code)))
    }
    if let failure = pending.failure { throw failure }
    if let error = pending.error { throw Self.unreachable(error, url: exchange.url) }
    guard let response = task.response as? HTTPURLResponse else {
      throw APIError(.malformedAnswer, title: "no HTTP answer", detail: "from \(exchange.url.absoluteString)")
    }
    var headers: [String: String] = [:]
    for (name, value) in response.allHeaderFields {
      if let name = name as? String, let value = value as? String { headers[name.lowercased()] = value }
    }
    var answer = HTTPAnswer(status: response.statusCode, headers: headers, body: Array(pending.body))
    answer.written = pending.written
    if let stream, case .done(let bytes, let sha256) = stream.outcome { answer.sent = (bytes, sha256) }
    return answer
  }

  private static func unreachable(_ error: Error, url: URL) -> APIError {
    let place = "\(url.scheme ?? "http")://\(url.host ?? "?")\(url.port.map { ":\($0)" } ?? "")"
    let code = (error as? URLError)?.code
    if code == .timedOut {
      return APIError(.timedOut, title: "no answer in time", detail: place, retryable: true)
    }
    return APIError(
      .unreachable, title: "cannot reach the server", detail: "\(place): \(error.localizedDescription)",
      retryable: true)
  }
}

/// The receiving end of one task.
///
/// `@unchecked Sendable`: the session's serial delegate queue alone writes it, the caller reads it after `finished`.
private final class PendingTask: @unchecked Sendable {
  let finished = DispatchSemaphore(value: 0)
  private let pieces = Atomic(0)
  private let isSilent = Atomic(false)
  let destination: String?
  let sink: (@Sendable (Data) -> Bool)?
  let bytesMax: Int
  var body = Data()
  var error: Error?
  var failure: APIError?
  var descriptor: Int32 = -1
  var writtenBytes = 0
  let digest = Digest()
  var written: (bytes: Int, sha256: String)?

  init(destination: String?, sink: (@Sendable (Data) -> Bool)?, bytesMax: Int) {
    self.destination = destination
    self.sink = sink
    self.bytesMax = bytesMax
  }

  /// Takes a piece of the body; false when the task must stop.
  func receive(_ data: Data, status: Int) -> Bool {
    pieces.add(1, ordering: .relaxed)
    if let sink, (200..<300).contains(status) { return sink(data) }
    guard let destination, (200..<300).contains(status) else {
      guard body.count + data.count <= bytesMax else {
        failure = APIError(.malformedAnswer, title: "the answer is too long", detail: "over \(bytesMax) bytes")
        return false
      }
      body.append(data)
      return true
    }
    if descriptor < 0 {
      descriptor = open(destination, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
      guard descriptor >= 0 else { return failWriting(destination) }
    }
    let complete = data.withUnsafeBytes { bytes in
      digest.update(bytes)
      var rest = bytes
      while !rest.isEmpty {
        let count = write(descriptor, rest.baseAddress, rest.count)
        if count < 0 && errno == EINTR { continue }
        guard count > 0 else { return false }
        rest = UnsafeRawBufferPointer(rebasing: rest[count...])
      }
      return true
    }
    writtenBytes += data.count
    return complete || failWriting(destination)
  }

  /// Waits for the end. The session's own timer only counts to the first byte, so a stream that falls silent is ended here.
  func wait(idleSeconds: Double, cancelling task: URLSessionTask) {
    var seen = 0
    while finished.wait(timeout: sink == nil ? .distantFuture : .now() + idleSeconds) == .timedOut {
      let received = pieces.load(ordering: .relaxed)
      if received == seen {
        isSilent.store(true, ordering: .relaxed)
        task.cancel()
        finished.wait()
        return
      }
      seen = received
    }
  }

  func complete(_ error: Error?) {
    self.error = isSilent.load(ordering: .relaxed) ? URLError(.timedOut) : error
    if descriptor >= 0 {
      if fsync(descriptor) != 0, let destination { _ = failWriting(destination) }
      close(descriptor)
      written = (writtenBytes, digest.finish())
    }
    finished.signal()
  }

  private func failWriting(_ path: String) -> Bool {
    failure = APIError(.file, title: "cannot write \(path)", detail: String(cString: strerror(errno)))
    return false
  }
}

/// Hands the session's callbacks to the task they belong to.
///
/// `@unchecked Sendable`: the table is guarded by its lock.
private final class TaskInbox: NSObject, URLSessionDataDelegate, @unchecked Sendable {
  private let lock = NSLock()
  private var pending: [Int: PendingTask] = [:]

  func await(_ task: URLSessionTask, _ receiver: PendingTask) {
    lock.withLock { pending[task.taskIdentifier] = receiver }
  }

  func urlSession(_ session: URLSession, dataTask: URLSessionDataTask, didReceive data: Data) {
    guard let receiver = lock.withLock({ pending[dataTask.taskIdentifier] }) else { return }
    let status = (dataTask.response as? HTTPURLResponse)?.statusCode ?? 0
    if !receiver.receive(data, status: status) { dataTask.cancel() }
  }

  func urlSession(_ session: URLSession, task: URLSessionTask, didCompleteWithError error: Error?) {
    lock.withLock { pending.removeValue(forKey: task.taskIdentifier) }?.complete(error)
  }

  /// Redirects are not followed: the key must not travel to another place.
  func urlSession(
    _ session: URLSession, task: URLSessionTask, willPerformHTTPRedirection response: HTTPURLResponse,
    newRequest request: URLRequest, completionHandler: @escaping (URLRequest?) -> Void
  ) {
    completionHandler(nil)
  }
}
