// Chromium without a window, driven by the WebDriver protocol over HTTP: what DashboardTests.swift looks at pages with.
import Contract
import Foundation
import Glibc
import Testing

/// One browser with a fresh profile.
final class Browser {
  private let process: Process
  private let folder: Folder
  private let port: UInt16
  private let session: String

  /// The programs on the path; nil when one is missing.
  private static let programs: (driver: String, chromium: String)? = {
    func find(_ name: String) -> String? {
      (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map { "\($0)/\(name)" }
        .first(where: FileManager.default.isExecutableFile)
    }
    guard let driver = find("chromedriver"), let chromium = find("chromium") else { return nil }
    return (driver, chromium)
  }()

  /// Whether this machine has a browser for tests.
  static var isThere: Bool { programs != nil }

  /// Starts one.
  ///
  /// - Parameters:
  ///   - width: of the page, in pixels.
  ///   - height: of the page, in pixels.
  init(width: Int = 1280, height: Int = 900) throws {
    let programs = try #require(Self.programs)
    folder = try Folder()
    process = Process()
    process.executableURL = URL(fileURLWithPath: programs.driver)
    process.arguments = ["--port=0"]
    // A profile, caches and crash reports of its own, gone with the folder.
    process.environment = Executable.environment.merging(["HOME": folder.url.path]) { $1 }
    process.standardInput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    let log = folder.file("driver.log")
    try Data().write(to: log)
    process.standardOutput = try FileHandle(forWritingTo: log)
    try process.run()
    var found: UInt16?
    guard
      eventually(
        seconds: 60,
        {
          let text = (try? String(contentsOf: log, encoding: .utf8)) ?? ""
          found = text.firstMatch(of: #/successfully on port (\d+)/#).flatMap { UInt16($0.1) }
          return found != nil
        }), let port = found
    else {
      Self.end(process)
      throw TestFailure("chromedriver did not start")
    }
    self.port = port
    // Chromium's own sandbox does not work for root, which only ever looks at our server here.
    let arguments: [JSON] = [
      "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
      .string("--user-data-dir=\(folder.file("profile").path)"), .string("--window-size=\(width),\(height)"),
    ]
    let wanted: JSON = [
      "capabilities": [
        "alwaysMatch": [
          "browserName": "chrome", "goog:loggingPrefs": ["browser": "ALL"],
          "goog:chromeOptions": ["args": .array(arguments), "binary": .string(programs.chromium)],
        ]
      ]
    ]
    do {
      session = try #require(Self.send("POST", port: port, "/session", wanted)["sessionId"]?.string)
    } catch {
      Self.end(process)
      throw error
    }
    _ = try command(
      "goog/cdp/execute",
      [
        "cmd": "Emulation.setDeviceMetricsOverride",
        "params": [
          "width": .integer(width), "height": .integer(height), "deviceScaleFactor": 1, "mobile": false,
        ],
      ])
  }

  deinit {
    // The browser ends with its session.
    _ = try? Self.send("DELETE", port: port, "/session/\(session)", [:])
    Self.end(process)
    process.waitUntilExit()
  }

  /// Ends a driver, which starts with the gentler signals blocked, as Foundation's processes do.
  private static func end(_ process: Process) {
    kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
  }

  /// One exchange with the driver on a connection of its own. Foundation's URLSession refuses the driver's header fields,
  /// which have no space behind the colon.
  private static func send(_ method: String, port: UInt16, _ path: String, _ body: JSON) throws -> JSON {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    let isConnected = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
    guard isConnected else { throw TestFailure("chromedriver is gone") }
    var timeout = timeval(tv_sec: 120, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    let content = body.bytes
    let head =
      "\(method) \(path) HTTP/1.1\r\nHost: 127.0.0.1:\(port)\r\nConnection: close\r\n"
      + "Content-Type: application/json\r\nContent-Length: \(content.count)\r\n\r\n"
    let message = Array(head.utf8) + content
    guard Glibc.send(descriptor, message, message.count, Int32(MSG_NOSIGNAL)) == message.count else {
      throw TestFailure("chromedriver does not listen")
    }
    var answer: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    var bodyStart: Int?
    var length = Int.max
    // The driver keeps the connection open whatever it is asked; its header says how long the body is.
    while bodyStart.map({ answer.count - $0 < length }) ?? true {
      let count = read(descriptor, &buffer, buffer.count)
      guard count > 0 else { throw TestFailure("chromedriver did not answer \(path)") }
      answer += buffer[..<count]
      if bodyStart == nil, let end = answer.firstRange(of: Array("\r\n\r\n".utf8)) {
        bodyStart = end.upperBound
        let head = String(decoding: answer[..<end.lowerBound], as: UTF8.self)
        length = head.firstMatch(of: #/(?i)content-length: *(\d+)/#).flatMap { Int($0.1) } ?? 0
      }
    }
    let value = try JSON.parse(Array(answer[bodyStart!...]))["value"] ?? .null
    if let error = value["error"]?.string {
      throw TestFailure("\(path): \(error): \(value["message"]?.string ?? "")")
    }
    return value
  }

  private func command(_ path: String, _ body: JSON) throws -> JSON {
    try Self.send("POST", port: port, "/session/\(session)/\(path)", body)
  }

  /// Opens an address.
  func open(_ url: URL) throws { _ = try command("url", ["url": .string(url.absoluteString)]) }

  /// Loads the page again.
  func reload() throws { _ = try command("refresh", [:]) }

  /// Runs the body of a function in the page and returns what it returns.
  @discardableResult
  func run(_ script: String, _ arguments: JSON...) throws -> JSON {
    try command("execute/sync", ["script": .string(script), "args": .array(arguments)])
  }

  /// Waits until an expression is true in the page.
  func wait(_ expression: String, seconds: Double = 60, sourceLocation: SourceLocation = #_sourceLocation) throws {
    let deadline = ContinuousClock.now + .seconds(seconds)
    while try run("return Boolean(\(expression))") != true {
      guard ContinuousClock.now < deadline else {
        let text = try run("return location.hash + '\\n' + document.body.innerText")
        Issue.record("never came: \(expression)\n\(text.string ?? "")", sourceLocation: sourceLocation)
        throw TestFailure("never came: \(expression)")
      }
      usleep(50_000)
    }
  }

  private func element(_ selector: String) throws -> String {
    let found = try command("element", ["using": "css selector", "value": .string(selector)])
    guard case .object(let members) = found, let id = members.values.first?.string else {
      throw TestFailure("no element \(selector)")
    }
    return id
  }

  /// Clicks an element as a pointer does; fails if it is covered.
  func click(_ selector: String) throws { _ = try command("element/\(element(selector))/click", [:]) }

  /// Types into an element.
  func type(_ text: String, into selector: String) throws {
    _ = try command("element/\(element(selector))/value", ["text": .string(text)])
  }

  /// Presses and releases a key wherever the focus is.
  func press(_ key: String) throws {
    let strokes: [JSON] = ["keyDown", "keyUp"].map { ["type": .string($0), "value": .string(key)] }
    _ = try command(
      "actions", ["actions": [["type": "key", "id": "keyboard", "actions": .array(strokes)]]])
  }

  /// What the console complained about since the last call: errors, and every breach of the security policy.
  ///
  /// - Parameter status: an answer that the test provoked, which the console notes as an error.
  func complaints(but status: Int? = nil) throws -> [String] {
    let entries = try command("se/log", ["type": "browser"]).array ?? []
    return entries.compactMap { entry in
      let message = entry["message"]?.string ?? ""
      if let status, message.contains("responded with a status of \(status)") { return nil }
      return entry["level"] == "SEVERE" || message.contains("Content Security Policy") ? message : nil
    }
  }
}

extension Browser {
  static let tab = "\u{E004}"
  static let enter = "\u{E007}"
}
