// The data sets that tasks are built on: those given by the user under their names, synthetic ones that need no file, and
// blank stand-ins of the right shape for describing tasks whose data is not there.
import Compute
import Contract
import Foundation
import Learning
import Synchronization

/// Data sets by name. Immutable but for a cache of images at the sizes asked for.
public final class TaskDataSets: Sendable {
  private let sets: [String: TrainingData]
  private let given: [String: TaskImages]
  /// Whether sets that were not given are replaced by blank ones of their shape.
  private let describesOnly: Bool
  private let textCache = Mutex<[TextRequest: TaskText]>([:])
  private let cache = Mutex<[ImageRequest: TaskImages]>([:])

  /// - Parameter sets: the data sets given, by name.
  public init(_ sets: [String: TrainingData]) {
    self.sets = sets
    given = [:]
    describesOnly = false
  }

  /// Images that are at their size already, by name.
  init(images: [String: TaskImages]) {
    sets = [:]
    given = images
    describesOnly = false
  }

  private init(describesOnly: Bool) {
    sets = [:]
    given = [:]
    self.describesOnly = describesOnly
  }

  /// Sets of the right shapes without any data, to find out what a task costs.
  public static func descriptions() -> TaskDataSets { TaskDataSets(describesOnly: true) }

  /// The names given, and those that are always there.
  public var names: [String] { (Array(sets.keys) + SyntheticImages.names + [Self.syntheticText]).sorted() }

  /// What is known of a public set: side, colours and classes.
  static let knownImages: [String: (side: Int, channels: Int, classes: Int)] = [
    "mnist": (28, 1, 10), "fashion_mnist": (28, 1, 10), "cifar10": (32, 3, 10), "cifar100": (32, 3, 100),
    "imagenet16": (16, 3, 1000), "svhn": (32, 3, 10),
  ]

  /// An image set at a size.
  struct ImageRequest: Hashable {
    var name: String
    var size: Int
    var isGrey = false
    var rows: Int?
    var isArea = false
    /// The share of the training rows that is used.
    var share = 1.0
  }

  /// The images of a request; nil with a fault where there are none of that name.
  func images(_ request: ImageRequest, path: String, faults: Faults) throws -> TaskImages? {
    if let known = cache.withLock({ $0[request] }) { return known }
    let made: TaskImages
    if let images = given[request.name], images.size == request.size {
      made = images
    } else if let synthetic = SyntheticImages(name: request.name) {
      made = synthetic.images(request, rows: describesOnly ? 1 : request.rows ?? 10_000)
    } else if describesOnly, let known = Self.knownImages[request.name] {
      let channels = request.isGrey ? 1 : known.channels
      made = TaskImages(
        pixels: [Float](repeating: 0, count: request.size * request.size * channels), labels: [0], size: request.size,
        channels: channels, classes: known.classes)
    } else if let set = sets[request.name] {
      var rows = request.rows
      if request.share < 1 { rows = max(1, Int(Double(set.train.rows) * request.share)) }
      made = try TaskImages(
        set, size: request.size, rowsMax: rows, isGrey: request.isGrey, resampling: request.isArea ? .area : .bilinear,
        bytesMax: request.isArea ? TaskImages.bytesMax : 512 << 20)
    } else {
      faults.add(
        path,
        "no data set named \"\(request.name)\" was given; there are: \(names.joined(separator: ", "))")
      return nil
    }
    cache.withLock { $0[request] = made }
    return made
  }

  /// The name of text that is made, not read.
  static let syntheticText = "synth_text"

  /// The text of a language task; nil with a fault where there is none of that name.
  func text(_ data: TextData, faults: Faults) throws -> TaskText? {
    let request = TextRequest(name: data.name, vocabulary: data.vocabulary)
    if !describesOnly, let known = textCache.withLock({ $0[request] }) { return known }
    let made: TaskText
    if data.name == Self.syntheticText || (describesOnly && Self.knownTexts[data.name] != nil) {
      let vocabulary = data.vocabulary ?? Self.knownTexts[data.name] ?? 259
      made =
        describesOnly
        ? TaskText(tokens: [Int32](repeating: 0, count: data.length + 1), vocabulary: vocabulary)
        : TaskText.markov(vocabulary: vocabulary, count: 1 << 20, key: RandomKey(seed: 0x7E87))
    } else if let set = sets[data.name] {
      made = try TaskText(set, name: data.name, vocabulary: data.vocabulary)
    } else {
      faults.add(
        data.path, "no data set named \"\(data.name)\" was given; there are: \(names.joined(separator: ", "))")
      return nil
    }
    guard made.tokens.count > data.length else {
      faults.add(data.path, "\(data.name) has \(made.tokens.count) tokens, too few for windows of \(data.length)")
      return nil
    }
    textCache.withLock { $0[request] = made }
    return made
  }

  /// Vocabularies of public text.
  static let knownTexts = ["lm1b_bytes": 259, "lm1b_32k": 32_000, "wikipedia_bytes": 259, "wikipedia_32k": 32_000]

  private struct TextRequest: Hashable {
    var name: String
    var vocabulary: Int?
  }
}
