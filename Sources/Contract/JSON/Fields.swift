// Reads values out of a JSON object and collects everything that is wrong with it: each fault with the JSON
// pointer of its field, what was expected and what came. All requests are decoded through this.
import Foundation

/// One thing that is wrong with an input: where, and what would be right.
public struct Fault: Error, Sendable, Hashable {
  /// JSON pointer of the field (`/model/layers/0/units`); `?name` for a query parameter, empty for the whole.
  public let path: String
  /// What was expected, what came, and what to do.
  public let reason: String

  public init(path: String, reason: String) {
    self.path = path
    self.reason = reason
  }

  public var json: JSON { ["path": .string(path), "reason": .string(reason)] }
}

/// All faults of one input, in the order they were found.
public struct SpecError: Error, Sendable, Hashable, CustomStringConvertible {
  public let faults: [Fault]

  public init(_ faults: [Fault]) { self.faults = faults }

  public var description: String {
    faults.map { $0.path.isEmpty ? $0.reason : "\($0.path): \($0.reason)" }.joined(separator: "\n")
  }
}

/// Collects faults while an input is read; nothing stops at the first one.
public final class Faults {
  /// How many faults are kept: enough to mend a request, bounded for an input made of faults.
  public static let countMax = 100
  public private(set) var list: [Fault] = []

  public init() {}

  public func add(_ path: String, _ reason: String) {
    if list.count < Self.countMax { list.append(Fault(path: path, reason: reason)) }
  }

  public var isEmpty: Bool { list.isEmpty }

  /// Throws all faults collected so far, if there are any.
  public func check() throws(SpecError) {
    if !list.isEmpty { throw SpecError(list) }
  }

  /// Reads a whole document and throws every fault found in it at once.
  public static func collect<Value>(_ read: (Faults) -> Value?) throws(SpecError) -> Value {
    let faults = Faults()
    let value = read(faults)
    try faults.check()
    guard let value else { throw SpecError([Fault(path: "", reason: "the value could not be read")]) }
    return value
  }
}

/// A JSON object being read field by field. Call ``finish()`` last: fields nobody asked for are faults.
public struct Fields {
  public let path: String
  public let faults: Faults
  private var members: [String: JSON]
  private var known: Set<String> = []
  /// How the input spells a field that has several names.
  private var spelled: [String: String] = [:]

  /// Starts reading `json`, which must be an object; nil (and a fault) otherwise.
  public init?(_ json: JSON, path: String = "", faults: Faults) {
    guard case .object(let members) = json else {
      faults.add(path, "expected an object, got \(json.kind)")
      return nil
    }
    self.members = members
    self.path = path
    self.faults = faults
  }

  /// The pointer of a field of this object.
  public func pointer(_ key: String) -> String {
    path + "/"
      + (spelled[key] ?? key).replacingOccurrences(of: "~", with: "~0").replacingOccurrences(of: "/", with: "~1")
  }

  /// Adds a fault about a field of this object.
  public func fault(_ key: String, _ reason: String) { faults.add(pointer(key), reason) }

  /// Takes a field under other names as well; two of them at once are a fault.
  public mutating func accept(_ aliases: [String], as key: String) {
    for alias in aliases where members[alias] != nil {
      guard members[key] == nil else {
        known.insert(alias)
        fault(alias, "is another name of \"\(key)\", which is there too")
        continue
      }
      members[key] = members.removeValue(forKey: alias)
      spelled[key] = alias
    }
  }

  /// Whether the field is there at all, be it null.
  public func has(_ key: String) -> Bool { members[key] != nil }

  /// The raw value of a field; null counts as absent.
  public mutating func value(_ key: String) -> JSON? {
    known.insert(key)
    guard let value = members[key], value != .null else { return nil }
    return value
  }

  /// The raw value of a field that must be there.
  public mutating func required(_ key: String, _ what: String) -> JSON? {
    if let value = value(key) { return value }
    fault(key, "is required: \(what)")
    return nil
  }

  /// A string of `lengths` characters without control characters.
  public mutating func string(_ key: String, lengths: ClosedRange<Int> = 1...200, required: String? = nil) -> String? {
    guard let value = field(key, required) else { return nil }
    guard let text = value.string else {
      fault(key, "expected a string, got \(value.kind)")
      return nil
    }
    // Code points, as JSON Schema counts: one visible character may hold any number of them.
    let length = text.unicodeScalars.count
    guard lengths.contains(length) else {
      fault(key, "expected \(lengths.lowerBound) to \(lengths.upperBound) characters, got \(length)")
      return nil
    }
    guard !text.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7F }) else {
      fault(key, "control characters are not allowed")
      return nil
    }
    return text
  }

  /// An integer within `range`.
  public mutating func integer(_ key: String, in range: ClosedRange<Int>, required: String? = nil) -> Int? {
    guard let value = field(key, required) else { return nil }
    guard let number = value.integer else {
      fault(key, "expected an integer from \(range.lowerBound) to \(range.upperBound), got \(value.kind)")
      return nil
    }
    guard range.contains(number) else {
      fault(key, "expected an integer from \(range.lowerBound) to \(range.upperBound), got \(number)")
      return nil
    }
    return number
  }

  /// A number within `range`.
  public mutating func number(_ key: String, in range: ClosedRange<Double>, required: String? = nil) -> Double? {
    guard let value = field(key, required) else { return nil }
    guard let number = value.number, range.contains(number) else {
      fault(key, "expected a number from \(range.lowerBound) to \(range.upperBound), got \(value.kind)")
      return nil
    }
    return number
  }

  /// True or false.
  public mutating func bool(_ key: String, required: String? = nil) -> Bool? {
    guard let value = field(key, required) else { return nil }
    guard let truth = value.bool else {
      fault(key, "expected true or false, got \(value.kind)")
      return nil
    }
    return truth
  }

  /// One of a closed list of words.
  public mutating func choice<Choice: RawRepresentable & CaseIterable>(
    _ key: String, of type: Choice.Type, required: String? = nil
  ) -> Choice? where Choice.RawValue == String {
    guard let value = field(key, required) else { return nil }
    if let text = value.string, let choice = Choice(rawValue: text) { return choice }
    let words = Choice.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
    fault(key, "expected one of \(words), got \(value.kind)")
    return nil
  }

  /// An array of `counts` elements, each read by `read` with its own path.
  public mutating func array<Element>(
    _ key: String, counts: ClosedRange<Int>, required: String? = nil, read: (JSON, String, Faults) -> Element?
  ) -> [Element]? {
    guard let value = field(key, required) else { return nil }
    guard let elements = value.array else {
      fault(key, "expected an array, got \(value.kind)")
      return nil
    }
    guard counts.contains(elements.count) else {
      fault(key, "expected \(counts.lowerBound) to \(counts.upperBound) elements, got \(elements.count)")
      return nil
    }
    let base = pointer(key)
    let read = elements.enumerated().map { read($1, "\(base)/\($0)", faults) }
    return read.contains(where: { $0 == nil }) ? nil : read.compactMap { $0 }
  }

  /// An RFC 3339 time.
  public mutating func time(_ key: String, required: String? = nil) -> Timestamp? {
    guard let value = field(key, required) else { return nil }
    if let text = value.string, let time = Timestamp(rfc3339: text) { return time }
    fault(key, "expected an RFC 3339 time such as 2026-01-31T12:00:00Z, got \(value.kind)")
    return nil
  }

  /// A map from short strings to short strings.
  public mutating func tags(_ key: String) -> [String: String] {
    guard let value = value(key) else { return [:] }
    guard case .object(let members) = value else {
      fault(key, "expected an object of strings, got \(value.kind)")
      return [:]
    }
    guard members.count <= 32 else {
      fault(key, "expected at most 32 tags, got \(members.count)")
      return [:]
    }
    var tags: [String: String] = [:]
    for (name, value) in members.sorted(by: { $0.key < $1.key }) {
      guard let text = value.string, text.unicodeScalars.count <= 200,
        (1...64).contains(name.unicodeScalars.count)
      else {
        fault(key, "tag \"\(name.prefix(64))\": expected a name of 1 to 64 and a string of at most 200 characters")
        continue
      }
      tags[name] = text
    }
    return tags
  }

  /// Ends the reading: each field nobody asked for is a fault, with the fields that exist.
  public func finish() {
    for key in members.keys.sorted() where !known.contains(key) {
      fault(key, "unknown field; the fields here are \(known.sorted().joined(separator: ", "))")
    }
  }

  /// Marks a field as dealt with, so that ``finish()`` does not report it a second time.
  public mutating func consume(_ key: String) { known.insert(key) }

  private mutating func field(_ key: String, _ required: String?) -> JSON? {
    if let required { return self.required(key, required) }
    return value(key)
  }
}
