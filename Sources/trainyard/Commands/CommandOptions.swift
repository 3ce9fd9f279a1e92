// What commands have in common on the command line: how to reach the server, and in which form to answer.
import ArgumentParser
import Client
import Contract
import Foundation

/// Flags of every command that calls a server.
struct ServerOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Address of the server; default TRAINYARD_URL, else what --data knows.", valueName: "url"))
  var url: String?

  @Option(help: ArgumentHelp("File that holds the API key; default TRAINYARD_KEY_FILE.", valueName: "file"))
  var keyFile: String?

  @Option(help: ArgumentHelp("Data folder of a local server, for its address and admin key.", valueName: "folder"))
  var data: String?

  @Flag(help: "Print one JSON document.")
  var json = false

  /// The settings these flags and the environment make.
  func settings() throws -> Settings {
    try Settings(
      flags: SettingFlags(data: data, url: url, keyFile: keyFile),
      environment: ProcessInfo.processInfo.environment,
      cores: ProcessInfo.processInfo.activeProcessorCount)
  }

  /// A client for the server that is meant.
  func client(retry: RetryPolicy = RetryPolicy(deadlineSeconds: 3)) throws -> APIClient {
    let settings = try settings()
    var server = settings.serverURL
    if server == nil, let folder = settings.dataFolder,
      let text = try? String(contentsOf: Settings.addressFile(in: folder), encoding: .utf8)
    {
      server = URL(string: text.trimmingCharacters(in: .whitespacesAndNewlines))
    }
    let address = server ?? URL(string: "http://\(Settings.listenDefault.text)")!
    return APIClient(server: address, key: settings.key, retry: retry)
  }
}

extension JSON {
  /// What a table shows of a member: texts as they are, numbers short, nil for null.
  func cell(_ key: String) -> String? {
    switch self[key] {
    case .string(let text): return text
    case .integer(let value): return String(value)
    case .number(let value): return CurveView.short(value)
    case .bool(let value): return value ? "yes" : "no"
    default: return nil
    }
  }

  /// The moment of an RFC 3339 member, to the second.
  func cellTime(_ key: String) -> String? {
    self[key]?.string.map { String($0.prefix(19)).replacingOccurrences(of: "T", with: " ") }
  }
}

/// Reads a JSON document from a file, or from standard input for `-`.
func readJSON(_ path: String) throws -> JSON {
  let data: Data
  if path == "-" {
    data = FileHandle.standardInput.readDataToEndOfFile()
  } else {
    guard let bytes = FileManager.default.contents(atPath: path) else {
      throw CommandFailure(.failure, "cannot read \"\(path)\"")
    }
    data = bytes
  }
  do {
    return try JSON.parse(data)
  } catch {
    throw CommandFailure(.usage, "\(path == "-" ? "standard input" : path): \(error)")
  }
}
