// SHA-256 by OpenSSL, and digests as text: what contents, secrets and requests are known by.
import COpenSSL
import Foundation

/// A running SHA-256.
public struct SHA256: ~Copyable {
  private let context: OpaquePointer

  public init() {
    guard let context = EVP_MD_CTX_new(), EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1 else {
      preconditionFailure("OpenSSL has no SHA-256")
    }
    self.context = context
  }

  deinit { EVP_MD_CTX_free(context) }

  /// Adds bytes to what is hashed.
  public func update(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count > 0 else { return }
    precondition(EVP_DigestUpdate(context, bytes.baseAddress, bytes.count) == 1, "SHA-256 failed")
  }

  /// Ends the hash.
  ///
  /// - Returns: 32 bytes.
  public consuming func finish() -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: 32)
    var count: UInt32 = 0
    precondition(EVP_DigestFinal_ex(context, &digest, &count) == 1 && count == 32, "SHA-256 failed")
    return digest
  }

  /// The digest of some bytes: 32 bytes.
  public static func digest(_ bytes: some Sequence<UInt8>) -> [UInt8] {
    let hash = SHA256()
    if bytes.withContiguousStorageIfAvailable({ hash.update(UnsafeRawBufferPointer($0)) }) == nil {
      Array(bytes).withUnsafeBytes { hash.update($0) }
    }
    return hash.finish()
  }

  /// The digest of some bytes in lower-case hexadecimal: 64 characters.
  public static func hexadecimal(_ bytes: some Sequence<UInt8>) -> String { Hexadecimal.text(digest(bytes)) }
}

/// Bytes as lower-case hexadecimal text.
enum Hexadecimal {
  static func text(_ bytes: some Sequence<UInt8>) -> String {
    let digits = Array("0123456789abcdef".utf8)
    var text: [UInt8] = []
    for byte in bytes {
      text.append(digits[Int(byte >> 4)])
      text.append(digits[Int(byte & 15)])
    }
    return String(decoding: text, as: UTF8.self)
  }

  /// A digest's 32 bytes; nil unless the text is 64 lower-case hexadecimal digits.
  static func digest(_ text: String) -> [UInt8]? {
    let characters = Array(text.utf8)
    guard characters.count == 64 else { return nil }
    func value(_ character: UInt8) -> UInt8? {
      switch character {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): return character - UInt8(ascii: "0")
      case UInt8(ascii: "a")...UInt8(ascii: "f"): return character - UInt8(ascii: "a") + 10
      default: return nil
      }
    }
    var bytes: [UInt8] = []
    for index in stride(from: 0, to: 64, by: 2) {
      guard let high = value(characters[index]), let low = value(characters[index + 1]) else { return nil }
      bytes.append(high << 4 | low)
    }
    return bytes
  }
}
