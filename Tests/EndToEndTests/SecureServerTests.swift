// TLS as an operator has it: a server with a certificate, commands that trust it, a reload by SIGHUP, files that are no good.
import Contract
import Foundation
import Glibc
import TestSupport
import Testing

@Suite(.serialized)
struct SecureServerTests {
  private static func secure(_ files: TestCertificate) -> [String: String] {
    ["TRAINYARD_TLS_CERT": files.certificate, "TRAINYARD_TLS_KEY": files.key]
  }

  /// The number of the certificate that the server shows to a new client.
  private static func serial(_ server: TestServer) throws -> String {
    let url = try server.url
    let shown = try TestCertificate.openssl("s_client", "-connect", "127.0.0.1:\(url.port ?? 0)")
    let file = try server.folder.write("shown.pem", Array(shown.utf8))
    return try TestCertificate.openssl("x509", "-in", file, "-noout", "-serial")
      .trimmingCharacters(in: .whitespacesAndNewlines)
  }

  @Test("clients that trust the authority are served over https; commands that do not are told, and so is plain HTTP")
  func trust() throws {
    let files = try TestCertificate()
    let server = try TestServer(workers: 0, environment: Self.secure(files))
    let url = try server.url
    #expect(url.scheme == "https" && url.host == "127.0.0.1")
    #expect(server.log.contains("ready at https://127.0.0.1:"))
    let shown = try TestCertificate.openssl(
      "s_client", "-connect", "127.0.0.1:\(url.port ?? 0)", "-CAfile", files.certificate, "-verify_return_error",
      "-verify_ip", "127.0.0.1")
    #expect(shown.contains("Verification: OK"), "\(shown)")
    let untrusted = try server.command("job", "list")
    #expect(untrusted.status == 1 && untrusted.errors.contains("cannot reach the server"), "\(untrusted)")
    #expect(untrusted.errors.contains("update-ca-certificates"), "\(untrusted)")
    let clear = try Executable.run(["job", "list", "--url", "http://127.0.0.1:\(url.port ?? 0)"])
    #expect(clear.status == 1 && clear.errors.contains("this port speaks TLS"), "\(clear)")
  }

  @Test("SIGHUP brings a new certificate; one that is no good leaves the old in place and is logged")
  func reload() throws {
    let files = try TestCertificate(serial: "0A01")
    let server = try TestServer(workers: 0, environment: Self.secure(files))
    #expect(try Self.serial(server) == "serial=0A01")
    func put(_ text: String, _ path: String) throws { try text.write(toFile: path, atomically: true, encoding: .utf8) }

    let fresh = try TestCertificate(serial: "0B02")
    try put(String(contentsOfFile: fresh.certificate, encoding: .utf8), files.certificate)
    // The certificate alone does not fit the key that is still there.
    kill(server.process.processIdentifier, SIGHUP)
    #expect(eventually(seconds: 20) { server.log.contains("the TLS certificate stays as it was") }, "\(server.log)")
    #expect(server.log.contains("not the key of the certificate"))
    #expect(try Self.serial(server) == "serial=0A01")

    try put(String(contentsOfFile: fresh.key, encoding: .utf8), files.key)
    kill(server.process.processIdentifier, SIGHUP)
    #expect(eventually(seconds: 20) { server.log.contains("read the TLS certificate again") }, "\(server.log)")
    #expect(try Self.serial(server) == "serial=0B02")
    #expect(server.stop() == 0, "\(server.log)")
  }

  @Test("a server does not start with a pair that is no good, and says which file it is")
  func badPair() throws {
    let files = try TestCertificate()
    let other = try TestCertificate()
    let folder = try Folder()
    func serve(_ certificate: String, _ key: String) throws -> Executable.Outcome {
      try Executable.run(
        [
          "serve", "--data", folder.file("data").path, "--tls-cert", certificate, "--tls-key", key, "--listen",
          "127.0.0.1:0",
        ])
    }
    let mixed = try serve(files.certificate, other.key)
    #expect(mixed.status == 2 && mixed.errors.contains(other.key), "\(mixed)")
    let missing = try serve("/nowhere.pem", files.key)
    #expect(missing.status == 2 && missing.errors.contains("/nowhere.pem: No such file"), "\(missing)")
    let half = try Executable.run(["serve", "--data", folder.file("data").path, "--tls-cert", files.certificate])
    #expect(half.status == 2 && half.errors.contains("--tls-key"), "\(half)")
  }

  @Test("doctor looks at the certificate, its end and its key's mode")
  func doctor() throws {
    func look(_ files: TestCertificate) throws -> JSON {
      let outcome = try Executable.run(
        ["doctor", "--json", "--listen", "127.0.0.1:0", "--tls-cert", files.certificate, "--tls-key", files.key])
      return try #require(outcome.json()["checks"]?.array?.first { $0["name"]?.string == "TLS" })
    }
    let good = try TestCertificate()
    #expect(try look(good)["state"]?.string == "ok")
    chmod(good.key, 0o644)
    #expect(try look(good)["found"]?.string?.contains("every user") == true)
    let ending = try TestCertificate(days: 10)
    let found = try look(ending)
    #expect(found["state"]?.string == "note" && found["found"]?.string?.contains("expires in") == true, "\(found)")
    try FileManager.default.removeItem(atPath: ending.key)
    #expect(try look(ending)["state"]?.string == "fault")
  }

  @Test("a server that the network reaches in clear text says so at its start")
  func clearTextWarning() throws {
    let folder = try Folder()
    let server = try TestServer.launch(
      data: folder.file("data"), log: folder.file("log"), workers: 0, listen: "0.0.0.0:0")
    func log() -> String { (try? String(contentsOf: folder.file("log"), encoding: .utf8)) ?? "" }
    #expect(eventually(seconds: 60) { log().contains("ready at") || !server.isRunning })
    #expect(log().contains("cross the network in clear text"), "\(log())")
    kill(server.processIdentifier, SIGTERM)
    server.waitUntilExit()
  }
}
