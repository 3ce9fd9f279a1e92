// The route table: matches, conflicts, methods; mirrors Router.swift and RouteTable.swift.

import Testing

@testable import HTTP

struct RouterTests {
  private func route(_ method: Method, _ pattern: String) -> Route<Access, String> {
    Route(method, pattern, policy: .anyone) { _, _ in Response() }
  }

  private func match(_ method: Method, _ path: String, in routes: [Route<Access, String>]) throws -> String {
    let router = try Router(routes) { _, _ in "" }
    let target = try RequestTarget.parse(ArraySlice(path.utf8), method: method).target
    switch router.table.match(method, target) {
    case .none: return "none"
    case .otherMethods(let allow): return "allow \(allow)"
    case .endpoint(let endpoint, let parameters):
      return endpoint.pattern + parameters.sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
    }
  }

  @Test("a path finds its pattern, the literal before the parameter")
  func matches() throws {
    let routes = [
      route(.get, "/"), route(.get, "/v1/jobs"), route(.post, "/v1/jobs"), route(.get, "/v1/jobs/{id}"),
      route(.get, "/v1/jobs/{id}/events"), route(.get, "/v1/jobs/compare"), route(.delete, "/v1/jobs/{id}"),
    ]
    #expect(try match(.get, "/", in: routes) == "/")
    #expect(try match(.get, "/v1/jobs", in: routes) == "/v1/jobs")
    #expect(try match(.get, "/v1/jobs/7?x=y", in: routes) == "/v1/jobs/{id} id=7")
    #expect(try match(.get, "/v1/jobs/a%20b/events", in: routes) == "/v1/jobs/{id}/events id=a b")
    #expect(try match(.get, "/v1/jobs/compare", in: routes) == "/v1/jobs/compare")
    #expect(try match(.get, "/v1/jobs/compare/events", in: routes) == "/v1/jobs/{id}/events id=compare")
    #expect(try match(.delete, "/v1/jobs/compare", in: routes) == "allow GET, HEAD")
    #expect(try match(.head, "/v1/jobs", in: routes) == "/v1/jobs")
    for path in ["/v1", "/v1/jobs/", "/v1/jobs//events", "/v1/jobs/7/", "/V1/jobs", "/v1/jobs/7/events/8", "//v1/jobs"]
    {
      #expect(try match(.get, path, in: routes) == "none", "\(path)")
    }
  }

  @Test("another method on a known path is told which are allowed")
  func otherMethods() throws {
    let routes = [route(.get, "/a/{x}"), route(.post, "/a/b"), route(.put, "/c")]
    #expect(try match(.patch, "/a/b", in: routes) == "allow POST")
    #expect(try match(.options, "/c", in: routes) == "allow PUT")
    #expect(try match(.head, "/c", in: routes) == "allow PUT")
    #expect(try match(.options, "*", in: routes) == "allow GET, HEAD, POST, PUT")
  }

  @Test("patterns that clash or are malformed are refused")
  func refuses() {
    let tables = [
      [route(.get, "/a/{x}"), route(.get, "/a/{y}")], [route(.get, "/a"), route(.get, "/a")], [route(.get, "a")],
      [route(.get, "/a//b")], [route(.get, "/a/")], [route(.get, "/{}")], [route(.get, "/a{x}")], [route(.get, "/{x")],
      [route(.get, "/{x}/{x}")], [route(.get, "")],
    ]
    for table in tables {
      #expect(throws: RouterError.self, "\(table.map(\.pattern))") { try Router(table) { _, _ in "" } }
    }
  }

  @Test("the table can be listed with methods, patterns and policies")
  func lists() throws {
    let secret = Route<Access, String>(.post, "/b", policy: .keyHolder) { _, _ in Response() }
    let router = try Router([route(.get, "/a"), secret]) { _, _ in "" }
    #expect(
      router.routes.map { "\($0.method.rawValue) \($0.pattern) \($0.policy)" } == [
        "GET /a anyone", "POST /b keyHolder",
      ])
  }
}
