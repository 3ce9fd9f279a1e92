// ArrayTable.swift, NPYArray.swift, ZipArchive.swift: arrays that NumPy wrote, and archives that lie.
import Contract
import Foundation
import Testing

@testable import Learning

@Suite struct ArrayTests {
  private let npz = DatasetOptions(format: .npz)
  private let npy = DatasetOptions(format: .npy)

  private func types() throws -> [String: [UInt8]] {
    guard case .object(let members) = try JSON.parse(fixture("types.json")) else { return [:] }
    return members.mapValues { hex in
      let digits = Array(hex.string!.utf8)
      return stride(from: 0, to: digits.count, by: 2).map {
        UInt8(String(decoding: digits[$0..<$0 + 2], as: UTF8.self), radix: 16)!
      }
    }
  }

  @Test("x and y of an NPZ file become rows and classes, stored or deflated")
  func pair() throws {
    let (built, data) = try Scratch().build(fixture("pair.npz"), npz)
    #expect(built.schema.shape == DataShape(input: [2, 3], target: .classes(3)))
    #expect(data.train.rows + data.heldOut.rows == 30 && data.heldOut.rows >= 1)
    #expect(data.train.encoding == .floats && data.train.label(0) == 0 && data.heldOut.label(0) == 1)
    let (four, own) = try Scratch().build(fixture("four.npz"), npz)
    #expect(four.schema.trainRows == 30 && four.schema.heldOutRows == 5)
    // The same numbers in big-endian doubles, compressed.
    var first = [Float](repeating: 0, count: 6)
    var again = [Float](repeating: 1, count: 6)
    data.train.input(0, into: &first)
    own.heldOut.input(0, into: &again)
    #expect(first == again && Set(first).count == 6)
  }

  @Test("every element type that NumPy writes is read, in either byte order and header version")
  func elementTypes() throws {
    let types = try types()
    #expect(types.count == 21)
    let values: [[Float]] = [[0, 1], [2, 100], [3, 7], [1, 0], [90, 5], [6, 6]]
    let labels = npyBytes("|u1", "(6,)", [0, 1, 2, 0, 1, 2])
    for (type, bytes) in types {
      let (built, data) = try Scratch().build(gzip(bytes) + labels + bytes + labels, npy)
      #expect(built.schema.trainRows == 6 && built.schema.heldOutRows == 6, "\(type)")
      for (row, expected) in values.enumerated() {
        var floats = [Float](repeating: -1, count: 2)
        data.train.input(row, into: &floats)
        if type == "?" {
          #expect(floats == expected.map { $0 == 0 ? 0 : 1 }, "\(type)")
        } else if type == "u1" {
          #expect(floats == expected.map { $0 * (1 / 255) }, "\(type)")
        } else {
          #expect(floats == expected, "\(type)")
        }
      }
    }
  }

  @Test("float targets are standardised values, several a row, and integers may be made values")
  func values() throws {
    let x = npyBytes("|i1", "(40, 1)", (0..<40).map { UInt8($0) })
    let y = npyBytes(
      "<f4", "(40, 2)",
      (0..<80).flatMap { value -> [UInt8] in
        let bits = Float(value).bitPattern
        return (0..<4).map { UInt8(truncatingIfNeeded: bits >> (8 * $0)) }
      })
    let (built, data) = try Scratch().build(x + y, npy)
    #expect(built.schema.shape == DataShape(input: [1], target: .values(2)))
    let column = built.schema.targetColumns[1]
    var values = [Float](repeating: 0, count: 2)
    data.train.values(0, into: &values)
    #expect(abs(Double(values[1]) * column.deviation + column.mean - 1) < 1e-4)
    var options = npy
    options.task = .regression
    let integers = npyBytes("|u1", "(40,)", (0..<40).map { UInt8($0) })
    #expect(try Scratch().build(x + integers, options).0.schema.shape.target == .values(1))
  }

  @Test("integers may be tokens: a long array as windows, or rows with classes")
  func tokens() throws {
    var options = npy
    options.tokens = .integers
    options.sequenceLength = 8
    let long = npyBytes("<u2", "(1000,)", (0..<1000).flatMap { [UInt8(($0 % 300) & 255), UInt8(($0 % 300) >> 8)] })
    let (built, data) = try Scratch().build(long, options)
    #expect(
      built.schema.shape == DataShape(input: [8], elements: .tokens(vocabulary: 300), target: .tokens(vocabulary: 300)))
    var row = [Int32](repeating: -1, count: 8)
    data.train.tokens(37, into: &row)
    let expected = (296..<304).map { Int32($0 % 300) }
    #expect(row == expected)
    let rows = npyBytes("|u1", "(20, 3)", (0..<60).map { UInt8($0) })
    let labels = npyBytes("|u1", "(20,)", (0..<20).map { UInt8($0 % 2) })
    let (labelled, parts) = try Scratch().build(rows + labels, options)
    #expect(labelled.schema.shape == DataShape(input: [3], elements: .tokens(vocabulary: 60), target: .classes(2)))
    var three = [Int32](repeating: -1, count: 3)
    parts.train.tokens(0, into: &three)
    #expect(three == [0, 1, 2])
  }

  @Test("arrays that cannot be used are refused with what to do")
  func refusals() throws {
    let scratch = try Scratch()
    func reason(_ bytes: [UInt8], _ options: DatasetOptions) -> String {
      scratch.problems(bytes, options).first.map { "\($0.column ?? ""): \($0.reason)" } ?? "accepted"
    }
    #expect(try reason(fixture("objects.npz"), npz).contains("y: has elements of the type \"|O\""))
    #expect(try reason(fixture("fortran.npz"), npz).contains("ascontiguousarray"))
    let x = npyBytes("|u1", "(4, 2)", [UInt8](0..<8))
    let y = npyBytes("|u1", "(4,)", [0, 1, 0, 1])
    #expect(reason(x + y, npy) == "accepted")
    #expect(reason(x, npy).contains("no array of targets"))
    #expect(reason(x + npyBytes("|u1", "(3,)", [0, 1, 0]), npy).contains("expected 4 rows"))
    #expect(reason(x + npyBytes("|u1", "(4,)", [5, 5, 5, 5]), npy).contains("all labels are 5"))
    #expect(reason(x + npyBytes("|i1", "(4,)", [0, 1, 0, 255]), npy).contains("got -1"))
    #expect(reason(x + npyBytes("|u1", "(4, 2)", [UInt8](0..<8)), npy).contains("argmax"))
    #expect(reason(x + y + x + y + x, npy).contains("at most four"))
    #expect(reason(x + y + x, npy).contains("held-out targets"))
    #expect(reason(npyBytes("<f8", "(115292150460684697, 16)", []) + y, npy).contains("limit"))
    #expect(reason(npyBytes("<f8", "(9999999999999999999999, 16)", []) + y, npy).contains("damaged"))
    #expect(reason(npyBytes("|u1", "(4, 0)", []) + y, npy).contains("empty"))
    #expect(reason(npyBytes("|u1", "()", [1]) + y, npy).contains("dimensions"))
    #expect(reason(npyBytes("<U3", "(4,)", [UInt8](repeating: 0, count: 48)) + y, npy).contains("return_inverse"))
    #expect(reason(npyBytes("<c8", "(4,)", []) + y, npy).contains("type"))
    #expect(reason(Array(x.dropLast(3)), npy).contains("ends inside"))
    let nan: [UInt8] = [0, 0, 0xC0, 0x7F]
    let floats = npyBytes("<f4", "(4,)", [UInt8](repeating: 0, count: 8) + nan + nan)
    #expect(scratch.problems(floats + y, npy).map(\.row) == [3, 4])
    #expect(scratch.problems(x + floats, npy).map(\.row) == [3, 4])
  }

  @Test("an archive whose directory and contents disagree is refused by the entry's name")
  func lyingArchives() throws {
    let scratch = try Scratch()
    let whole = try fixture("pair.npz")
    func reason(_ change: (inout [UInt8]) -> Void) -> String {
      var bytes = whole
      change(&bytes)
      return scratch.problems(bytes, npz).first.map { "\($0.column ?? ""): \($0.reason)" } ?? "accepted"
    }
    let directory = try #require(whole.place(of: [0x50, 0x4B, 1, 2]))
    let second = try #require(whole[(directory + 4)...].place(of: [0x50, 0x4B, 1, 2]))
    let data = try #require(whole.place(of: Array("NUMPY".utf8)))
    #expect(reason { _ in } == "accepted")
    #expect(reason { $0[directory + 8] |= 1 }.contains("x.npy: is encrypted"))
    #expect(reason { $0[directory + 10] = 12 }.contains("method 12"))
    #expect(reason { $0[directory + 16] ^= 1 }.contains("checksum"))
    #expect(reason { $0[data + 200] ^= 1 }.contains("checksum"))
    #expect(reason { $0[directory + 24] &+= 1 }.contains("announces"))
    #expect(reason { bytes in for place in 20..<28 { bytes[directory + place] = 0xFF } }.contains("ZIP64"))
    #expect(
      reason { bytes in for place in 42..<46 { bytes[second + place] = bytes[directory + place] } }.contains("overlaps")
    )
    #expect(reason { $0[second + 46] = UInt8(ascii: "x") }.contains("twice"))
    #expect(reason { $0.removeLast(5) }.contains("no directory"))
    #expect(reason { $0.insert(0, at: 0) }.contains("put in front"))
    #expect(reason { $0[0] = 0 }.contains("contradicts"))
    // A shape that says more, or less, than is there.
    #expect(
      reason { bytes in bytes[bytes.place(of: Array("(30, 2".utf8))! + 1] = UInt8(ascii: "4") }.contains(
        "takes 960 bytes"))
    // What inflates to more than compression can do.
    var bomb = try fixture("four.npz")
    let entry = try #require(bomb.place(of: [0x50, 0x4B, 1, 2]))
    for place in 24..<27 { bomb[entry + place] = 0xFF }
    #expect(scratch.problems(bomb, npz).first?.reason.contains("more than compression can do") == true)
    let four = try fixture("four.npz")
    for place in 0..<4 {
      var bytes = four
      bytes[entry + 24 + place] &+= 1
      #expect(!scratch.problems(bytes, npz).isEmpty)
    }
  }
}
