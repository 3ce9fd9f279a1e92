// RecordedArguments: reads the arguments of an optimizer as people and recordings write them: a JSON object, or words
// such as `learning_rate=0.01 b1=0.9 nesterov=True decays=(0.5, 0.9), others default`.
import Contract

/// Arguments of an optimizer out of text.
public enum RecordedArguments {
  /// The object that a text means.
  ///
  /// Text that begins with `{` is JSON. Otherwise each `name=value` counts, with numbers, `True`, `False`, `None` and
  /// tuples as Python writes them; words beside them and what stands in brackets of its own are remarks, and so is all
  /// that follows a `;` or `|`.
  /// - Throws: ``SpecError`` for JSON that cannot be read and for text that gives nothing and does not say so
  ///   (`defaults`).
  public static func parse(_ text: String) throws(SpecError) -> JSON {
    let trimmed = text.drop { $0.isWhitespace }
    if trimmed.first == "{" {
      do { return try JSON.parse(String(trimmed), depthMax: 8) } catch {
        throw SpecError([Fault(path: "", reason: "the arguments are no JSON: \(error)")])
      }
    }
    var members: [String: JSON] = [:]
    let words = words(trimmed.prefix { $0 != ";" && $0 != "|" })
    for word in words {
      guard !"([".contains(word.first!), let equals = word.firstIndex(of: "="), equals > word.startIndex else {
        continue
      }
      let key = String(word[..<equals])
      guard members.updateValue(value(word[word.index(after: equals)...]), forKey: key) == nil else {
        throw SpecError([Fault(path: "/\(key)", reason: "is given twice")])
      }
    }
    guard !members.isEmpty || words.isEmpty || words.contains(where: { $0.hasPrefix("default") }) else {
      throw SpecError([Fault(path: "", reason: "expected a JSON object or name=value, got \"\(text.prefix(100))\"")])
    }
    return .object(members)
  }

  /// The words between blanks and commas outside brackets.
  private static func words(_ text: Substring) -> [String] {
    var words: [String] = []
    var word = ""
    var depth = 0
    for character in text {
      if depth == 0, character.isWhitespace || character == "," || character == ":" {
        if !word.isEmpty { words.append(word) }
        word = ""
        continue
      }
      if "([".contains(character) { depth += 1 }
      if ")]".contains(character) { depth = max(0, depth - 1) }
      word.append(character)
    }
    return word.isEmpty ? words : words + [word]
  }

  private static func value(_ text: Substring) -> JSON {
    switch text {
    case "True", "true": return true
    case "False", "false": return false
    case "None": return nil
    default: break
    }
    if let first = text.first, "([".contains(first), let last = text.last, ")]".contains(last) {
      return .array(words(text.dropFirst().dropLast()).map { value($0[...]) })
    }
    if let integer = Int(text) { return .integer(integer) }
    if let number = Double(text), number.isFinite { return .number(number) }
    return .string(String(text.filter { $0 != "\"" && $0 != "'" }))
  }
}
