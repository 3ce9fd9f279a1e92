// What can go wrong when the API is called, in one value that the CLI turns into a sentence and an exit code.
// Made by HTTPTransport.swift (no answer) and APIClient.swift (an answer that is a problem).
import Contract
import Foundation

/// Why a call of the API failed.
public struct APIError: Error, Sendable, Hashable, CustomStringConvertible {
  /// The kinds of failure that callers tell apart.
  public enum Kind: Sendable, Hashable {
    /// No answer: refused, cut off, or not resolved.
    case unreachable
    /// The deadline of the call passed before an answer came.
    case timedOut
    /// The server answered with a status of 400 or above.
    case answered(status: Int)
    /// The answer is not what the API promises.
    case malformedAnswer
    /// Bytes that arrived are not the bytes that were promised.
    case corrupt
    /// A local file could not be read or written.
    case file
  }

  public let kind: Kind
  /// A short name of the failure, the problem's `title` where the server gave one.
  public let title: String
  /// What happened, the problem's `detail` where the server gave one.
  public let detail: String
  /// The fields that are wrong, for a refused request.
  public let faults: [Fault]
  /// Whether the same call may succeed later.
  public let retryable: Bool
  /// The server's name for the request, to find it in its log.
  public let requestID: String?

  public init(
    _ kind: Kind, title: String, detail: String, faults: [Fault] = [], retryable: Bool = false,
    requestID: String? = nil
  ) {
    self.kind = kind
    self.title = title
    self.detail = detail
    self.faults = faults
    self.retryable = retryable
    self.requestID = requestID
  }

  /// The status of the answer; nil where there was none.
  public var status: Int? {
    if case .answered(let status) = kind { return status }
    return nil
  }

  /// Title, detail and each fault on a line of its own.
  public var description: String {
    // A detail that only repeats the faults is left to them.
    let isTold = detail.isEmpty || detail == title || faults.contains { detail.contains($0.reason) }
    var lines = [isTold ? title : "\(title): \(detail)"]
    lines += faults.map { $0.path.isEmpty ? "  \($0.reason)" : "  \($0.path): \($0.reason)" }
    if let requestID { lines.append("  (request \(requestID))") }
    return lines.joined(separator: "\n")
  }

  /// Reads an RFC 9457 problem; an answer that is none of that still gives its status and its first words.
  static func problem(_ answer: HTTPAnswer) -> APIError {
    let status = answer.status
    let requestID = answer.headers["x-request-id"]
    guard let json = try? JSON.parse(answer.body), case .object = json else {
      let words = String(decoding: answer.body.prefix(200), as: UTF8.self)
      return APIError(
        .answered(status: status), title: "HTTP status \(status)", detail: words, retryable: status == 503,
        requestID: requestID)
    }
    let faults = (json["errors"]?.array ?? []).map {
      Fault(path: $0["path"]?.string ?? "", reason: $0["reason"]?.string ?? "")
    }
    return APIError(
      .answered(status: status), title: json["title"]?.string ?? "HTTP status \(status)",
      detail: json["detail"]?.string ?? "", faults: faults,
      retryable: json["retryable"]?.bool ?? (status == 503), requestID: json["request_id"]?.string ?? requestID)
  }
}
