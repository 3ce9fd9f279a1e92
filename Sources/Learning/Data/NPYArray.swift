// One array of the NPY format: its header, checked, and its elements as numbers. ArrayTable.swift makes datasets of
// several. Format: numpy.lib.format, versions 1 to 3.
import Foundation

/// What the header of an array says.
struct NPYHeader: Equatable {
  enum Kind: Character { case bool = "b", signed = "i", unsigned = "u", float = "f" }

  let name: String
  let kind: Kind
  /// Bytes of an element.
  let width: Int
  let isBigEndian: Bool
  let shape: [Int]

  var rows: Int { shape[0] }
  var valuesPerRow: Int { shape.dropFirst().reduce(1, *) }
  var bytesPerRow: Int { valuesPerRow * width }
  var isInteger: Bool { kind != .float }

  private static let headerBytesMax = 16 << 10
  static let ranks = 1...5
  static let valuesPerRowMax = 16 << 20

  /// Reads the header that `reader` stands at; `name` is what faults call the array.
  static func read(_ reader: ByteReader, name: String) throws -> NPYHeader {
    let magic = try reader.exactly(8, "the header of \(name)")
    guard magic.starts(with: [0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59]), (1...3).contains(magic[6]), magic[7] == 0 else {
      throw DataFault(column: name, "is no NPY array of version 1 to 3, as numpy.save writes them")
    }
    let count = try reader.exactly(magic[6] == 1 ? 2 : 4, "the header of \(name)")
    let bytes = count.reversed().reduce(0) { $0 << 8 | Int($1) }
    guard bytes <= headerBytesMax else {
      throw DataFault(column: name, "its header takes \(bytes) bytes; the limit is \(headerBytesMax)")
    }
    var parser = PythonLiteral(bytes: try reader.exactly(bytes, "the header of \(name)"), name: name)
    let (type, isFortran, shape) = try parser.header()
    guard ranks.contains(shape.count) else {
      throw DataFault(
        column: name,
        "has \(shape.count) dimensions; expected \(ranks.lowerBound) to \(ranks.upperBound), the first for the rows")
    }
    guard shape.allSatisfy({ $0 > 0 }) else { throw DataFault(column: name, "is empty: its shape is \(shape)") }
    guard !isFortran || shape.filter({ $0 > 1 }).count <= 1 else {
      throw DataFault(
        column: name, "is in Fortran order (column by column); save numpy.ascontiguousarray(array) instead")
    }
    let (kind, width, isBigEndian) = try element(type, name)
    var values = width
    for (place, size) in shape.enumerated() {
      let (product, overflow) = values.multipliedReportingOverflow(by: size)
      guard !overflow, product <= DatasetBuilder.bytesMax else {
        throw DataFault(
          column: name, "announces the shape \(shape), more than the limit of \(DatasetBuilder.bytesMax) bytes")
      }
      values = product
      guard place != 0 else { continue }
      guard values / shape[0] <= valuesPerRowMax * width else {
        throw DataFault(column: name, "a row of the shape \(shape) has more than \(valuesPerRowMax) values, the limit")
      }
    }
    return NPYHeader(name: name, kind: kind, width: width, isBigEndian: isBigEndian, shape: shape)
  }

  private static func element(_ type: String, _ name: String) throws -> (Kind, width: Int, isBigEndian: Bool) {
    let order = type.first ?? " "
    let letter = type.dropFirst().first ?? " "
    let width = Int(type.dropFirst(2)) ?? 0
    let widths: [Kind: Set<Int>] = [
      .bool: [1], .signed: [1, 2, 4, 8], .unsigned: [1, 2, 4, 8], .float: [2, 4, 8],
    ]
    guard let kind = Kind(rawValue: letter), widths[kind]?.contains(width) == true, "<>|=".contains(order),
      order != "|" || width == 1
    else {
      let advice =
        letter == "O"
        ? "Python objects are never unpickled; convert it with array.astype(numpy.float32)"
        : letter == "U" || letter == "S"
          ? "text is not read; number the classes: numpy.unique(y, return_inverse=True)[1]"
          : "convert it with array.astype(numpy.float32)"
      throw DataFault(
        column: name, "has elements of the type \(DataFault.quoted(type)); expected bool, integers or floats: \(advice)"
      )
    }
    return (kind, width, order == ">")
  }

  // MARK: Elements

  /// Writes the elements in `bytes` as floats; returns the place of the first that is not finite as a Float32.
  func floats(_ bytes: UnsafeRawBufferPointer, into floats: inout [Float]) -> Int? {
    floats.withUnsafeMutableBufferPointer { out in
      switch (kind, width) {
      case (.float, 2): fill(out, bytes) { Float(Float16(bitPattern: $0)) }
      case (.float, 4): fill(out, bytes) { Float(bitPattern: $0) }
      case (.float, 8): fill(out, bytes) { Float(Double(bitPattern: $0)) }
      case (.signed, 1): fill(out, bytes) { (bits: UInt8) in Float(Int8(bitPattern: bits)) }
      case (.signed, 2): fill(out, bytes) { Float(Int16(bitPattern: $0)) }
      case (.signed, 4): fill(out, bytes) { Float(Int32(bitPattern: $0)) }
      case (.signed, _): fill(out, bytes) { Float(Int64(bitPattern: $0)) }
      case (_, 1): fill(out, bytes) { (bits: UInt8) in Float(bits) }
      case (_, 2): fill(out, bytes) { (bits: UInt16) in Float(bits) }
      case (_, 4): fill(out, bytes) { (bits: UInt32) in Float(bits) }
      default: fill(out, bytes) { (bits: UInt64) in Float(bits) }
      }
      return kind == .float ? out.firstIndex { !$0.isFinite } : nil
    }
  }

  /// Writes the elements in `bytes` as integers; nil for those that need more than 64 bits with sign.
  func integers(_ bytes: UnsafeRawBufferPointer, into integers: inout [Int?]) {
    integers.withUnsafeMutableBufferPointer { out in
      switch (kind, width) {
      case (.signed, 1): fill(out, bytes) { (bits: UInt8) in Int(Int8(bitPattern: bits)) }
      case (.signed, 2): fill(out, bytes) { Int(Int16(bitPattern: $0)) }
      case (.signed, 4): fill(out, bytes) { Int(Int32(bitPattern: $0)) }
      case (.signed, _): fill(out, bytes) { Int(Int64(bitPattern: $0)) }
      case (_, 1): fill(out, bytes) { (bits: UInt8) in Int(bits) }
      case (_, 2): fill(out, bytes) { (bits: UInt16) in Int(bits) }
      case (_, 4): fill(out, bytes) { (bits: UInt32) in Int(bits) }
      default: fill(out, bytes) { (bits: UInt64) in Int(exactly: bits) }
      }
    }
  }

  @inline(__always)
  private func fill<Bits: FixedWidthInteger, Value>(
    _ out: UnsafeMutableBufferPointer<Value>, _ bytes: UnsafeRawBufferPointer, _ value: (Bits) -> Value
  ) {
    for index in out.indices {
      let bits = bytes.loadUnaligned(fromByteOffset: index * MemoryLayout<Bits>.size, as: Bits.self)
      out[index] = value(isBigEndian ? Bits(bigEndian: bits) : Bits(littleEndian: bits))
    }
  }
}

/// The dictionary of an NPY header: the few forms of Python's literals that numpy writes there, and no others.
private struct PythonLiteral {
  let bytes: [UInt8]
  let name: String
  private var position = 0

  init(bytes: [UInt8], name: String) {
    self.bytes = bytes
    self.name = name
  }

  mutating func header() throws -> (type: String, isFortran: Bool, shape: [Int]) {
    var type: String?
    var isFortran: Bool?
    var shape: [Int]?
    try expect("{")
    while !take("}") {
      let key = try string()
      try expect(":")
      switch key {
      case "descr":
        if next == "[" {
          throw DataFault(column: name, "is a structured array; save its fields as arrays of their own")
        }
        type = try string()
      case "fortran_order": isFortran = try truth()
      case "shape": shape = try tuple()
      default: throw damaged("it has the unknown key \(DataFault.quoted(key))")
      }
      if !take(",") {
        try expect("}")
        break
      }
    }
    skipSpace()
    guard position == bytes.count else { throw damaged("something follows the dictionary") }
    guard let type, let isFortran, let shape else { throw damaged("it lacks descr, fortran_order or shape") }
    return (type, isFortran, shape)
  }

  private func damaged(_ reason: String) -> DataFault { DataFault(column: name, "its header is damaged: \(reason)") }

  private mutating func skipSpace() {
    while position < bytes.count, [0x20, 0x0A].contains(bytes[position]) { position += 1 }
  }

  private var next: Character? {
    mutating get {
      skipSpace()
      return position < bytes.count ? Character(Unicode.Scalar(bytes[position])) : nil
    }
  }

  private mutating func take(_ character: Character) -> Bool {
    guard next == character else { return false }
    position += 1
    return true
  }

  private mutating func expect(_ character: Character) throws {
    guard take(character) else { throw damaged("expected '\(character)' at byte \(position)") }
  }

  private mutating func string() throws -> String {
    guard let quote = next, quote == "'" || quote == "\"", let code = quote.asciiValue,
      let end = bytes[(position + 1)...].firstIndex(of: code)
    else { throw damaged("expected a string at byte \(position)") }
    defer { position = end + 1 }
    return String(decoding: bytes[(position + 1)..<end], as: UTF8.self)
  }

  private mutating func truth() throws -> Bool {
    skipSpace()
    for (word, value) in [("True", true), ("False", false)] where bytes[position...].starts(with: word.utf8) {
      position += word.utf8.count
      return value
    }
    throw damaged("expected True or False at byte \(position)")
  }

  private mutating func tuple() throws -> [Int] {
    var sizes: [Int] = []
    try expect("(")
    while !take(")") {
      skipSpace()
      let digits = bytes[position...].prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
      guard digits.count <= 18, let size = Int(String(decoding: digits, as: UTF8.self)) else {
        throw damaged("expected a size at byte \(position)")
      }
      sizes.append(size)
      position += digits.count
      // Old versions of Python wrote long integers so.
      _ = take("L")
      guard sizes.count <= 32 else { throw damaged("it has more than 32 dimensions") }
      if !take(",") {
        try expect(")")
        break
      }
    }
    return sizes
  }
}
