// IDX.swift, CSVTable.swift, CSVReader.swift, ByteReader.swift, DatasetBuilder.swift: uploads, good, odd and damaged.
import CZlib
import Contract
import Foundation
import Testing

@testable import Learning

/// A folder of its own for one test.
private final class Scratch {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("trainyard-data-\(UUID().uuidString)")
  init() throws { try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true) }
  deinit { try? FileManager.default.removeItem(at: folder) }

  func build(_ bytes: [UInt8], _ options: DatasetOptions) throws -> (BuiltDataset, TrainingData) {
    let file = folder.appendingPathComponent("upload")
    try Data(bytes).write(to: file)
    let place = folder.appendingPathComponent("set-\(UUID().uuidString)")
    let built = try DatasetBuilder.build(file: file, options: options, folder: place)
    return (built, try TrainingData(folder: place))
  }

  func problems(_ bytes: [UInt8], _ options: DatasetOptions) -> [DataFault.Place] {
    do {
      _ = try build(bytes, options)
      return []
    } catch let fault as DataFault { return fault.problems } catch {
      return [.init(row: nil, column: nil, reason: "\(error)")]
    }
  }
}

private func idx(_ type: UInt8, _ sizes: [Int], _ payload: [UInt8]) -> [UInt8] {
  [0, 0, type, UInt8(sizes.count)]
    + sizes.flatMap { size in (0..<4).map { UInt8(truncatingIfNeeded: size >> (24 - 8 * $0)) } }
    + payload
}

private func gzip(_ bytes: [UInt8]) -> [UInt8] {
  var stream = z_stream()
  deflateInit2_(
    &stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
  var input = bytes
  var output = [UInt8](repeating: 0, count: bytes.count + 1000)
  let count = input.withUnsafeMutableBufferPointer { source in
    output.withUnsafeMutableBufferPointer { target in
      stream.next_in = source.baseAddress
      stream.avail_in = UInt32(source.count)
      stream.next_out = target.baseAddress
      stream.avail_out = UInt32(target.count)
      deflate(&stream, Z_FINISH)
      return target.count - Int(stream.avail_out)
    }
  }
  deflateEnd(&stream)
  return Array(output[..<count])
}

@Suite struct IDXTests {
  private let images = idx(8, [6, 2, 3], (0..<36).map { UInt8($0 * 7) })
  private let labels = idx(8, [6], [0, 1, 2, 2, 1, 0])
  private let options = DatasetOptions(format: .idx)

  @Test("inputs and labels become rows, the first of which are held out by a fixed rule")
  func twoFiles() throws {
    let (built, data) = try Scratch().build(images + labels, options)
    #expect(built.schema.shape == DataShape(input: [2, 3], target: .classes(3)))
    #expect(data.train.rows + data.heldOut.rows == 6 && data.heldOut.rows >= 1)
    var row = [Float](repeating: -1, count: 6)
    data.train.input(0, into: &row)
    let expected: [Float] = (0..<6).map { Float($0 * 7) * (1 / 255) }
    #expect(row == expected)
    #expect(data.train.label(0) == 0 && data.heldOut.label(0) == 1)
  }

  @Test("four files bring their own held-out part, in any mixture of gzip and plain bytes")
  func fourFiles() throws {
    let parts = [images, labels, idx(8, [2, 2, 3], [UInt8](1...12)), idx(8, [2], [3, 0])]
    for mask in 0..<16 {
      let bytes = parts.enumerated().flatMap { mask >> $0 & 1 == 1 ? gzip($1) : $1 }
      let (built, data) = try Scratch().build(bytes, options)
      #expect(built.schema.trainRows == 6 && built.schema.heldOutRows == 2, "mixture \(mask)")
      #expect(built.schema.shape.target == .classes(4))
      #expect(data.heldOut.label(0) == 3)
    }
  }

  @Test("numbers wider than a byte are read big-endian")
  func wideTypes() throws {
    let floats: [Float] = [1.5, -2.25, 3, 0, 1, 2]
    let payload = floats.flatMap { value in (0..<4).map { UInt8(truncatingIfNeeded: value.bitPattern >> (24 - 8 * $0)) }
    }
    let (built, data) = try Scratch().build(idx(0x0D, [3, 2], payload) + idx(8, [3], [0, 1, 0]), options)
    #expect(built.schema.shape.input == [2])
    var row = [Float](repeating: 0, count: 2)
    data.train.input(0, into: &row)
    #expect(row == [1.5, -2.25])
  }

  @Test("a damaged file is refused with the part that is wrong")
  func damaged() throws {
    let scratch = try Scratch()
    func reason(_ bytes: [UInt8]) -> String {
      scratch.problems(bytes, options).first.map { "\($0.column ?? ""): \($0.reason)" } ?? "accepted"
    }
    #expect(reason([]).contains("ends inside the header of the training inputs"))
    #expect(reason([1, 2, 3, 4]).contains("expected an IDX header"))
    #expect(reason(Array(images.dropLast(5))).contains("element 6 of 6"))
    #expect(reason(images).contains("the training labels: are missing"))
    #expect(reason(images + idx(8, [5], [0, 1, 2, 2, 1])).contains("expected 6 labels"))
    #expect(reason(images + idx(8, [6], [0, 0, 0, 0, 0, 0])).contains("all labels are 0"))
    #expect(reason(images + labels + [0]).contains("the header of the held-out inputs"))
    #expect(reason(images + labels + images + labels + [9]).contains("expected the end of the data"))
    #expect(reason(idx(8, [0xFFFF_FFFF, 0xFFFF_FFFF, 0xFFFF_FFFF, 0xFFFF_FFFF], [])).contains("too large"))
    #expect(reason(idx(8, [0xFFFF_FFFF, 4096], [1])).contains("the limit is 16777216"))
    #expect(reason(Array(gzip(images + labels).dropLast(9))).contains("cut off"))
    var flipped = gzip(images + labels)
    flipped[flipped.count / 2] ^= 0xFF
    #expect(!reason(flipped).contains("accepted"))
    let negative = idx(0x09, [6], [0, 0xFF, 1, 1, 0, 0])
    #expect(scratch.problems(images + negative, options).first?.row == 2)
  }

  @Test("random damage is refused or read, and never crashes")
  func fuzz() throws {
    let scratch = try Scratch()
    var random = SystemRandomNumberGenerator()
    let seeds = [images + labels, gzip(images) + gzip(labels), images + labels + images + labels]
    for round in 0..<1500 {
      var bytes = seeds[round % 3]
      for _ in 0..<Int.random(in: 1...3, using: &random) {
        let place = Int.random(in: 0..<bytes.count, using: &random)
        if Bool.random(using: &random) {
          bytes[place] = .random(in: 0...255, using: &random)
        } else {
          bytes.remove(at: place)
        }
      }
      _ = scratch.problems(bytes, options)
    }
  }
}

@Suite struct CSVTests {
  private func build(_ text: String, target: String? = nil, task: DatasetOptions.Task? = nil) throws -> (
    BuiltDataset, TrainingData
  ) {
    try Scratch().build(Array(text.utf8), DatasetOptions(format: .csv, target: target, task: task))
  }

  private func problems(_ text: String, target: String? = nil) throws -> [DataFault.Place] {
    try Scratch().problems(Array(text.utf8), DatasetOptions(format: .csv, target: target))
  }

  @Test("numbers are standardised, text becomes one input a category, text targets become classes")
  func typed() throws {
    let rows = (0..<40).map { "\($0),\($0 % 2 == 0 ? "red" : "\"dark, blue\""),\($0 < 20 ? "low" : "high")" }
    let (built, data) = try build("size,colour,level\r\n" + rows.joined(separator: "\r\n"))
    #expect(built.schema.columns.map(\.name) == ["size", "colour"])
    #expect(built.schema.columns[1].categories == ["dark, blue", "red"])
    #expect(built.schema.classNames == ["high", "low"])
    #expect(built.schema.shape == DataShape(input: [3], target: .classes(2)))
    var row = [Float](repeating: 0, count: 3)
    var sum = 0.0
    for index in 0..<data.train.rows {
      data.train.input(index, into: &row)
      sum += Double(row[0])
      #expect(row[1] + row[2] == 1)
    }
    #expect(abs(sum / Double(data.train.rows)) < 1e-5)
  }

  @Test("a numeric target with many values is a regression on standardised values")
  func regression() throws {
    let rows = (0..<200).map { "\($0),\(Double($0) * 3 + 0.5)" }
    let (built, data) = try build("x,y\n" + rows.joined(separator: "\n"))
    #expect(built.schema.shape.target == .values(1))
    let values = (0..<data.train.rows).map { Double(data.train.value($0)) }
    let mean = values.reduce(0, +) / Double(values.count)
    #expect(abs(mean) < 1e-5)
    let variance = values.map { $0 * $0 }.reduce(0, +) / Double(values.count)
    #expect(abs(variance - 1) < 1e-4)
    #expect(try build("x,y\n" + rows.joined(separator: "\n"), target: "x").0.schema.columns.map(\.name) == ["y"])
  }

  @Test("a missing number is the column's mean, a missing target is a problem with its row")
  func missing() throws {
    let rows = (0..<30).map { "\($0 == 5 ? "" : "\($0)"),\($0 % 3)" }
    let (_, data) = try build("x,y\n" + rows.joined(separator: "\n"))
    let inputs = (0..<data.train.rows).map { index -> Float in
      var value: Float = -9
      data.train.input(index, into: &value)
      return value
    }
    #expect(inputs.contains(0))
    let found = try problems("x,y\n1,a\n2,\n3,b\n4,a\n")
    #expect(found == [.init(row: 3, column: "y", reason: "the target is missing")])
  }

  @Test("every fault has its row and column")
  func faults() throws {
    let numbers = (0..<20).map { "\($0),\($0)" }.joined(separator: "\n")
    let text = "x,y\n" + numbers + "\noops,1\n5,2"
    #expect(try problems(text, target: "y").first?.row == 22)
    #expect(try problems(text, target: "y").first?.column == "x")
    #expect(try problems("x,y\n1,2\n3\n4,5,6\n").map(\.row) == [3, 4])
    #expect(try problems("").first?.reason.contains("empty") == true)
    #expect(try problems("x\n1\n").first?.reason.contains("one column") == true)
    #expect(try problems("x,x\n1,2\n").first?.reason.contains("two columns") == true)
    #expect(try problems("x,\n1,2\n").first?.reason.contains("no name") == true)
    #expect(try problems("x,y\n1,\"open\n").first?.reason.contains("never closed") == true)
    #expect(try problems("x,y\n1,\"a\"b\n").first?.row == 2)
    #expect(try problems("x,y\n1,2\n2,3\n", target: "z").first?.reason.contains("x, y") == true)
    #expect(try problems("x,y\n1,2\n").first?.reason.contains("at least 2") == true)
    let wide = (0..<5000).map { "c\($0)" }.joined(separator: ",")
    #expect(try problems(wide + "\n" + wide).first?.reason.contains("columns, the limit") == true)
    let long = String(repeating: "a", count: 70_000)
    #expect(try problems("x,y\n\(long),1\n").first?.reason.contains("longer than") == true)
    let invalid: [UInt8] = Array("x,y\n1,".utf8) + [0xFF, 0xFE] + Array("\n".utf8)
    #expect(try Scratch().problems(invalid, DatasetOptions(format: .csv)).first?.reason.contains("UTF-8") == true)
  }

  @Test("random damage is refused or read, and never crashes")
  func fuzz() throws {
    let scratch = try Scratch()
    let seed = Array("size,colour,level\n1,\"a,b\",x\n2,c,y\n3.5e1,\"q\"\"q\",x\n,c,y\n".utf8)
    var random = SystemRandomNumberGenerator()
    for _ in 0..<1500 {
      var bytes = seed
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        let place = Int.random(in: 0..<bytes.count, using: &random)
        if Bool.random(using: &random) {
          bytes[place] = .random(in: 0...255, using: &random)
        } else {
          bytes.remove(at: place)
        }
      }
      _ = scratch.problems(bytes, DatasetOptions(format: .csv))
    }
  }
}

extension DataPart {
  /// The class of a row.
  func label(_ row: Int) -> Int32 {
    var label: Int32 = -1
    labels(row, into: &label)
    return label
  }

  /// The first value of a row's target.
  func value(_ row: Int) -> Float {
    var value = Float.nan
    values(row, into: &value)
    return value
  }
}
