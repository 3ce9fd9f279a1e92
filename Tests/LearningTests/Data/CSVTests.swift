// Table.swift and CSVReader.swift: tables, good, odd and damaged.
import Contract
import Foundation
import Testing

@testable import Learning

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

  @Test("a number that is missing somewhere gets a second input that says where")
  func missingIndicator() throws {
    let rows = (0..<30).map {
      "\($0 % 5 == 3 ? ["", "NA", "?", "nan"][$0 % 4] : "\($0)"),\($0 % 4 == 2 ? "?" : "red"),\($0 % 3)"
    }
    let (built, data) = try build("x,colour,y\n" + rows.joined(separator: "\n"))
    #expect(built.schema.columns.map(\.hasMissing) == [true, false])
    #expect(built.schema.columns[1].categories == ["", "red"])
    #expect(built.schema.shape.input == [4])
    for row in 0..<data.train.rows {
      var inputs = [Float](repeating: -9, count: 4)
      data.train.input(row, into: &inputs)
      #expect((inputs[1] == 1) == (inputs[0] == 0) && inputs[2] + inputs[3] == 1)
    }
  }

  @Test("what looks like a number and is none in decimal notation is a problem, not a category")
  func lookalikes() throws {
    func reason(_ cell: String) throws -> String {
      try problems("x,y\n1,a\n\(cell),b\n\(cell),a\n").first.map { "\($0.row!) \($0.column!) \($0.reason)" }
        ?? "accepted"
    }
    #expect(try reason("0x10") == "3 x expected a number in decimal notation, got \"0x10\"")
    #expect(try reason("inf").contains("decimal notation"))
    #expect(try reason("1e999").contains("below 1e30"))
    #expect(try reason("-1e31").contains("below 1e30"))
    #expect(try reason("\"1,5\"").contains("decimal point"))
    #expect(try reason("1_000").contains("decimal point"))
    #expect(try reason("+1.5e-3") == "accepted")
    #expect(try reason("v2") == "accepted")
    #expect(try problems("x,y\n0x10,a\n0x11,b\n").first?.reason.contains("decimal notation") == true)
    #expect(
      try Scratch().problems(Array("x,y\n1,\u{0}a\n".utf8), DatasetOptions(format: .csv)).first?.reason.contains(
        "zero byte") == true)
    #expect(try problems("x,z,y\n1,,a\n2,,b\n").first?.reason.contains("no values at all") == true)
  }

  @Test("delimiter, header, lines to skip, several targets and columns to drop are as the options say")
  func options() throws {
    func read(_ text: String, _ change: (inout DatasetOptions) -> Void) throws -> DatasetSchema {
      var options = DatasetOptions(format: .csv)
      change(&options)
      return try Scratch().build(Array(text.utf8), options).0.schema
    }
    let numbers = (0..<30).map { "\($0);\($0 * $0);\(Double($0) / 7)" }.joined(separator: "\n")
    let wine = try read("a;b;c\n" + numbers) {
      $0.delimiter = .semicolon
      $0.target = "c,a"
    }
    #expect(wine.shape.target == .values(2) && wine.targetColumns.map(\.name) == ["c", "a"])
    #expect(wine.columns.map(\.name) == ["b"])
    let bare = try read("30 3 setosa\n" + numbers.replacing(";", with: "  ") + " \n") {
      $0.delimiter = .space
      $0.header = false
      $0.skipLines = 1
      $0.drop = "c1"
    }
    #expect(bare.columns.map(\.name) == ["c2"] && bare.targetColumns.map(\.name) == ["c3"])
    #expect(bare.trainRows + bare.heldOutRows == 30)
    let tabs = try read("a, b\tc\n1\t2.5\n2\t3.5\n") {
      $0.delimiter = .tab
      $0.target = "a, b"
      $0.task = .classification
    }
    #expect(tabs.classNames == ["1", "2"])
    #expect(try problems("1,2\n3,4\n").first?.reason.contains("header=false") == true)
    #expect(throws: DataFault.self) { try read("a,b,c\n1,2,3\n4,5,6\n") { $0.drop = "c" } }
    #expect(throws: DataFault.self) { try read("a,b,c\n1,2,3\n4,5,6\n") { $0.drop = "z" } }
    #expect(throws: DataFault.self) { try read("a,b,c\n1,2,x\n4,5,y\n") { $0.target = "b,c" } }
  }

  @Test("text that would make an endless schema is refused: long names, long categories, many long categories")
  func longText() throws {
    func table(columns: Int, rows: Int, bytes: Int) -> String {
      let filling = String(repeating: "x", count: bytes)
      let header = (0..<columns).map { "c\($0)," }.joined() + "y\n"
      return header
        + (0..<rows).map { row in
          (0..<columns).map { _ in "\(row) \(filling)," }.joined() + "\(row % 2)\n"
        }.joined()
    }
    let name = String(repeating: "n", count: 1001)
    #expect(try problems("\(name),y\n1,2\n3,4\n").first?.reason.contains("name is longer than 1000 bytes") == true)
    #expect(try problems(table(columns: 1, rows: 9, bytes: 900)).isEmpty)
    #expect(
      try problems(table(columns: 1, rows: 9, bytes: 1001)).first?.reason.contains("one of over 1000 bytes") == true)
    #expect(
      try problems(table(columns: 3, rows: 800, bytes: 900)).first?.reason.contains("more than 2097152") == true)
  }

  @Test("random damage is refused or read, and never crashes")
  func fuzz() throws {
    let scratch = try Scratch()
    let seed = Array("size,colour,level\n1,\"a,b\",x\n2,c,y\n3.5e1,\"q\"\"q\",x\n,c,y\n".utf8)
    var random = SystemRandomNumberGenerator()
    for _ in 0..<300 {
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
