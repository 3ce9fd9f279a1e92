// JSON by itself, JSON Lines as documents and as a table.
import Contract
import Learning

extension FuzzedParser {
  private static let words = [
    "null", "true", "1e999", "\\u0000", "\\ud800", "\"\"", "{}", "[[[[", "-0", "\n", "\"text\":",
  ]

  static let json = FuzzedParser(
    name: "json",
    seeds: [
      Array(#"{"a":[1,-2.5e3,"x\né🙂",null,true],"b":{"c":[]}}"#.utf8), Array(" [0, 12345678901234567890] ".utf8),
    ],
    tokens: words, isFault: { $0 is JSONError }
  ) { bytes, _ in
    let value = try JSON.parse(bytes)
    precondition((try? JSON.parse(value.bytes, depthMax: 65)) == value, "what is written reads differently")
  }

  static let jsonl: FuzzedParser = {
    var options = DatasetOptions(format: .jsonl)
    options.sequenceLength = nil
    return dataset(
      "jsonl", options,
      seeds: [
        Array((0..<8).map { #"{"text":"some words \#($0) and äöü","id":\#($0)}"# }.joined(separator: "\n").utf8)
          + Array(repeating: "\n{\"text\":\"more and more and more\"}", count: 8).joined().utf8,
        Array((0..<8).map { #"{"text":"w\#($0)","label":\#($0 % 2)}"# }.joined(separator: "\n").utf8),
        Array((0..<8).map { #"{"a":\#($0),"b":"x\#($0 % 3)","y":\#($0 % 2)}"# }.joined(separator: "\n").utf8),
      ], tokens: words)
  }()
}
