// SHA-256 over bytes as they pass, so that uploads and downloads are checked end to end without being held.
// Used by FileSequenceStream.swift and HTTPTransport.swift; the only file here that calls libcrypto.
import COpenSSL
import Foundation

/// A running SHA-256.
final class Digest {
  private let context: OpaquePointer

  init() {
    guard let context = EVP_MD_CTX_new(), EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1 else {
      fatalError("libcrypto has no SHA-256: it is part of every build of OpenSSL")
    }
    self.context = context
  }

  deinit { EVP_MD_CTX_free(context) }

  /// Adds bytes to the hash.
  func update(_ bytes: UnsafeRawBufferPointer) {
    guard let base = bytes.baseAddress, !bytes.isEmpty else { return }
    EVP_DigestUpdate(context, base, bytes.count)
  }

  /// The hash of everything added so far, in lower-case hexadecimal; nothing may be added afterwards.
  func finish() -> String {
    var hash = [UInt8](repeating: 0, count: 32)
    EVP_DigestFinal_ex(context, &hash, nil)
    let digits = Array("0123456789abcdef".utf8)
    return String(decoding: hash.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
  }
}
