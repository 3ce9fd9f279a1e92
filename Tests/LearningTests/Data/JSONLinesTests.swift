// JSONLines.swift, Documents.swift: JSON Lines as documents and as tables.
import Contract
import Foundation
import Testing

@testable import Learning

@Suite struct JSONLinesTests {
  private func options(
    target: String? = nil, field: String? = nil, tokens: DatasetOptions.Tokens? = nil, length: Int? = nil
  ) -> DatasetOptions {
    var options = DatasetOptions(format: .jsonl, target: target)
    options.field = field
    options.tokens = tokens
    options.sequenceLength = length
    return options
  }

  private func build(_ lines: [String], _ options: DatasetOptions) throws -> (BuiltDataset, TrainingData) {
    try Scratch().build(Array(lines.joined(separator: "\n").utf8), options)
  }

  private func problem(_ lines: [String], _ options: DatasetOptions) throws -> DataFault.Place? {
    try Scratch().problems(Array(lines.joined(separator: "\n").utf8), options).first
  }

  @Test("documents become one stream with a separator after each")
  func documents() throws {
    let lines = (0..<50).map { #"{"text": "do\#($0 % 10)", "id": \#($0)}"# }
    let (built, data) = try build(lines, options(length: 4))
    #expect(built.schema.shape.elements == .tokens(vocabulary: 257))
    #expect(built.schema.tokens == .init(kind: .bytes, separator: 256))
    var row = [Int32](repeating: -1, count: 4)
    data.train.tokens(1, into: &row)
    #expect(row == [100, 111, 49, 256])
    let (characters, _) = try build(lines, options(tokens: .characters, length: 4))
    #expect(characters.schema.tokens?.characters.count == 12)
    #expect(characters.schema.tokens?.unknown == 12 && characters.schema.tokens?.separator == 13)
    #expect(characters.schema.shape.target == .tokens(vocabulary: 14))
  }

  @Test("labelled documents become rows of tokens, cropped or padded, with classes")
  func classification() throws {
    let lines = (0..<40).map {
      #"{"review": "\#($0 % 2 == 0 ? "größer" : "no")", "verdict": "\#($0 % 2 == 0 ? "good" : "bad")"}"#
    }
    for tokens: DatasetOptions.Tokens in [.bytes, .characters] {
      let (built, data) = try build(lines, options(target: "verdict", field: "review", tokens: tokens, length: 4))
      #expect(built.schema.classNames == ["bad", "good"])
      let described = try #require(built.schema.tokens)
      let padding = Int32(try #require(described.padding))
      #expect(
        built.schema.shape
          == DataShape(input: [4], elements: .tokens(vocabulary: Int(padding) + 1), target: .classes(2)))
      var row = [Int32](repeating: -1, count: 4)
      data.train.tokens(0, into: &row)
      let names = described.characters
      if tokens == .bytes {
        #expect(row == Array("größer".utf8).prefix(4).map { Int32($0) })
      } else {
        #expect(row.map { names[Int($0)] } == ["g", "r", "ö", "ß"])
      }
      data.heldOut.tokens(0, into: &row)
      #expect(Array(row[2...]) == [padding, padding] && data.heldOut.label(0) == 0)
    }
  }

  @Test("flat objects are a table, with missing fields and nulls as missing")
  func table() throws {
    let lines = (0..<40).map { number in
      let size = number == 7 ? "" : number == 9 ? #""size": null, "# : #""size": \#(number), "#
      return
        #"{\#(size)"kind": "\#(number % 3 == 0 ? "a" : "b")", "fine": \#(number % 2 == 0), "label": \#(number * 3)}"#
    }
    let (built, _) = try build(lines, options())
    #expect(built.schema.columns.map(\.name) == ["fine", "kind", "size"])
    #expect(built.schema.columns.map(\.width) == [2, 2, 2])
    #expect(built.schema.columns[2].hasMissing && built.schema.shape == DataShape(input: [6], target: .values(1)))
    #expect(built.schema.targetColumns.map(\.name) == ["label"])
  }

  @Test("faults name line and field")
  func faults() throws {
    let good = #"{"text": "some words", "label": "a"}"#
    #expect(try problem([], options())?.reason.contains("empty") == true)
    #expect(try problem([good, "{"], options())?.row == 2)
    #expect(
      try problem([good, "", "[1]"], options())
        == .init(row: 3, column: nil, reason: "expected a JSON object on each line, got an array of 1"))
    #expect(
      try problem([good, #"{"text": 3, "label": "b"}"#], options())
        == .init(row: 2, column: "text", reason: "expected a string, got the number 3"))
    #expect(try problem([good, #"{"text": "x", "label": []}"#], options())?.column == "label")
    #expect(try problem([good, good], options())?.reason.contains("all labels are \"a\"") == true)
    let row = #"{"a": 1, "y": 2}"#
    #expect(try problem([row, #"{"a": 1, "b": 2}"#], options())?.column == "b")
    #expect(try problem([row, #"{"a": {}, "y": 2}"#], options())?.reason.contains("got an object") == true)
    #expect(try problem([#"{"a": 1, "b": 2}"#], options())?.reason.contains("the fields are a, b") == true)
    #expect(try problem([row], options(length: 8))?.reason.contains("sequence_length") == true)
    #expect(try problem([#"{"a": 1, "a": 2}"#], options())?.reason.contains("twice") == true)
  }
}
