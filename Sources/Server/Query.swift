// Query parameters, read strictly: unknown, repeated and bad ones are faults with the path `?name`, all at once.
import Contract
import Foundation
import HTTP

/// Reads the query of a request.
enum Query {
  /// Reads the parameters a route has.
  ///
  /// - Parameters:
  ///   - texts: the parameters whose values are text.
  ///   - numbers: those whose values are numbers.
  ///   - truths: those whose values are `true` or `false`.
  ///   - read: reads the values as fields of an object; nil after a fault.
  /// - Throws: ``SpecError`` with every fault.
  static func read<Value>(
    _ head: RequestHead, texts: [String] = [], numbers: [String] = [], truths: [String] = [],
    _ read: (inout Fields) -> Value?
  ) throws(SpecError) -> Value {
    let faults = Faults()
    var members: [String: JSON] = [:]
    for (name, value) in head.target.query {
      guard texts.contains(name) || numbers.contains(name) || truths.contains(name) else {
        let known = (texts + numbers + truths).sorted().joined(separator: ", ")
        faults.add(
          "?" + name.prefix(64),
          known.isEmpty ? "there are no query parameters here" : "unknown parameter; those here are \(known)")
        continue
      }
      guard members[name] == nil else {
        faults.add("?" + name, "is given more than once")
        continue
      }
      members[name] = numbers.contains(name) ? number(value) : truths.contains(name) ? truth(value) : .string(value)
    }
    let inner = Faults()
    var fields = Fields(.object(members), faults: inner)!
    let value = read(&fields)
    for fault in inner.list { faults.add("?" + fault.path.dropFirst(), fault.reason) }
    try faults.check()
    guard let value else { throw SpecError([Fault(path: "?", reason: "the query could not be read")]) }
    return value
  }

  /// Refuses any parameter.
  static func none(_ head: RequestHead) throws(SpecError) {
    if head.target.query.isEmpty { return }
    try read(head) { _ in () }
  }

  /// The place in a list that a client asks for.
  struct Place {
    let cursor: String?
    let limit: Int

    static let texts = ["cursor"]
    static let numbers = ["limit"]

    static func read(_ fields: inout Fields) -> Place {
      Place(
        cursor: fields.string("cursor"),
        limit: fields.integer("limit", in: Page<Never>.limitRange) ?? Limits.pageItemsDefault)
    }
  }

  /// `cursor` and `limit` of a list without other parameters.
  static func place(_ head: RequestHead) throws(SpecError) -> Place {
    try read(head, texts: Place.texts, numbers: Place.numbers) { Place.read(&$0) }
  }

  /// `wait` in seconds, 0 without it.
  static func wait(_ head: RequestHead) throws(SpecError) -> Int {
    try read(head, numbers: ["wait"]) { $0.integer("wait", in: 0...Limits.waitSecondsMax) ?? 0 }
  }

  /// A truth; anything else stays text, so that the reader says what it expected.
  private static func truth(_ text: String) -> JSON {
    text == "true" ? true : text == "false" ? false : .string(text)
  }

  /// A decimal number; anything else stays text, so that the reader says what it expected.
  private static func number(_ text: String) -> JSON {
    guard text.utf8.count <= 40, let value = try? JSON.parse(text), value.number != nil else { return .string(text) }
    return value
  }
}
