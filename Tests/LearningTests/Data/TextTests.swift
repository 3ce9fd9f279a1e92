// TextFile.swift, TokenStream.swift, TrainingData.swift: text as windows of tokens.
import Contract
import Foundation
import Testing

@testable import Learning

@Suite struct TextTests {
  private func options(_ tokens: DatasetOptions.Tokens?, _ length: Int, held: Double = 0.25) -> DatasetOptions {
    var options = DatasetOptions(format: .text, heldOutFraction: held)
    options.tokens = tokens
    options.sequenceLength = length
    return options
  }

  private func rows(_ part: DataPart) -> (tokens: [[Int32]], next: [[Int32]]) {
    var tokens: [[Int32]] = []
    var next: [[Int32]] = []
    for row in 0..<part.rows {
      var buffer = [Int32](repeating: -1, count: part.width)
      part.tokens(row, into: &buffer)
      tokens.append(buffer)
      part.labels(row, into: &buffer)
      next.append(buffer)
    }
    return (tokens, next)
  }

  @Test("bytes become consecutive windows, each with the byte after every position, and the tail is held out")
  func windows() throws {
    let text = (0..<103).map { UInt8(ascii: "a") + UInt8($0 % 26) }
    for upload in [text, gzip(text), [0xEF, 0xBB, 0xBF] + text] {
      let (built, data) = try Scratch().build(upload, options(nil, 4))
      let shape = DataShape(input: [4], elements: .tokens(vocabulary: 256), target: .tokens(vocabulary: 256))
      #expect(built.schema.shape == shape && built.schema.tokens == .init(kind: .bytes))
      // 25 tokens are held out; 78 to train on hold 19 windows and their last target.
      #expect(data.train.rows == 19 && data.heldOut.rows == 6)
      let (tokens, next) = rows(data.train)
      #expect(tokens.flatMap { $0 } == text[..<76].map { Int32($0) })
      #expect(next.flatMap { $0 } == text[1..<77].map { Int32($0) })
      let tail = rows(data.heldOut)
      #expect(tail.tokens.flatMap { $0 } == text[78..<102].map { Int32($0) })
      #expect(tail.next.flatMap { $0 } == text[79..<103].map { Int32($0) })
      var floats = [Float](repeating: -1, count: 4)
      data.train.input(1, into: &floats)
      let expected = text[4..<8].map { Float($0) }
      #expect(floats == expected)
    }
  }

  @Test("characters are numbered by code point over the training part, and others share the reserved index")
  func characters() throws {
    let text = String(repeating: "größe🙂 ", count: 20) + String(repeating: "ñé", count: 20)
    let (built, data) = try Scratch().build(Array(text.utf8), options(.characters, 5))
    let tokens = try #require(built.schema.tokens)
    #expect(tokens.characters == [" ", "e", "g", "r", "ß", "ö", "🙂"])
    #expect(tokens.unknown == 7 && tokens.separator == nil)
    #expect(built.schema.shape.elements == .tokens(vocabulary: 8))
    #expect(rows(data.train).tokens[0] == [2, 3, 5, 4, 1])
    #expect(rows(data.heldOut).tokens.last == [7, 7, 7, 7, 7])
    #expect(DatasetSchema.decode(built.schema.json) == built.schema)
  }

  @Test("a text that outgrows every buffer comes back token for token")
  func long() throws {
    var random = SplitMix(state: 5)
    let scalars = (0..<300_000).map { _ in Unicode.Scalar(UInt32.random(in: 32..<1500, using: &random))! }
    var text = String.UnicodeScalarView()
    text.append(contentsOf: scalars)
    let (built, data) = try Scratch().build(gzip(Array(String(text).utf8)), options(.characters, 64, held: 0.1))
    let names = try #require(built.schema.tokens).characters
    let back = rows(data.train).tokens.joined().map { names[Int($0)] }
    #expect(back.count == data.train.rows * 64 && data.train.rows == (270_000 - 1) / 64)
    #expect(zip(back, scalars).allSatisfy { $0 == String(Character($1)) })
  }

  @Test("text that cannot be used is refused with what is wrong")
  func refusals() throws {
    let scratch = try Scratch()
    func problem(_ bytes: [UInt8], _ options: DatasetOptions) -> DataFault.Place? {
      scratch.problems(bytes, options).first
    }
    let good = Array("some text\nand more\n".utf8)
    #expect(problem([], options(nil, 4))?.reason.contains("0 tokens") == true)
    #expect(problem(Array(good.prefix(9)), options(nil, 4))?.reason.contains("at least 10") == true)
    #expect(
      problem(good + [0x41, 0x00], options(nil, 4))
        == .init(
          row: 3, column: nil,
          reason: "the text holds a zero byte: is it another format, or UTF-16? Expected UTF-8 text"))
    for bad: [UInt8] in [
      [0xFF], [0xC3], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0x80], [0xE2, 0x82],
    ] {
      let fault = problem(good + bad + (bad.count == 2 && bad[0] == 0xE2 ? [] : good), options(.bytes, 4))
      #expect(fault?.row == 3 && fault?.reason.contains("UTF-8") == true, "\(bad)")
    }
    var many = String.UnicodeScalarView()
    for code in 0x4E00..<UInt32(0x4E00 + 8000) { many.append(Unicode.Scalar(code)!) }
    let varied = Array(String(many).utf8)
    #expect(problem(varied, options(.characters, 4))?.reason.contains("4096 different characters") == true)
    // Where the tail alone has too many, they are unknown.
    let calm = Array(String(repeating: "ab", count: 10_000).utf8)
    #expect(problem(calm + varied, options(.characters, 4)) == nil)
  }
}

/// Numbers from a seed, so that a failure comes again.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ word >> 30) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ word >> 27) &* 0x94D0_49BB_1331_11EB
    return word ^ word >> 31
  }
}
