// The match of a method and path against the routes, as a tree of segments; built by Router, asked by Connection.

/// The routes with policy and identity hidden in closures, as a tree of segments.
struct RouteTable: Sendable {
  typealias Handler = @Sendable (Request) throws -> Response

  struct Endpoint: Sendable {
    let pattern: String
    let parameterNames: [String]
    let bodyBytesMax: Int
    let acceptedContentTypes: [String]
    let handlerSeconds: Double?
    let inline: Bool
    /// Authorises and gives the handler with the identity in it, and what is told of the caller.
    let admit: @Sendable (RequestHead) throws -> (handler: Handler, caller: [String: String])
  }

  enum Match {
    case endpoint(Endpoint, parameters: [String: String])
    /// The path exists; the value is for the Allow field.
    case otherMethods(allow: String)
    case none
  }

  private struct Node: Sendable {
    var literals: [String: Int] = [:]
    var parameter: Int?
    var endpoints: [Method: Endpoint] = [:]
  }

  private var nodes = [Node()]

  static func parameterNames(_ pattern: String) throws -> [String] {
    try segments(pattern).filter(isParameter).map { String($0.dropFirst().dropLast()) }
  }

  mutating func insert(_ endpoint: Endpoint, method: Method) throws {
    guard Set(endpoint.parameterNames).count == endpoint.parameterNames.count else {
      throw RouterError(description: "\(method.rawValue) \(endpoint.pattern): two parameters have the same name")
    }
    var node = 0
    for segment in try Self.segments(endpoint.pattern) {
      let known = Self.isParameter(segment) ? nodes[node].parameter : nodes[node].literals[segment]
      if let known {
        node = known
        continue
      }
      nodes.append(Node())
      if Self.isParameter(segment) {
        nodes[node].parameter = nodes.count - 1
      } else {
        nodes[node].literals[segment] = nodes.count - 1
      }
      node = nodes.count - 1
    }
    if let other = nodes[node].endpoints[method] {
      throw RouterError(
        description: "\(method.rawValue) \(endpoint.pattern) answers the same requests as \(other.pattern)")
    }
    nodes[node].endpoints[method] = endpoint
  }

  /// Finds the endpoint of a path; a literal segment goes before a parameter, whatever the method, and GET also answers
  /// HEAD.
  func match(_ method: Method, _ target: RequestTarget) -> Match {
    // "OPTIONS *" asks about the server as a whole (RFC 9110 §9.3.7).
    if target.rawPath == "*" { return .otherMethods(allow: Self.allow(nodes.flatMap(\.endpoints.keys))) }
    var values: [String] = []
    guard let endpoints = find(0, target.segments[...], &values) else { return .none }
    guard let endpoint = endpoints[method] ?? (method == .head ? endpoints[.get] : nil) else {
      return .otherMethods(allow: Self.allow(Array(endpoints.keys)))
    }
    return .endpoint(endpoint, parameters: Dictionary(uniqueKeysWithValues: zip(endpoint.parameterNames, values)))
  }

  /// The endpoints of the most literal pattern that fits the path, with the values of its parameters.
  private func find(_ index: Int, _ rest: ArraySlice<String>, _ values: inout [String]) -> [Method: Endpoint]? {
    let node = nodes[index]
    guard let segment = rest.first else { return node.endpoints.isEmpty ? nil : node.endpoints }
    if let next = node.literals[segment], let found = find(next, rest.dropFirst(), &values) { return found }
    guard let next = node.parameter, !segment.isEmpty else { return nil }
    values.append(segment)
    if let found = find(next, rest.dropFirst(), &values) { return found }
    values.removeLast()
    return nil
  }

  private static func allow(_ methods: [Method]) -> String {
    var all = Set(methods)
    if all.contains(.get) { all.insert(.head) }
    return Method.allCases.filter(all.contains).map(\.rawValue).joined(separator: ", ")
  }

  private static func isParameter(_ segment: String) -> Bool { segment.hasPrefix("{") }

  private static func segments(_ pattern: String) throws -> [String] {
    guard pattern.hasPrefix("/") else { throw RouterError(description: "the pattern \(pattern) does not start with /") }
    if pattern == "/" { return [] }
    let segments = pattern.dropFirst().split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    for segment in segments {
      let name = segment.hasPrefix("{") && segment.hasSuffix("}") ? String(segment.dropFirst().dropLast()) : segment
      guard !name.isEmpty, !name.contains(where: { "{}".contains($0) }) else {
        throw RouterError(
          description: "the pattern \(pattern) has an empty segment or braces that do not enclose a whole segment")
      }
    }
    return segments
  }
}
