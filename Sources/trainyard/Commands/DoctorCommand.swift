// `trainyard doctor`: looks at what a server needs on this machine and says what to do about each thing that is missing.
// It changes nothing. The looks themselves are in Service/Checks.swift.
import ArgumentParser
import Contract
import Foundation

struct DoctorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor", abstract: "Check programs, libraries, folder, database, address and certificate.",
    discussion: "Exit code 1 when something a server needs is missing; notes alone are no fault.")

  @OptionGroup var database: DatabaseOptions
  @Option(help: ArgumentHelp("Where a server would listen.", valueName: "host:port")) var listen: String?
  @OptionGroup var tls: TLSOptions
  @Flag(help: "Print one JSON document.") var json = false

  func run() throws {
    let settings = try Settings(
      flags: SettingFlags(
        data: database.data, databaseURL: database.databaseURL, listen: listen, tlsCertificate: tls.tlsCert,
        tlsKey: tls.tlsKey),
      environment: ProcessInfo.processInfo.environment, cores: ProcessInfo.processInfo.activeProcessorCount)
    let checks = Checks(settings: settings, environment: ProcessInfo.processInfo.environment).all()
    let console = Console()
    let isFit = !checks.contains { $0.state == .fault }
    console.show(
      ["fit": .bool(isFit), "checks": .array(checks.map(\.json))], asJSON: json
    ) {
      let width = checks.map(\.name.count).max() ?? 0
      return checks.map { check in
        let name = check.name + String(repeating: " ", count: width - check.name.count)
        let cure = check.cure.map { "\n" + String(repeating: " ", count: width + 9) + $0 } ?? ""
        return "\(check.state.label)  \(name)  \(check.found)\(cure)"
      }.joined(separator: "\n")
    }
    if !isFit { throw CommandFailure(.failure, "something a server needs is missing") }
  }
}
