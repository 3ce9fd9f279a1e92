// The text of language tasks as one stream of tokens, and windows drawn from it. TaskDataSets finds or makes the stream.
import Compute
import Contract
import Foundation
import Learning

/// A stream of tokens. Immutable; all lanes share it.
final class TaskText: Sendable {
  let tokens: [Int32]
  let vocabulary: Int

  init(tokens: [Int32], vocabulary: Int) {
    self.tokens = tokens
    self.vocabulary = vocabulary
  }

  /// The training rows of a text data set, joined, whatever length they were cut to; tokens from `vocabulary` on are folded into 1 ..< vocabulary.
  ///
  /// - Throws: `DataFault` where the data are not tokens.
  convenience init(_ data: TrainingData, name: String, vocabulary: Int?) throws {
    guard case .tokens(let known) = data.schema.shape.elements, let length = data.schema.shape.input.first else {
      throw DataFault("expected a data set of tokens for \(name), got numbers of shape \(data.schema.shape.input)")
    }
    let rows = min(data.train.rows, (256 << 20) / (4 * length))
    var tokens = [Int32](repeating: 0, count: rows * length)
    tokens.withUnsafeMutableBufferPointer { memory in
      for row in 0..<rows { data.train.tokens(row, into: memory.baseAddress! + row * length) }
    }
    // A larger vocabulary than the text has is what the task's model has: its other tokens never come.
    let limit = vocabulary ?? known
    if limit < known {
      for place in tokens.indices where tokens[place] >= Int32(limit) {
        tokens[place] = 1 + tokens[place] % Int32(limit - 1)
      }
    }
    self.init(tokens: tokens, vocabulary: limit)
  }

  /// Text of a Markov chain over `vocabulary` tokens: each is followed by one of eight others, the first of them most
  /// often, so that there is something to learn and a floor to reach.
  static func markov(vocabulary: Int, count: Int, key: RandomKey) -> TaskText {
    let choices = 8
    var draw = Draw(key.derive(0, 0, 0))
    let followers = (0..<vocabulary * choices).map { _ in Int32(draw.uniform(0, Double(vocabulary))) }
    var tokens = [Int32](repeating: 0, count: count)
    var current = 0
    let walk = key.derive(1, 0, 0)
    for place in 1..<count {
      let u = RandomKey.uniform(walk.words(block: UInt32(place)).0)
      // The choice k has probability 2^-(k+1), the last one what is left.
      let choice = min(choices - 1, Int(-log2(u)))
      current = Int(followers[current * choices + choice])
      tokens[place] = Int32(min(current, vocabulary - 1))
    }
    return TaskText(tokens: tokens, vocabulary: vocabulary)
  }
}

/// Windows of a stream: `length` tokens and, as labels, the token after each.
struct TextBatches: BatchSource {
  let inputs = [BatchInput("inputs", .int32), BatchInput("labels", .int32)]
  private let text: TaskText
  private let length: Int
  private let batchSize: Int

  init(_ text: TaskText, length: Int, batchSize: Int) {
    precondition(text.tokens.count > length, "TextBatches: \(text.tokens.count) tokens for windows of \(length)")
    self.text = text
    self.length = length
    self.batchSize = batchSize
  }

  func draw(_ key: RandomKey, into places: BatchPlaces) {
    let starts = UInt64(text.tokens.count - length)
    text.tokens.withUnsafeBufferPointer { tokens in
      for place in 0..<batchSize {
        let start = Int((UInt64(key.words(block: UInt32(place)).0) * starts) >> 32)
        (places.int32(0) + place * length).update(from: tokens.baseAddress! + start, count: length)
        (places.int32(1) + place * length).update(from: tokens.baseAddress! + start + 1, count: length)
      }
    }
  }
}

/// The `data` argument of language tasks.
struct TextData {
  var name: String
  var length: Int
  var batch: Int
  var vocabulary: Int?
  var path: String

  static func read(_ fields: inout Fields, _ site: TaskSite) -> TextData? {
    let path = fields.pointer("data")
    guard let json = fields.required("data", "the text, such as {\"obj\": \"synth_text\", \"args\": {…}}"),
      let node = TaskConfig.read(json, path: path, faults: site.faults),
      var data = Fields(.object(node.arguments), path: "\(path)/args", faults: site.faults)
    else { return nil }
    let length = data.integer("length", in: 1...4096) ?? 32
    let batch = data.integer("batch", in: 1...4096) ?? 128
    let vocabulary = data.integer("vocabulary", in: 2...65_536)
    data.finish()
    return TextData(name: node.object, length: length, batch: batch, vocabulary: vocabulary, path: path)
  }
}
