// The client's side of TLS over memory, so that a test decides how the bytes travel; used by RawClient.

import COpenSSL
import Foundation

/// How a client under test begins TLS.
struct TLSClientSettings {
  /// The newest version it speaks, e.g. `TLS1_2_VERSION`.
  var newestVersion: Int32 = TLS1_3_VERSION
  /// What it offers by ALPN; empty offers nothing.
  var protocols: [String] = ["http/1.1"]
  /// Bytes on the wire go out in pieces of so many; nil sends all at once.
  var pieceBytes: Int?
}

/// Turns plain bytes into those on the wire and back. `@unchecked Sendable`: one thread at a time.
final class TLSClientSession: @unchecked Sendable {
  private let context: OpaquePointer
  private let ssl: OpaquePointer
  private let incoming: OpaquePointer
  private let outgoing: OpaquePointer

  init(_ settings: TLSClientSettings) {
    context = SSL_CTX_new(TLS_client_method())
    // Old versions only go with ciphers that today's security level forbids.
    SSL_CTX_set_cipher_list(context, "ALL:@SECLEVEL=0")
    SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, Int(TLS1_VERSION), nil)
    SSL_CTX_ctrl(context, SSL_CTRL_SET_MAX_PROTO_VERSION, Int(settings.newestVersion), nil)
    ssl = SSL_new(context)
    incoming = BIO_new(BIO_s_mem())
    outgoing = BIO_new(BIO_s_mem())
    SSL_set_bio(ssl, incoming, outgoing)
    let offered = settings.protocols.flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) }
    if !offered.isEmpty { SSL_set_alpn_protos(ssl, offered, UInt32(offered.count)) }
    SSL_set_connect_state(ssl)
  }

  deinit {
    SSL_free(ssl)
    SSL_CTX_free(context)
  }

  var version: String { String(cString: SSL_get_version(ssl)) }

  var chosenProtocol: String? {
    var bytes: UnsafePointer<UInt8>?
    var count: UInt32 = 0
    SSL_get0_alpn_selected(ssl, &bytes, &count)
    return bytes.map { String(decoding: UnsafeBufferPointer(start: $0, count: Int(count)), as: UTF8.self) }
  }

  /// The number of the server's certificate in hexadecimal digits.
  var serverSerial: String? {
    guard let certificate = SSL_get1_peer_certificate(ssl) else { return nil }
    defer { X509_free(certificate) }
    return String(format: "%04lX", ASN1_INTEGER_get(X509_get_serialNumber(certificate)))
  }

  /// Whether the server said that nothing more comes.
  var serverSaidEnd: Bool { SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN != 0 }

  /// Goes on with the handshake; true once it is over. Throws the reason when it has failed.
  func handshake() throws -> Bool {
    ERR_clear_error()
    let result = SSL_do_handshake(ssl)
    if result == 1 { return true }
    guard SSL_get_error(ssl, result) == SSL_ERROR_WANT_READ else { throw Self.failure("handshake") }
    return false
  }

  func encrypt(_ bytes: [UInt8]) throws {
    guard !bytes.isEmpty else { return }
    ERR_clear_error()
    guard SSL_write(ssl, bytes, Int32(bytes.count)) == bytes.count else { throw Self.failure("write") }
  }

  /// Asks both sides for new keys, which the server must answer with a message of its own.
  func renewKeys() { SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) }

  /// Takes bytes from the wire.
  func feed(_ bytes: ArraySlice<UInt8>) {
    bytes.withUnsafeBytes { _ = BIO_write(incoming, $0.baseAddress, Int32($0.count)) }
  }

  /// Plain bytes that the ones fed so far hold.
  func decrypt() throws -> [UInt8] {
    var plain: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      ERR_clear_error()
      let count = SSL_read(ssl, &piece, Int32(piece.count))
      if count > 0 {
        plain += piece[..<Int(count)]
        continue
      }
      switch SSL_get_error(ssl, count) {
      case SSL_ERROR_WANT_READ, SSL_ERROR_ZERO_RETURN: return plain
      default: throw Self.failure("read")
      }
    }
  }

  /// Bytes for the wire.
  func takeOutgoing() -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: BIO_ctrl(outgoing, BIO_CTRL_PENDING, 0, nil))
    if !bytes.isEmpty { BIO_read(outgoing, &bytes, Int32(bytes.count)) }
    return bytes
  }

  private static func failure(_ what: String) -> RawClientError {
    let reason = ERR_reason_error_string(ERR_peek_error()).map { String(cString: $0) } ?? "unknown"
    return RawClientError(description: "TLS \(what): \(reason)")
  }
}
