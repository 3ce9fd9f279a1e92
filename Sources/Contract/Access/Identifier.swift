// Prefixed, time-ordered identifiers: what a row is can be read off its id, and newer ids sort later.
import Foundation

/// What an identifier names; the raw value is its prefix.
public enum IdentifierKind: String, Sendable, CaseIterable {
  case job
  case dataset = "ds"
  case model = "mdl"
  case key
  case checkpoint = "ck"
  case optimizer = "opt"
  case worker = "wrk"
  case request = "req"
  case campaign = "cmp"
  case evaluation = "eval"
  case evaluationRun = "run"
}

/// Makes and checks identifiers such as `job_01jd3kq5v8m2n4p6r8t0w2y4a6`.
public enum Identifier {
  // Crockford's base 32 in lower case: no i, l, o, u, so ids survive being read aloud.
  private static let alphabet = Array("0123456789abcdefghjkmnpqrstvwxyz".utf8)
  private static let digits = Set(alphabet)

  /// A new identifier: 48 bits of milliseconds since 1970, then 80 random bits, as 26 characters.
  public static func make(
    _ kind: IdentifierKind, at time: Timestamp, using random: inout some RandomNumberGenerator
  ) -> String {
    var high = UInt64(max(0, time.microseconds / 1000)) << 16 | UInt64.random(in: 0...0xFFFF, using: &random)
    var low = UInt64.random(in: .min ... .max, using: &random)
    var text = [UInt8](repeating: 0, count: 26)
    for index in stride(from: 25, through: 0, by: -1) {
      text[index] = alphabet[Int(low & 31)]
      low = low >> 5 | high << 59
      high >>= 5
    }
    return kind.rawValue + "_" + String(decoding: text, as: UTF8.self)
  }

  /// A new identifier at `time` from the system's random numbers.
  public static func make(_ kind: IdentifierKind, at time: Timestamp = Timestamp(Date())) -> String {
    var random = SystemRandomNumberGenerator()
    return make(kind, at: time, using: &random)
  }

  /// Whether `text` has the form of an identifier of this kind.
  public static func isValid(_ text: String, _ kind: IdentifierKind) -> Bool {
    let prefix = kind.rawValue + "_"
    guard text.hasPrefix(prefix) else { return false }
    let rest = text.utf8.dropFirst(prefix.utf8.count)
    return rest.count == 26 && rest.allSatisfy(digits.contains)
  }
}

extension Fields {
  /// An identifier of the given kind.
  public mutating func identifier(_ key: String, _ kind: IdentifierKind, required: String? = nil) -> String? {
    guard let text = string(key, lengths: 1...64, required: required) else { return nil }
    guard Identifier.isValid(text, kind) else {
      fault(key, "expected an id such as \(kind.rawValue)_01jd3kq5v8m2n4p6r8t0w2y4a6, got \"\(text)\"")
      return nil
    }
    return text
  }
}
