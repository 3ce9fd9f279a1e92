// The dashboard as the server hands it out: bytes, policy and entity tags, with and without the chart library; and that no
// file of it holds what its policy forbids. EndToEndTests/DashboardTests.swift uses it in a browser.
import Foundation
import HTTP
import Testing

@testable import Server

@Suite struct DashboardTests {
  /// The files as they stand in the repository.
  private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .appendingPathComponent("../../Sources/CDashboard/pages").standardizedFileURL
  private static let chartFiles: Set<String> = ["dygraphs.js", "dygraphs.css"]

  private func files() throws -> [String: String] {
    let names = try FileManager.default.contentsOfDirectory(atPath: Self.folder.path)
    return try Dictionary(
      uniqueKeysWithValues: names.map {
        ($0, try String(contentsOf: Self.folder.appendingPathComponent($0), encoding: .utf8))
      })
  }

  @Test func `every file of the folder is served as it stands, and nothing else`() throws {
    let server = try ServerUnderTest()
    let files = try files()
    #expect(Dashboard(dygraphsFolder: "/nowhere").names == Set(files.keys))
    for (name, text) in files where name != "index.html" {
      let answer = try server.get("/assets/\(name)", key: "")
      #expect(answer.status == 200 && answer.text == text, "\(name)")
      #expect(answer.headers["content-security-policy"] == Dashboard.policy, "\(name)")
    }
    let page = try server.get("/", key: "")
    #expect(page.text == files["index.html"] && page.contentType == "text/html")
    #expect(page.headers["content-security-policy"]?.contains("script-src 'self'; style-src 'self';") == true)
    for path in ["/assets/nothing.js", "/assets/index.html", "/assets/openapi.yaml", "/assets/app.js/x"] {
      #expect(try server.get(path, key: "").status == 404, "\(path)")
    }
    #expect(try server.get("/assets/..%2F..%2Fetc%2Fpasswd", key: "").status >= 400)
  }

  @Test func `a file that the browser has is not sent again, and HEAD sends none`() throws {
    let server = try ServerUnderTest()
    for path in ["/", "/assets/app.js", "/assets/style.css"] {
      let whole = try server.get(path, key: "")
      let tag = try #require(whole.headers["etag"])
      #expect(whole.headers["cache-control"] == "no-cache")
      let again = try server.get(path, key: "", headers: [("If-None-Match", tag)])
      #expect(again.status == 304 && again.body.isEmpty && again.headers["etag"] == tag, "\(path)")
      #expect(again.headers["content-security-policy"] == Dashboard.policy)
      #expect(try server.get(path, key: "", headers: [("If-None-Match", "\"other\"")]).status == 200)
      let head = try server.call("HEAD", path, key: "")
      #expect(head.status == 200 && head.body.isEmpty && head.headers["etag"] == tag, "\(path)")
      #expect(head.headers["content-length"] == String(whole.body.count))
    }
  }

  @Test func `the chart library is served from its folder, and absent without it`() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("dygraphs-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    try Data("// charts".utf8).write(to: folder.appendingPathComponent("dygraph.min.js"))
    try Data("/* charts */".utf8).write(to: folder.appendingPathComponent("dygraph.min.css"))
    let own = Set(try files().keys)
    #expect(Dashboard(dygraphsFolder: folder.path).names == own.union(Self.chartFiles))
    #expect(Dashboard(dygraphsFolder: folder.appendingPathComponent("no").path).names == own)
    // A file that cannot be the library is not read.
    try Data(count: 5 << 20).write(to: folder.appendingPathComponent("dygraph.min.js"))
    #expect(Dashboard(dygraphsFolder: folder.path).names == own.union(["dygraphs.css"]))
  }

  @Test func `what files name and import is there`() throws {
    let files = try files()
    let known = Set(files.keys).union(Self.chartFiles)
    var imported: Set<String> = []
    for (name, text) in files {
      for match in text.matches(of: #/\/assets\/([a-z.]+)/#) {
        #expect(known.contains(String(match.1)), "\(name) names \(match.1)")
      }
      for match in text.matches(of: #/from "\.\/([a-z.]+)"/#) {
        #expect(known.contains(String(match.1)), "\(name) imports \(match.1)")
        imported.insert(String(match.1))
      }
    }
    #expect(Set(files.keys.filter { $0.hasSuffix(".js") }).subtracting(imported) == ["app.js"])
  }

  @Test func `nothing is inline, nothing becomes HTML, nothing is stored, nothing comes from elsewhere`() throws {
    let page = try #require(files()["index.html"])
    #expect(!page.contains("style=") && !page.contains("<style"))
    #expect(page.matches(of: #/<script(?![^>]*\ssrc="\/assets\/)/#).isEmpty)
    #expect(page.matches(of: #/\son[a-z]+=/#).isEmpty)
    let forbidden = [
      "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "srcdoc", "eval(", "Function(",
      "localStorage", "sessionStorage", "indexedDB", "cookie", "http://", "https://", "setAttribute(\"style\"",
    ]
    for (name, text) in try files() {
      for word in forbidden where !(name == "icon.svg" && word == "http://") {
        #expect(!text.contains(word), "\(name) has \(word)")
      }
    }
  }
}
