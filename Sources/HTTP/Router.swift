// The table of routes and the match of a path against it; a route cannot exist without a policy. Used by Connection.

/// One row of the route table: what is asked for, who may ask, what it may send, and what answers.
public struct Route<Policy: Sendable, Identity: Sendable>: Sendable {
  /// The method; GET also answers HEAD unless HEAD has a route of its own.
  public let method: Method
  /// Segments with `{name}` for parameters, e.g. `/v1/jobs/{id}/events`.
  public let pattern: String
  /// What authorisation is asked to enforce; there is no route without one.
  public let policy: Policy
  /// Longest body; 413 above. Default 0: no body at all.
  public let bodyBytesMax: Int
  /// Media types the body may have, without parameters, e.g. `application/json`; 415 for others. Empty accepts any.
  public let acceptedContentTypes: [String]
  /// Deadline for authorisation and for the handler; nil takes `ServerLimits.handlerSeconds`.
  public let handlerSeconds: Double?
  /// Whether authorisation and handler run on the event loop's thread: only for those that never block.
  public let inline: Bool
  let handler: @Sendable (Request, Identity) throws -> Response

  /// A row of the table; the handler runs on a thread where it may block, unless `inline` is set.
  public init(
    _ method: Method, _ pattern: String, policy: Policy, bodyBytesMax: Int = 0, acceptedContentTypes: [String] = [],
    handlerSeconds: Double? = nil, inline: Bool = false,
    handler: @escaping @Sendable (Request, Identity) throws -> Response
  ) {
    precondition(bodyBytesMax >= 0, "a route's bodyBytesMax cannot be negative")
    self.method = method
    self.pattern = pattern
    self.policy = policy
    self.bodyBytesMax = bodyBytesMax
    self.acceptedContentTypes = acceptedContentTypes.map { $0.lowercased() }
    self.handlerSeconds = handlerSeconds
    self.inline = inline
    self.handler = handler
  }
}

/// A mistake in a route table.
public struct RouterError: Error, CustomStringConvertible, Equatable {
  /// Which pattern, and what is wrong with it.
  public let description: String
}

/// All routes of a server and the one function that decides who may use them.
public struct Router<Policy: Sendable, Identity: Sendable>: Sendable {
  /// The table in the order it was given, e.g. to compare it with an API description.
  public let routes: [Route<Policy, Identity>]
  let table: RouteTable

  /// - Parameters:
  ///   - routes: the rows; two with the same method and the same pattern but for parameter names are refused.
  ///   - describe: what the records of requests tell of an identity, for logs; nothing by default.
  ///   - authorize: turns a request's head into the identity its handler gets, or throws. It runs before the body is read, on
  ///     the same kind of thread as the handler, so it may query a database unless the route is inline.
  /// - Throws: RouterError for malformed or clashing patterns.
  public init(
    _ routes: [Route<Policy, Identity>], describe: @escaping @Sendable (Identity) -> [String: String] = { _ in [:] },
    authorize: @escaping @Sendable (Policy, RequestHead) throws -> Identity
  ) throws {
    self.routes = routes
    var table = RouteTable()
    for route in routes {
      let endpoint = RouteTable.Endpoint(
        pattern: route.pattern, parameterNames: try RouteTable.parameterNames(route.pattern),
        bodyBytesMax: route.bodyBytesMax, acceptedContentTypes: route.acceptedContentTypes,
        handlerSeconds: route.handlerSeconds, inline: route.inline
      ) { head in
        let identity = try authorize(route.policy, head)
        return ({ request in try route.handler(request, identity) }, describe(identity))
      }
      try table.insert(endpoint, method: route.method)
    }
    self.table = table
  }
}
