// The description of the API that is built into the program, as YAML and as JSON.
import COpenAPI
import Contract
import Foundation
import HTTP
import Store
import Synchronization
import Yams

/// Serves `openapi/openapi.yaml`.
final class Description: Sendable {
  /// The file as it stands in the repository.
  let yaml = Array(UnsafeBufferPointer(start: co_openapi_bytes(), count: co_openapi_count))
  private let tag: String
  // Made when first asked for: most processes never are.
  private let converted = Mutex<[UInt8]?>(nil)

  init() { tag = SHA256.hexadecimal(yaml) }

  func asYAML(_ request: Request) -> Response { answer(yaml, "application/yaml", "\"\(tag)\"", request.head) }

  func asJSON(_ request: Request) throws -> Response {
    answer(try json(), "application/json", "\"\(tag)-json\"", request.head)
  }

  private func answer(_ bytes: [UInt8], _ type: String, _ tag: String, _ head: RequestHead) -> Response {
    let headers: ResponseHeaders = ["ETag": tag, "Cache-Control": "no-cache"]
    if head.hasCurrent(tag) { return Response(status: .notModified, headers: headers) }
    return .bytes(bytes, contentType: type, headers: headers)
  }

  private func json() throws -> [UInt8] {
    try converted.withLock { converted in
      if let converted { return converted }
      let bytes = try Self.value(Yams.load(yaml: String(decoding: yaml, as: UTF8.self))).bytes
      converted = bytes
      return bytes
    }
  }

  /// What a YAML value is in JSON.
  static func value(_ value: Any?) throws -> JSON {
    switch value {
    case nil, is NSNull: return .null
    case let text as String: return .string(text)
    case let truth as Bool: return .bool(truth)
    case let number as Int: return .integer(number)
    case let number as Double: return .number(number)
    case let elements as [Any]: return .array(try elements.map(Self.value))
    case let members as [AnyHashable: Any]:
      return .object(
        try members.reduce(into: [:]) { object, member in
          guard let key = member.key as? String else { throw DescriptionError(value: "\(member.key)") }
          object[key] = try Self.value(member.value)
        })
    default: throw DescriptionError(value: "\(value!)")
    }
  }
}

/// The description holds something that JSON cannot express.
struct DescriptionError: Error {
  let value: String
}
