// The header fields of a request, kept as offsets into the received block; made by HeadParser, read through RequestHead.

/// The header fields of one request in the order they came; names are compared without regard to letter case.
public struct HeaderFields: Sendable {
  /// One field as offsets into `block`; the value is trimmed of blanks.
  struct Entry: Sendable {
    var nameStart: Int32
    var nameEnd: Int32
    var valueStart: Int32
    var valueEnd: Int32
  }

  // One array for the text and one for the offsets: a request of a dozen fields costs two allocations, not two dozen.
  let block: [UInt8]
  let entries: [Entry]

  /// How many fields came, repeated names counted each time.
  public var count: Int { entries.count }

  /// The value of the first field of that name, blanks at its ends removed; nil if there is none.
  public subscript(name: String) -> String? {
    for entry in entries where matches(entry, name) { return value(entry) }
    return nil
  }

  /// The values of all fields of that name, in order.
  public func all(_ name: String) -> [String] {
    entries.filter { matches($0, name) }.map(value)
  }

  /// Every field as (name, value), in order, names spelled as they came.
  public var pairs: [(name: String, value: String)] {
    entries.map { entry in
      (String(decoding: block[Int(entry.nameStart)..<Int(entry.nameEnd)], as: UTF8.self), value(entry))
    }
  }

  /// The bytes of the first two values of a field: enough to tell none, one and several apart.
  func firstTwo(_ name: StaticString) -> (first: ArraySlice<UInt8>?, second: ArraySlice<UInt8>?) {
    var first: ArraySlice<UInt8>?
    for entry in entries where equalsIgnoringCase(block[Int(entry.nameStart)..<Int(entry.nameEnd)], name) {
      let bytes = block[Int(entry.valueStart)..<Int(entry.valueEnd)]
      if first == nil { first = bytes } else { return (first, bytes) }
    }
    return (first, nil)
  }

  private func matches(_ entry: Entry, _ name: String) -> Bool {
    let utf8 = name.utf8
    guard utf8.count == Int(entry.nameEnd - entry.nameStart) else { return false }
    var index = Int(entry.nameStart)
    for byte in utf8 {
      if byte.lowercased != block[index].lowercased { return false }
      index += 1
    }
    return true
  }

  private func value(_ entry: Entry) -> String {
    String(decoding: block[Int(entry.valueStart)..<Int(entry.valueEnd)], as: UTF8.self)
  }
}
