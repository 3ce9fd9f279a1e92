// Certificates for tests of TLS, made by the openssl command in a folder of their own.
import Foundation

/// A self-signed certificate with its key, in files that go when the value goes.
public final class TestCertificate: Sendable {
  private let folder: URL
  public var certificate: String { folder.appendingPathComponent("certificate.pem").path }
  public var key: String { folder.appendingPathComponent("key.pem").path }
  /// The certificate's number, in capital hexadecimal digits, as `openssl x509 -serial` prints it.
  public let serial: String

  /// - Parameters:
  ///   - names: as in `DNS:localhost,IP:127.0.0.1`.
  ///   - days: how long it is valid.
  ///   - serial: its number, in hexadecimal digits.
  public init(names: String = "DNS:localhost,IP:127.0.0.1", days: Int = 90, serial: String = "0A01") throws {
    self.serial = serial
    folder = FileManager.default.temporaryDirectory.appendingPathComponent("tls-\(UUID().uuidString.prefix(8))")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    try Self.openssl(
      "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=test",
      "-addext", "subjectAltName=\(names)", "-days", String(days), "-set_serial", "0x\(serial)",
      "-out", certificate, "-keyout", key)
  }

  deinit { try? FileManager.default.removeItem(at: folder) }

  /// Runs the openssl command and returns what it printed.
  @discardableResult
  public static func openssl(_ arguments: String...) throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["openssl"] + arguments
    process.standardInput = FileHandle.nullDevice
    let output = Pipe()
    process.standardOutput = output
    process.standardError = output
    try process.run()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw Failure(description: "openssl \(arguments): \(text)") }
    return text
  }

  struct Failure: Error, CustomStringConvertible { let description: String }
}
