// The character classes of RFC 9110 and RFC 3986 as functions over bytes; used by HeadParser, RequestTarget, ResponseWriter.

extension UInt8 {
  /// `tchar` of RFC 9110 §5.6.2: what methods and field names are made of.
  var isToken: Bool {
    switch self {
    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
    case 0x21, 0x23...0x27, 0x2A, 0x2B, 0x2D, 0x2E, 0x5E, 0x5F, 0x60, 0x7C, 0x7E: true
    default: false
    }
  }

  /// What a field value may hold: visible ASCII, space, tab and obs-text (RFC 9110 §5.5); never NUL, CR, LF or DEL.
  var isFieldText: Bool { (self >= 0x20 && self != 0x7F) || self == 0x09 }

  var isDigit: Bool { self >= 0x30 && self <= 0x39 }

  var isAlphanumeric: Bool {
    switch self {
    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
    default: false
    }
  }

  var isBlank: Bool { self == 0x20 || self == 0x09 }

  /// The value of a hexadecimal digit, or nil.
  var hexValue: UInt8? {
    switch self {
    case 0x30...0x39: self - 0x30
    case 0x41...0x46: self - 0x41 + 10
    case 0x61...0x66: self - 0x61 + 10
    default: nil
    }
  }

  var lowercased: UInt8 { self >= 0x41 && self <= 0x5A ? self | 0x20 : self }
}

/// Whether `bytes` is `name` when ASCII letter case is ignored; `name` must be lower-case.
func equalsIgnoringCase<Bytes: Collection<UInt8>>(_ bytes: Bytes, _ name: StaticString) -> Bool {
  guard bytes.count == name.utf8CodeUnitCount else { return false }
  return name.withUTF8Buffer { expected in
    var index = 0
    for byte in bytes {
      if byte.lowercased != expected[index] { return false }
      index += 1
    }
    return true
  }
}
