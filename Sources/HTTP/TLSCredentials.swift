// A server's certificate and key, read and checked; what each TLSSession is made from. Replaced as a whole by a reload.

import COpenSSL
import Foundation

/// Why a certificate and its key cannot be used.
public struct TLSError: Error, CustomStringConvertible, Equatable {
  /// Which file, what is wrong with it, and what to do.
  public let description: String
}

/// A certificate chain with its private key, ready to serve.
///
/// `@unchecked Sendable`: the context is changed by `init` alone, and OpenSSL counts its users atomically.
public final class TLSCredentials: @unchecked Sendable {
  /// The hosts the certificate is for: DNS names in lower case, a wildcard as `*.example.com`, and addresses.
  public let names: [String]
  /// When the certificate's life begins.
  public let startsAt: Date
  /// When the certificate's life ends.
  public let expiresAt: Date
  let context: OpaquePointer

  /// No chain of certificates is longer; a file of another kind is not read whole.
  private static let fileBytesMax = 1 << 20

  /// Reads both files, in PEM.
  ///
  /// - Parameters:
  ///   - certificateFile: the server's own certificate first, then those that lead to its authority's.
  ///   - keyFile: its private key, without a passphrase.
  /// - Throws: TLSError that names the file, what is wrong, and what to do.
  public init(certificateFile: String, keyFile: String) throws(TLSError) {
    let certificateBytes = try Self.read(certificateFile)
    let keyBytes = try Self.read(keyFile)
    guard let context = copenssl_server_context() else { throw TLSError(description: "OpenSSL: \(Self.reason())") }
    // Freed here until nothing can fail any more: a half-made object has no deinit.
    var isKept = false
    defer { if !isKept { SSL_CTX_free(context) } }
    let leaf = try Self.load(certificateBytes, into: context, file: certificateFile)
    defer { X509_free(leaf) }
    try Self.load(keyBytes, for: leaf, into: context, file: keyFile, certificateFile: certificateFile)
    guard let start = Self.date(X509_get0_notBefore(leaf)), let end = Self.date(X509_get0_notAfter(leaf)) else {
      throw TLSError(description: "\(certificateFile): the certificate's dates cannot be read")
    }
    self.context = context
    names = Self.names(of: leaf)
    startsAt = start
    expiresAt = end
    isKept = true
  }

  deinit { SSL_CTX_free(context) }

  /// Whether the certificate is for `host`, an address in brackets or not; a wildcard stands for one label.
  public func covers(_ host: String) -> Bool {
    var wanted = host.lowercased()
    if wanted.hasPrefix("["), wanted.hasSuffix("]") { wanted = String(wanted.dropFirst().dropLast()) }
    if names.contains(wanted) { return true }
    guard let dot = wanted.firstIndex(of: "."), dot > wanted.startIndex else { return false }
    return names.contains("*" + wanted[dot...])
  }

  // MARK: Reading

  private static func read(_ path: String) throws(TLSError) -> [UInt8] {
    guard let file = fopen(path, "re") else {
      throw TLSError(description: "\(path): \(String(cString: strerror(errno)))")
    }
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: fileBytesMax + 1)
    let count = fread(&bytes, 1, bytes.count, file)
    guard ferror(file) == 0 else { throw TLSError(description: "\(path): \(String(cString: strerror(errno)))") }
    guard count <= fileBytesMax else { throw TLSError(description: "\(path): too long to hold certificates or a key") }
    return Array(bytes[..<count])
  }

  /// A copy of the bytes as OpenSSL reads them.
  private static func memory(_ bytes: [UInt8]) throws(TLSError) -> OpaquePointer {
    guard let memory = BIO_new(BIO_s_mem()),
      bytes.isEmpty || BIO_write(memory, bytes, Int32(bytes.count)) == bytes.count
    else { throw TLSError(description: "OpenSSL: \(reason())") }
    return memory
  }

  /// Hands the chain to the context and returns the server's own certificate.
  private static func load(
    _ bytes: [UInt8], into context: OpaquePointer, file: String
  ) throws(TLSError) -> OpaquePointer {
    ERR_clear_error()
    let memory = try memory(bytes)
    defer { BIO_free(memory) }
    guard let leaf = PEM_read_bio_X509_AUX(memory, nil, nil, nil) else {
      throw TLSError(
        description: isWithoutStart()
          ? "\(file): there is no certificate in it; it must be PEM, with the server's own certificate first, then those "
            + "that lead to its authority's"
          : "\(file): the certificate cannot be read: \(reason())")
    }
    guard SSL_CTX_use_certificate(context, leaf) == 1 else {
      let reason = reason()
      X509_free(leaf)
      throw TLSError(description: "\(file): the certificate cannot be used: \(reason)")
    }
    while let next = PEM_read_bio_X509(memory, nil, nil, nil) {
      guard copenssl_add_to_chain(context, next) == 1 else {
        let reason = reason()
        X509_free(next)
        X509_free(leaf)
        throw TLSError(description: "\(file): a certificate of the chain cannot be used: \(reason)")
      }
    }
    guard isWithoutStart() else {
      let reason = reason()
      X509_free(leaf)
      throw TLSError(description: "\(file): a certificate of the chain cannot be read: \(reason)")
    }
    return leaf
  }

  private static func load(
    _ bytes: [UInt8], for leaf: OpaquePointer, into context: OpaquePointer, file: String, certificateFile: String
  ) throws(TLSError) {
    ERR_clear_error()
    let memory = try memory(bytes)
    defer { BIO_free(memory) }
    guard let key = PEM_read_bio_PrivateKey(memory, nil, copenssl_no_passphrase, nil) else {
      let reason = reason()
      let text = String(decoding: bytes, as: UTF8.self)
      if !text.contains("PRIVATE KEY-----") {
        throw TLSError(description: "\(file): there is no private key in it; it must be PEM")
      }
      if text.contains("ENCRYPTED") {
        throw TLSError(
          description: "\(file): the key is encrypted, and a server has nobody to ask for the passphrase; store it "
            + "without one: openssl pkey -in \(file) -out FILE, readable by the server's user alone")
      }
      throw TLSError(description: "\(file): the private key cannot be read: \(reason)")
    }
    defer { EVP_PKEY_free(key) }
    guard X509_check_private_key(leaf, key) == 1 else {
      throw TLSError(
        description:
          "\(file): this is not the key of the certificate in \(certificateFile); give the two that were made "
          + "together, and a certificate file that begins with the server's own certificate")
    }
    guard SSL_CTX_use_PrivateKey(context, key) == 1 else {
      throw TLSError(description: "\(file): the private key cannot be used: \(reason())")
    }
  }

  /// Whether the last failure was to find no more PEM of the wanted kind.
  private static func isWithoutStart() -> Bool {
    copenssl_reason(ERR_peek_last_error()) == PEM_R_NO_START_LINE
  }

  /// The last failure in OpenSSL's words.
  static func reason() -> String {
    let error = ERR_peek_last_error()
    ERR_clear_error()
    return ERR_reason_error_string(error).map { String(cString: $0) } ?? "no reason is known (\(error))"
  }

  private static func date(_ time: UnsafePointer<ASN1_TIME>?) -> Date? {
    var parts = tm()
    guard ASN1_TIME_to_tm(time, &parts) == 1 else { return nil }
    return Date(timeIntervalSince1970: Double(timegm(&parts)))
  }

  private static func names(of leaf: OpaquePointer) -> [String] {
    var names: [String] = []
    var text = [CChar](repeating: 0, count: 256)
    var index: Int32 = 0
    while true {
      let found = copenssl_host_name(leaf, index, &text, Int32(text.count))
      if found < 0 { return names }
      if found == 1 {
        names.append(String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self).lowercased())
      }
      index += 1
    }
  }
}
