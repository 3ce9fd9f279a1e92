// PathPattern: which tensors a learned optimizer treats differently, by their paths. The part of regular expressions that
// published configurations use, without the part that can take for ever.

/// Alternatives, parted by `|`, of which one must occur in a path: literal text in which `.` stands for any character
/// and `.*` for any number of them; `^` and `$` tie it to the path's ends.
public struct PathPattern: Sendable, Hashable {
  /// As it was given.
  public let text: String
  private let alternatives: [Alternative]

  private struct Alternative: Hashable {
    var fromStart = false
    var toEnd = false
    /// The pieces between `.*`; nil stands for any character.
    var pieces: [[Character?]] = [[]]
  }

  /// The longest pattern taken.
  public static let lengthMax = 200
  /// What a pattern may hold, for faults.
  public static let expected =
    "expected at most \(lengthMax) characters: alternatives parted by |, of literal text, . and .*, with ^ and $ at "
    + "their ends"

  /// Nil where the text uses anything else of regular expressions.
  public init?(_ text: String) {
    guard text.count <= Self.lengthMax else { return nil }
    self.text = text
    var alternatives: [Alternative] = []
    for part in text.split(separator: "|", omittingEmptySubsequences: false) {
      var characters = Array(part)
      var alternative = Alternative()
      if characters.first == "^" {
        alternative.fromStart = true
        characters.removeFirst()
      }
      if characters.last == "$" {
        alternative.toEnd = true
        characters.removeLast()
      }
      var index = 0
      while index < characters.count {
        let character = characters[index]
        guard !"()[]{}*+?\\^$".contains(character) else { return nil }
        if character == ".", index + 1 < characters.count, characters[index + 1] == "*" {
          alternative.pieces.append([])
          index += 1
        } else {
          alternative.pieces[alternative.pieces.count - 1].append(character == "." ? nil : character)
        }
        index += 1
      }
      alternatives.append(alternative)
    }
    self.alternatives = alternatives
  }

  /// Whether an alternative occurs in the path.
  public func matches(_ path: String) -> Bool {
    let characters = Array(path)
    return alternatives.contains { Self.occurs($0, in: characters) }
  }

  /// The earliest place of each piece in turn is as good as any later one; only the last may have to lie at the end.
  private static func occurs(_ alternative: Alternative, in path: [Character]) -> Bool {
    var from = 0
    let last = alternative.pieces.count - 1
    for (number, piece) in alternative.pieces.enumerated() {
      let latest = path.count - piece.count
      func fits(_ start: Int) -> Bool {
        zip(piece, path[start...]).allSatisfy { wanted, found in wanted.map { $0 == found } ?? true }
      }
      var starts = Array(stride(from: from, through: latest, by: 1))
      if number == 0, alternative.fromStart { starts = starts.filter { $0 == 0 } }
      if number == last, alternative.toEnd { starts = starts.filter { $0 == latest } }
      guard let start = starts.first(where: fits) else { return false }
      from = start + piece.count
    }
    return true
  }
}
