// Well-known datasets as they are published, through the builder with the options a user would give. They are not kept
// here: the tests look in the folder that `TRAINYARD_DATA` names and are skipped, aloud, without it.
import Contract
import Foundation
import Testing

@testable import Learning

/// The folder of published datasets: what `TRAINYARD_DATA` names, or `../shared/data` beside the package.
let dataFolder: URL? = {
  let package = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent()
  let folder =
    ProcessInfo.processInfo.environment["TRAINYARD_DATA"].map { URL(filePath: $0) }
    ?? package.deletingLastPathComponent().appending(path: "shared/data")
  guard FileManager.default.fileExists(atPath: folder.path) else {
    print("published datasets are absent: set TRAINYARD_DATA to the folder that holds adult, abalone, mnist, …")
    return nil
  }
  return folder
}()

@Suite("published datasets", .enabled(if: dataFolder != nil, "needs TRAINYARD_DATA"))
struct RealDataTests {
  private func build(
    _ paths: [String], _ format: DatasetFormat, _ change: (inout DatasetOptions) -> Void = { _ in }
  ) throws -> (DatasetSchema, TrainingData) {
    let folder = try #require(dataFolder)
    var bytes: [UInt8] = []
    for path in paths {
      let file = folder.appending(path: path)
      guard FileManager.default.fileExists(atPath: file.path) else {
        print("skipped: \(path) is absent")
        throw Absent()
      }
      bytes += try Data(contentsOf: file)
    }
    var options = DatasetOptions(format: format)
    change(&options)
    let (built, data) = try Scratch().build(bytes, options)
    return (built.schema, data)
  }

  private struct Absent: Error {}

  /// Runs `body` unless its files are absent.
  private func unlessAbsent(_ body: () throws -> Void) throws { do { try body() } catch is Absent {} }

  @Test("tables: abalone, adult, california-housing, wine-quality and the toy sets")
  func tables() throws {
    try unlessAbsent {
      let (schema, _) = try build(["abalone/abalone.csv"], .csv) {
        $0.header = false; $0.task = .regression
      }
      #expect(
        schema.trainRows + schema.heldOutRows == 4177 && schema.shape == DataShape(input: [10], target: .values(1)))
    }
    for (file, rows) in [("train", 32_561), ("test", 16_281)] {
      try unlessAbsent {
        let (schema, _) = try build(["adult/adult-\(file).csv.gz"], .csv) { $0.header = false }
        #expect(schema.trainRows + schema.heldOutRows == rows && schema.classNames.count == 2)
        #expect(schema.columns.count == 14 && schema.columns[1].categories?.contains("") == true)
      }
    }
    try unlessAbsent {
      let (schema, _) = try build(["california-housing/housing.csv"], .csv) { $0.target = "median_house_value" }
      #expect(
        schema.trainRows + schema.heldOutRows == 20_640 && schema.shape == DataShape(input: [14], target: .values(1)))
      #expect(schema.columns.filter(\.hasMissing).map(\.name) == ["total_bedrooms"])
    }
    for (file, rows, classes) in [("red", 1599, 6), ("white", 4898, 7)] {
      try unlessAbsent {
        let (schema, _) = try build(["wine-quality/winequality-\(file).csv"], .csv) { $0.header = false }
        #expect(
          schema.trainRows + schema.heldOutRows == rows
            && schema.shape == DataShape(input: [11], target: .classes(classes)))
      }
    }
    for (file, rows, width, classes) in [
      ("iris.csv", 150, 4, 3), ("breast_cancer.csv", 569, 30, 2), ("wine_data.csv", 178, 13, 3),
    ] {
      try unlessAbsent {
        let (schema, _) = try build(["sklearn-toy/\(file)"], .csv) {
          $0.header = false; $0.skipLines = 1
        }
        #expect(
          schema.trainRows + schema.heldOutRows == rows
            && schema.shape == DataShape(input: [width], target: .classes(classes)))
      }
    }
    try unlessAbsent {
      let (schema, _) = try build(["sklearn-toy/digits.csv.gz"], .csv) { $0.header = false }
      #expect(
        schema.trainRows + schema.heldOutRows == 1797 && schema.shape == DataShape(input: [64], target: .classes(10)))
    }
    try unlessAbsent {
      let (schema, _) = try build(["sklearn-toy/diabetes_data_raw.csv.gz"], .csv) {
        $0.header = false; $0.delimiter = .space
      }
      #expect(schema.trainRows + schema.heldOutRows == 442 && schema.columns.count == 9)
    }
  }

  @Test("texts: Tiny Shakespeare, names and WikiText-2, by bytes and by characters")
  func texts() throws {
    try unlessAbsent {
      let (schema, data) = try build(["tinyshakespeare/input.txt"], .text) { $0.tokens = .characters }
      #expect(schema.tokens?.characters.count == 65 && schema.shape.elements == .tokens(vocabulary: 66))
      #expect(schema.trainRows == (1_115_394 - 111_539 - 1) / 64 && schema.heldOutRows == 111_538 / 64)
      var row = [Int32](repeating: 0, count: 64)
      data.train.tokens(0, into: &row)
      #expect(row.map { schema.tokens!.characters[Int($0)] }.joined().hasPrefix("First Citizen:\nBefore we proceed"))
    }
    try unlessAbsent {
      let (schema, _) = try build(["names/names.txt"], .text) { $0.sequenceLength = 16 }
      #expect(schema.shape.target == .tokens(vocabulary: 256))
    }
    try unlessAbsent {
      let (schema, _) = try build(["wikitext-2/valid.txt"], .text) {
        $0.tokens = .characters; $0.sequenceLength = 256
      }
      #expect(schema.shape.input == [256] && schema.trainRows > 3900)
    }
  }

  @Test("images: MNIST as IDX, and Omniglot with a class for each character")
  func images() throws {
    try unlessAbsent {
      let names = ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"]
      let (schema, _) = try build(names.map { "mnist/\($0)-ubyte.gz" }, .idx)
      #expect(schema.trainRows == 60_000 && schema.heldOutRows == 10_000)
    }
    try unlessAbsent {
      let (schema, data) = try build(["omniglot/images_background_small1.zip"], .images) { $0.imageSize = 28 }
      #expect(schema.shape == DataShape(input: [28, 28, 1], target: .classes(136)))
      #expect(schema.trainRows + schema.heldOutRows == 2720 && schema.classNames[0] == "Balinese/character01")
      var row = [Float](repeating: -1, count: 784)
      data.train.input(0, into: &row)
      // Ink is dark and rare.
      #expect(row.reduce(0, +) / 784 > 0.8 && row.contains { $0 < 0.5 })
    }
  }

  @Test("CIFAR-10's binary records become an NPY upload by moving the label away and the channels last")
  func cifar() throws {
    try unlessAbsent {
      let folder = try #require(dataFolder)
      let file = folder.appending(path: "cifar10-jpeg/test_1500.bin.gz")
      guard FileManager.default.fileExists(atPath: file.path) else { throw Absent() }
      let reader = try ByteReader(file: file, bytesMax: 1 << 30)
      var pixels: [UInt8] = []
      var labels: [UInt8] = []
      while try !reader.isAtEnd() {
        let record = try reader.exactly(3073, "a record")
        labels.append(record[0])
        for place in 0..<1024 {
          for channel in 0..<3 { pixels.append(record[1 + channel * 1024 + place]) }
        }
      }
      #expect(labels.count == 1500)
      let upload = npyBytes("|u1", "(1500, 32, 32, 3)", pixels) + npyBytes("|u1", "(1500,)", labels)
      let (built, data) = try Scratch().build(upload, DatasetOptions(format: .npy))
      #expect(
        built.schema.shape == DataShape(input: [32, 32, 3], target: .classes(10)) && data.train.encoding == .bytes)
    }
  }
}
