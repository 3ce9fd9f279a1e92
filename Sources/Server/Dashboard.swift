// The dashboard: pages for people with a browser, built into the program (CDashboard), and the library that draws their
// charts, which the distribution brings. Everything they show comes from the API, with the key of whoever looks.
import CDashboard
import Contract
import Foundation
import HTTP
import Store

/// Serves `/` and `/assets/{name}`. The files hold no data, so they are open to everybody.
struct Dashboard: Sendable {
  private struct Asset {
    let bytes: [UInt8]
    let type: String
    let tag: String
  }
  private let assets: [String: Asset]

  /// Where Debian's package libjs-dygraphs puts its files.
  static let dygraphsFolder = "/usr/share/javascript/dygraphs"
  /// Far more than the library has; a file beyond it is something else.
  private static let fileBytesMax = 4 << 20
  /// The library's files and the names they are served under.
  private static let dygraphsFiles = ["dygraphs.js": "dygraph.min.js", "dygraphs.css": "dygraph.min.css"]

  /// Scripts, styles and data of this server alone; nothing inline, no frame around it, no form or link to elsewhere.
  static let policy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    + "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

  /// - Parameter dygraphsFolder: where dygraphs lies. Without it the dashboard has no charts and says so.
  init(dygraphsFolder: String) {
    var assets: [String: Asset] = [:]
    func add(_ name: String, _ bytes: [UInt8]) {
      let type = Self.types[String(name.split(separator: ".").last ?? "")]!
      assets[name] = Asset(bytes: bytes, type: type, tag: "\"\(SHA256.hexadecimal(bytes))\"")
    }
    for index in 0..<cd_files_count {
      let file = cd_file_at(index)!.pointee
      add(String(cString: file.name), Array(UnsafeBufferPointer(start: file.bytes, count: file.count)))
    }
    for (name, file) in Self.dygraphsFiles {
      let path = URL(fileURLWithPath: dygraphsFolder).appendingPathComponent(file).path
      let attributes = try? FileManager.default.attributesOfItem(atPath: path)
      guard let size = attributes?[.size] as? Int, size <= Self.fileBytesMax,
        let bytes = FileManager.default.contents(atPath: path)
      else { continue }
      add(name, Array(bytes))
    }
    self.assets = assets
  }

  private static let types = [
    "html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
  ]

  /// The names that are served.
  var names: Set<String> { Set(assets.keys) }

  private static let page = "index.html"

  func page(_ request: Request) -> Response { answer(assets[Self.page]!, request.head) }

  func asset(_ request: Request) throws -> Response {
    let name = request.parameter("name")
    guard name != Self.page, let asset = assets[name] else { throw ErrorAnswers.missing("file", name) }
    return answer(asset, request.head)
  }

  private func answer(_ asset: Asset, _ head: RequestHead) -> Response {
    // Kept, but asked about each time, so that pages and modules of two versions never meet.
    let headers: ResponseHeaders = [
      "ETag": asset.tag, "Cache-Control": "no-cache", "Content-Security-Policy": Self.policy,
    ]
    if head.hasCurrent(asset.tag) { return Response(status: .notModified, headers: headers) }
    return .bytes(asset.bytes, contentType: asset.type, headers: headers)
  }
}
