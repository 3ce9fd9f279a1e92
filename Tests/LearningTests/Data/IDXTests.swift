// IDX.swift and ByteReader.swift: IDX uploads, good, odd and damaged.
import Contract
import Foundation
import Testing

@testable import Learning

private func idx(_ type: UInt8, _ sizes: [Int], _ payload: [UInt8]) -> [UInt8] {
  [0, 0, type, UInt8(sizes.count)]
    + sizes.flatMap { size in (0..<4).map { UInt8(truncatingIfNeeded: size >> (24 - 8 * $0)) } }
    + payload
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
    #expect(reason(images + idx(8, [6], [7, 7, 7, 7, 7, 7])).contains("all labels are 7"))
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

  @Test("an upload that is nearly nothing, written many times, is refused before it was all decompressed")
  func inflated() throws {
    let scratch = try Scratch()
    let file = scratch.folder.appendingPathComponent("zeros")
    let member = gzip([UInt8](repeating: 0, count: 1 << 20))
    func decompressed(members: Int, before: Int = 0) throws -> Int {
      try Data([UInt8](repeating: 1, count: before) + (0..<members).flatMap { _ in member }).write(to: file)
      let reader = try ByteReader(file: file, bytesMax: DatasetBuilder.bytesMax)
      while try !reader.isAtEnd() { _ = try reader.next() }
      return reader.offset
    }
    #expect(try decompressed(members: 100) == 100 << 20)
    // Beside data that does not repeat itself, it is a part as any other.
    #expect(try decompressed(members: 130, before: 1 << 20) == 131 << 20)
    let fault = #expect(throws: DataFault.self) { try decompressed(members: 1000) }
    #expect(fault?.description.contains("more than 200 times its size") == true)
    // A table is refused before its rows are parsed, which would take long.
    let rows = gzip(Array(String(repeating: "1,2\n", count: 1 << 20).utf8))
    try Data(gzip(Array("a,b\n".utf8)) + (0..<200).flatMap { _ in rows }).write(to: file)
    let folder = scratch.folder.appendingPathComponent("table")
    let refusal = #expect(throws: DataFault.self) {
      try DatasetBuilder.build(file: file, options: DatasetOptions(format: .csv), folder: folder)
    }
    #expect(refusal?.description.contains("more than 200 times its size") == true)
  }

  @Test("random damage is refused or read, and never crashes")
  func fuzz() throws {
    let scratch = try Scratch()
    var random = SystemRandomNumberGenerator()
    let seeds = [images + labels, gzip(images) + gzip(labels), images + labels + images + labels]
    for round in 0..<300 {
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
