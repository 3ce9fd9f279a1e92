// Everything the process is told from outside, read once from flags and environment and checked as a whole.
// Commands take the parts they need; nothing else reads the environment.
import Contract
import Foundation
import Logging
import Store

/// The values of the flags that a command line may carry; nil where a flag was not given.
struct SettingFlags: Sendable {
  var data: String?
  var databaseURL: String?
  var listen: String?
  var workers: String?
  var slots: String?
  var log: String?
  var logFormat: String?
  var url: String?
  var keyFile: String?
  var tlsCertificate: String?
  var tlsKey: String?
}

/// The files a server's certificate and key are in, as PEM.
struct TLSFiles: Sendable, Hashable {
  var certificate: String
  var key: String
}

/// A host and a port to listen on.
struct ListenAddress: Sendable, Hashable {
  var host: String
  /// 0 lets the system choose one.
  var port: Int

  /// Reads `HOST:PORT`, with an IPv6 address in brackets.
  init?(_ text: String) {
    guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
      (0...65_535).contains(port)
    else { return nil }
    var host = String(text[..<colon])
    if host.hasPrefix("[") && host.hasSuffix("]") {
      host = String(host.dropFirst().dropLast())
    } else if host.contains(":") {
      return nil
    }
    guard !host.isEmpty else { return nil }
    self.host = host
    self.port = port
  }

  init(host: String, port: Int) {
    self.host = host
    self.port = port
  }

  /// Whether only this machine can reach it.
  var isLoopback: Bool { host == "localhost" || host == "::1" || host.hasPrefix("127.") }

  /// `host:port`, with brackets around an IPv6 address.
  var text: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// How log lines are written.
enum LogFormat: String, CaseIterable, Sendable {
  /// For people.
  case text
  /// One JSON object a line.
  case json
}

/// The settings of one process. A flag wins over its variable, a variable over the default.
struct Settings: Sendable {
  /// `--data`, TRAINYARD_DATA: where a server keeps its cluster, admin key and caches, as an absolute path.
  let dataFolder: URL?
  /// `--database-url`, TRAINYARD_DATABASE_URL: a PostgreSQL of one's own; nil starts a private cluster. The password may
  /// stand in a file that TRAINYARD_DATABASE_PASSWORD_FILE names.
  let databaseURL: String?
  /// `--listen`, TRAINYARD_LISTEN; default 127.0.0.1:8470.
  let listen: ListenAddress
  /// `--tls-cert` and `--tls-key`, TRAINYARD_TLS_CERT and TRAINYARD_TLS_KEY: what a server speaks TLS with; nil speaks
  /// plain HTTP.
  let tls: TLSFiles?
  /// TRAINYARD_ALLOWED_HOSTS: names, separated by commas, under which clients may reach a server beyond its address,
  /// localhost and what its certificate is for; `*` allows all.
  let allowedHosts: [String]
  /// TRAINYARD_DYGRAPHS: where the dashboard's chart library lies; nil for where Debian puts it.
  let dygraphsFolder: String?
  /// `--workers`, TRAINYARD_WORKERS: worker processes to supervise, 0 to 1,024; default one a core.
  let workers: Int
  /// `--slots`, TRAINYARD_SLOTS: jobs a worker process trains at a time, 1 to 256; default 1.
  let slots: Int
  /// TRAINYARD_LEASE_SECONDS: how long work stays a silent worker's, 1 to 3,600; default 30.
  let leaseSeconds: Double
  /// TRAINYARD_CHECKPOINT_SECONDS: time between checkpoints of a running job, 0.1 to 3,600; default 10.
  let checkpointSeconds: Double
  /// `--log`, TRAINYARD_LOG; default info.
  let logLevel: Logger.Level
  /// `--log-format`, TRAINYARD_LOG_FORMAT; default text, whatever standard error is.
  let logFormat: LogFormat
  /// `--url`, TRAINYARD_URL; nil where neither is given.
  let serverURL: URL?
  /// The API key by TRAINYARD_KEY, `--key-file` or TRAINYARD_KEY_FILE, or the data folder's admin key.
  let key: String?

  static let listenDefault = ListenAddress(host: "127.0.0.1", port: 8470)

  /// Reads and checks everything; all faults are thrown at once.
  ///
  /// - Parameters:
  ///   - flags: what the command line says.
  ///   - environment: the variables of the process.
  ///   - cores: processors of the machine, the default of `workers`.
  init(flags: SettingFlags, environment: [String: String], cores: Int) throws(SpecError) {
    let faults = Faults()
    let source = Source(flags: flags, environment: environment, faults: faults)
    dataFolder = source.value(\.data, "--data", "TRAINYARD_DATA").map {
      URL(fileURLWithPath: NSString(string: $0.text).expandingTildeInPath).standardizedFileURL
    }
    let database = source.value(\.databaseURL, "--database-url", "TRAINYARD_DATABASE_URL")
    databaseURL = database.flatMap { Self.connection($0, source: source) }
    if let (text, name) = database, (try? ConnectionString(text)) == nil {
      // Without what was given, which may hold a password.
      faults.add(
        name, "expected a PostgreSQL address such as postgresql://user@host/name, or words such as host=... dbname=...")
    }
    listen =
      source.read(\.listen, "--listen", "TRAINYARD_LISTEN", "HOST:PORT such as 127.0.0.1:8470") {
        ListenAddress($0)
      } ?? Self.listenDefault
    tls = Self.tls(source)
    allowedHosts = (environment["TRAINYARD_ALLOWED_HOSTS"] ?? "").split(separator: ",")
      .map { $0.trimmingCharacters(in: .whitespaces).lowercased() }.filter { !$0.isEmpty }
    dygraphsFolder = environment["TRAINYARD_DYGRAPHS"].flatMap { $0.isEmpty ? nil : $0 }
    workers =
      source.read(\.workers, "--workers", "TRAINYARD_WORKERS", "a number from 0 to 1024") {
        Int($0).flatMap { (0...1024).contains($0) ? $0 : nil }
      } ?? max(1, cores)
    slots =
      source.read(\.slots, "--slots", "TRAINYARD_SLOTS", "a number from 1 to 256") {
        Int($0).flatMap { (1...256).contains($0) ? $0 : nil }
      } ?? 1
    leaseSeconds = source.seconds("TRAINYARD_LEASE_SECONDS", 1...3600) ?? 30
    checkpointSeconds = source.seconds("TRAINYARD_CHECKPOINT_SECONDS", 0.1...3600) ?? 10
    let levels = Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
    logLevel = source.read(\.log, "--log", "TRAINYARD_LOG", "one of \(levels)") { Logger.Level(rawValue: $0) } ?? .info
    logFormat =
      source.read(\.logFormat, "--log-format", "TRAINYARD_LOG_FORMAT", "text or json") { LogFormat(rawValue: $0) }
      ?? .text
    serverURL = source.read(\.url, "--url", "TRAINYARD_URL", "an address such as http://127.0.0.1:8470") { text in
      guard let url = URL(string: text), let scheme = url.scheme, ["http", "https"].contains(scheme),
        url.host?.isEmpty == false
      else { return nil }
      return url
    }
    key = Self.key(source: source, dataFolder: dataFolder)
    try faults.check()
  }

  /// The file in a data folder that holds the first admin key.
  static func adminKeyFile(in folder: URL) -> URL { folder.appendingPathComponent("admin.key") }

  /// The file in a data folder that names the address its running server listens on.
  static func addressFile(in folder: URL) -> URL { folder.appendingPathComponent("url") }

  private static func tls(_ source: Source) -> TLSFiles? {
    let certificate = source.value(\.tlsCertificate, "--tls-cert", "TRAINYARD_TLS_CERT")
    let key = source.value(\.tlsKey, "--tls-key", "TRAINYARD_TLS_KEY")
    switch (certificate, key) {
    case (let certificate?, let key?): return TLSFiles(certificate: certificate.text, key: key.text)
    case (let certificate?, nil):
      source.faults.add(
        certificate.name, "a certificate needs its private key: give --tls-key or TRAINYARD_TLS_KEY too")
    case (nil, let key?):
      source.faults.add(key.name, "a private key needs its certificate: give --tls-cert or TRAINYARD_TLS_CERT too")
    case (nil, nil): break
    }
    return nil
  }

  /// The connection string, with the password that TRAINYARD_DATABASE_PASSWORD_FILE holds, if it names a file.
  private static func connection(_ database: (text: String, name: String), source: Source) -> String? {
    let variable = "TRAINYARD_DATABASE_PASSWORD_FILE"
    guard let path = source.environment[variable], !path.isEmpty else { return database.text }
    guard let content = try? String(contentsOfFile: path, encoding: .utf8) else {
      source.faults.add(variable, "cannot read the password in \"\(path)\"")
      return nil
    }
    let password = content.trimmingCharacters(in: .newlines)
    if password.isEmpty { source.faults.add(variable, "\"\(path)\" is empty; expected the database's password") }
    // A string that is none is a fault of its own.
    return (try? ConnectionString(database.text))?.with(password: password).text
  }

  private static func key(source: Source, dataFolder: URL?) -> String? {
    // A file named on the command line wins over a key in the environment, which wins over what lies in a folder.
    let file = source.value(\.keyFile, "--key-file", "TRAINYARD_KEY_FILE")
    if file?.name != "--key-file", let key = source.environment["TRAINYARD_KEY"], !key.isEmpty { return key }
    if let file {
      guard let text = try? String(contentsOfFile: file.text, encoding: .utf8) else {
        source.faults.add(file.name, "cannot read the key in \"\(file.text)\"")
        return nil
      }
      return text.trimmingCharacters(in: .whitespacesAndNewlines)
    }
    // Absent or unreadable is no fault: most commands of a server need no key.
    return dataFolder.flatMap { try? String(contentsOf: adminKeyFile(in: $0), encoding: .utf8) }?
      .trimmingCharacters(in: .whitespacesAndNewlines)
  }

  /// One look at flags and environment, with the name under which a value was given.
  private struct Source {
    let flags: SettingFlags
    let environment: [String: String]
    let faults: Faults

    func value(_ flag: KeyPath<SettingFlags, String?>, _ flagName: String, _ variable: String) -> (
      text: String, name: String
    )? {
      if let text = flags[keyPath: flag] {
        if text.isEmpty { faults.add(flagName, "must not be empty") }
        return (text, flagName)
      }
      // An empty variable counts as unset, as compose files leave them.
      return environment[variable].flatMap { $0.isEmpty ? nil : ($0, variable) }
    }

    /// A time that only the environment sets.
    func seconds(_ variable: String, _ range: ClosedRange<Double>) -> Double? {
      guard let text = environment[variable], !text.isEmpty else { return nil }
      if let value = Double(text), range.contains(value) { return value }
      faults.add(variable, "expected seconds from \(range.lowerBound) to \(range.upperBound), got \"\(text)\"")
      return nil
    }

    func read<Value>(
      _ flag: KeyPath<SettingFlags, String?>, _ flagName: String, _ variable: String, _ expected: String,
      _ parse: (String) -> Value?
    ) -> Value? {
      guard let (text, name) = value(flag, flagName, variable), !text.isEmpty else { return nil }
      if let value = parse(text) { return value }
      faults.add(name, "expected \(expected), got \"\(text)\"")
      return nil
    }
  }
}
