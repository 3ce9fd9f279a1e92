// The description of the API as tests read it: operations, references, and a check of JSON against its schemas.
import Contract
import Foundation
import Yams

@testable import Server

/// `openapi/openapi.yaml`, read.
struct APIDescription: Sendable {
  static let shared = APIDescription()

  let root: JSON
  let operations: [Operation]

  /// One method of one path.
  struct Operation: Sendable, CustomStringConvertible {
    let method: String
    let path: String
    /// With its references resolved one level down.
    let json: JSON
    let parameters: [JSON]

    var id: String { json["operationId"]?.string ?? "" }
    var description: String { "\(method) \(path)" }
    /// The scope that its security names; nil for any key.
    var scope: String? { json["security"]?.array?.first?["bearer"]?.array?.first?.string }
    var isOpen: Bool { json["security"]?.array?.isEmpty == true }
    var requestTypes: [String] { members(json["requestBody"]?["content"]).map(\.0) }

    /// Parameters in `place` (path, query, header).
    func names(in place: String) -> [String] {
      parameters.filter { $0["in"]?.string == place }.compactMap { $0["name"]?.string }
    }
  }

  init() {
    let text = String(decoding: Description().yaml, as: UTF8.self)
    let root = try! Description.value(try! Yams.load(yaml: text))
    self.root = root
    var operations: [Operation] = []
    for (path, item) in members(root["paths"]) {
      for (method, json) in members(item) where ["get", "post", "put", "patch", "delete"].contains(method) {
        let parameters = (item["parameters"]?.array ?? []) + (json["parameters"]?.array ?? [])
        operations.append(
          Operation(
            method: method.uppercased(), path: path, json: json,
            parameters: parameters.map { Self.resolve($0, in: root) }))
      }
    }
    self.operations = operations.sorted { "\($0)" < "\($1)" }
  }

  /// What a reference points to; other values as they are.
  func resolve(_ json: JSON) -> JSON { Self.resolve(json, in: root) }

  private static func resolve(_ json: JSON, in root: JSON) -> JSON {
    guard let reference = json["$ref"]?.string else { return json }
    var value = root
    for part in reference.dropFirst(2).split(separator: "/") { value = value[String(part)] ?? .null }
    return value
  }

  /// The operation that answers a method on a path.
  func operation(_ method: String, _ path: String) -> Operation? {
    let segments = path.split(separator: "/")
    return operations.filter { operation in
      let pattern = operation.path.split(separator: "/")
      return operation.method == (method == "HEAD" ? "GET" : method) && pattern.count == segments.count
        && zip(pattern, segments).allSatisfy { $0.hasPrefix("{") || $0 == $1 }
    }.min { $0.names(in: "path").count < $1.names(in: "path").count }
  }

  /// The response of an operation for a status, resolved; nil if it is not described.
  func response(_ operation: Operation, _ status: Int) -> JSON? {
    operation.json["responses"]?[String(status)].map(resolve)
  }

  // MARK: Schemas

  /// What is wrong with a value by a schema; every property that a schema names and nothing else may be there, unless
  /// it allows more.
  func faults(_ value: JSON, _ schema: JSON, at path: String = "") -> [String] {
    let schema = resolve(schema)
    // The choices of a oneOf are of different kinds, so that no value fits two.
    if let choices = schema["anyOf"]?.array ?? schema["oneOf"]?.array {
      return choices.contains { faults(value, $0, at: path).isEmpty } ? [] : ["\(path): fits none of its choices"]
    }
    var found: [String] = []
    if let type = schema["type"] {
      let types = type.array?.compactMap(\.string) ?? [type.string ?? ""]
      guard types.contains(where: { Self.isOf($0, value) }) else {
        return ["\(path): expected \(types.joined(separator: " or ")), got \(value.kind)"]
      }
    }
    if let words = schema["enum"]?.array, !words.contains(value) {
      found.append("\(path): \(value.text) is not listed")
    }
    if let number = value.number {
      if let least = schema["minimum"]?.number, number < least { found.append("\(path): below \(least)") }
      if let most = schema["maximum"]?.number, number > most { found.append("\(path): above \(most)") }
    }
    if let pattern = schema["pattern"]?.string, let text = value.string,
      (try? Regex(pattern).firstMatch(in: text)) == nil
    {
      found.append("\(path): \(text) does not match \(pattern)")
    }
    if schema["format"]?.string == "date-time", let text = value.string, Timestamp(rfc3339: text) == nil {
      found.append("\(path): \(text) is no time")
    }
    for (index, element) in (value.array ?? []).enumerated() {
      if let items = schema["items"] { found += faults(element, items, at: "\(path)/\(index)") }
    }
    if case .object(let fields) = value {
      for name in schema["required"]?.array?.compactMap(\.string) ?? [] where fields[name] == nil {
        found.append("\(path)/\(name): is missing")
      }
      for (name, field) in fields.sorted(by: { $0.key < $1.key }) {
        if let property = schema["properties"]?[name] {
          found += faults(field, property, at: "\(path)/\(name)")
        } else if case .object = schema["additionalProperties"] {
          found += faults(field, schema["additionalProperties"]!, at: "\(path)/\(name)")
        } else if schema["additionalProperties"]?.bool != true {
          found.append("\(path)/\(name): is not described")
        }
      }
    }
    return found
  }

  private static func isOf(_ type: String, _ value: JSON) -> Bool {
    switch (type, value) {
    case ("null", .null), ("boolean", .bool), ("string", .string), ("array", .array), ("object", .object): return true
    case ("integer", _): return value.integer != nil
    case ("number", _): return value.number != nil
    default: return false
    }
  }
}

/// The members of an object in order of their names; none for anything else.
func members(_ json: JSON?) -> [(String, JSON)] {
  guard case .object(let members) = json else { return [] }
  return members.sorted { $0.key < $1.key }
}
