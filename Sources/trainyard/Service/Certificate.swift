// The server's TLS files as an operator sees them: loaded with a message that helps, and watched for their end.
// ServerProcess loads and reloads them, Checks looks at them.
import Foundation
import HTTP

extension TLSFiles {
  /// Reads and checks both files.
  ///
  /// - Throws: ``CommandFailure`` that names the file, what is wrong, and what to do.
  func load() throws -> TLSCredentials {
    do { return try TLSCredentials(certificateFile: certificate, keyFile: key) } catch {
      throw CommandFailure(
        .usage, "cannot speak TLS: \(error)",
        cure: "--tls-cert (\(certificate)) and --tls-key (\(key)) must be a certificate and its private key, as PEM.")
    }
  }
}

extension TLSCredentials {
  /// So many days before its end a certificate should be replaced.
  private static let warningDays = 30.0

  /// What about the certificate will keep clients away, now or soon, in words that follow "the certificate"; nil if nothing.
  func trouble(now: Date) -> String? {
    if now < startsAt { return "is not valid before \(startsAt.formatted(.iso8601))" }
    if now >= expiresAt { return "expired on \(expiresAt.formatted(.iso8601)): replace it, then send SIGHUP" }
    let days = expiresAt.timeIntervalSince(now) / 86_400
    if days < Self.warningDays {
      return "expires in \(Int(days)) days, on \(expiresAt.formatted(.iso8601)): replace it, then send SIGHUP"
    }
    if names.isEmpty { return "is for no host: clients look for the name in its subjectAltName" }
    return nil
  }
}
