// Paths and queries, split before they are decoded; mirrors RequestTarget.swift.

import Testing

@testable import HTTP

struct RequestTargetTests {
  private func parse(_ text: String) throws -> RequestTarget {
    try RequestTarget.parse(ArraySlice(text.utf8), method: .get).target
  }

  @Test("a path is split on raw slashes and each segment decoded")
  func segments() throws {
    #expect(try parse("/").segments == [])
    #expect(try parse("/v1/jobs").segments == ["v1", "jobs"])
    #expect(try parse("/v1/jobs/").segments == ["v1", "jobs", ""])
    #expect(try parse("//a").segments == ["", "a"])
    #expect(try parse("/a%20b/caf%C3%A9/100%25").segments == ["a b", "café", "100%"])
    #expect(try parse("/a+b/...").segments == ["a+b", "..."])
  }

  @Test("no escape reaches a handler as path structure")
  func structure() {
    let refused = [
      "/a%2fb", "/a%2Fb", "/%00", "/a%00b", "/..", "/a/../b", "/%2e%2e/b", "/.%2E", "/./a", "/%2e", "/a%0ab", "/%7f",
      "/a%", "/a%2", "/a%zz", "/%c3", "/%ff%fe", "/a%u0041",
    ]
    for path in refused { #expect(throws: ProtocolFault.self, "\(path)") { try parse(path) } }
  }

  @Test("a query is split on raw separators and its items decoded, plus signs as blanks")
  func query() throws {
    let target = try parse("/a?x=1&y=a%26b%3Dc&empty=&bare&p=a+b%2B&x=2&u=caf%C3%A9&slash=%2f..")
    #expect(target.rawPath == "/a")
    #expect(target.queryValue("x") == "1")
    #expect(target.query.filter { $0.name == "x" }.map(\.value) == ["1", "2"])
    #expect(target.queryValue("y") == "a&b=c")
    #expect(target.queryValue("empty") == "")
    #expect(target.queryValue("bare") == "")
    #expect(target.queryValue("p") == "a b+")
    #expect(target.queryValue("u") == "café")
    #expect(target.queryValue("slash") == "/..")
    #expect(target.queryValue("none") == nil)
    #expect(try parse("/a").rawQuery == nil)
    #expect(try parse("/a?").rawQuery == "")
  }

  @Test("a query with a bad escape, a NUL or bytes that are not UTF-8 is refused")
  func badQuery() {
    for target in ["/?a=%", "/?a=%g0", "/?%00", "/?a=%ff", "/?a=\"", "/?a=#b"] {
      #expect(throws: ProtocolFault.self, "\(target)") { try parse(target) }
    }
  }

  @Test("the absolute form gives its own host and path")
  func absoluteForm() throws {
    let (target, authority) = try RequestTarget.parse(ArraySlice("HTTP://a.b:80?q=1".utf8), method: .get)
    #expect(target.segments == [])
    #expect(target.queryValue("q") == "1")
    #expect(authority.flatMap(Authority.parse) == Authority(host: "a.b", port: 80))
  }
}
