// The body of every error answer that the server makes itself (RFC 9457); written by ResponseWriter's callers.

/// One problem as a client reads it.
public struct Problem: Sendable {
  /// A URI that names the kind of problem.
  public var type: String
  /// Short and the same for every occurrence.
  public var title: String
  /// The status of the answer.
  public var status: Status
  /// What is wrong in this request.
  public var detail: String
  /// Whether the same request may succeed later.
  public var retryable: Bool
  /// The id of the request, as in `X-Request-Id`.
  public var requestId: String

  /// The default form: a JSON object with `type`, `title`, `status`, `detail`, `retryable` and `request_id`.
  public func json() -> [UInt8] {
    var out: [UInt8] = []
    out.reserveCapacity(200 + detail.utf8.count)
    func append(_ text: String) { out.append(contentsOf: text.utf8) }
    append("{\"type\":")
    Self.quote(type, into: &out)
    append(",\"title\":")
    Self.quote(title, into: &out)
    append(",\"status\":\(status.code),\"detail\":")
    Self.quote(detail, into: &out)
    append(",\"retryable\":\(retryable),\"request_id\":")
    Self.quote(requestId, into: &out)
    append("}\n")
    return out
  }

  private static func quote(_ text: String, into out: inout [UInt8]) {
    let hex = Array("0123456789abcdef".utf8)
    out.append(UInt8(ascii: "\""))
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"):
        out.append(UInt8(ascii: "\\"))
        out.append(byte)
      case 0..<0x20:
        out.append(contentsOf: "\\u00".utf8)
        out.append(hex[Int(byte >> 4)])
        out.append(hex[Int(byte & 15)])
      default:
        out.append(byte)
      }
    }
    out.append(UInt8(ascii: "\""))
  }
}
