// The files of a tar archive one after another (POSIX ustar and pax, and GNU's long names), for folders of images.
import Foundation

/// Goes through a tar archive front to back.
struct TarReader {
  struct File {
    let name: String
    let bytes: Int
  }

  private static let blockBytes = 512
  /// How long the extended header of one file may be.
  private static let extensionBytesMax = 64 << 10

  private let reader: ByteReader
  /// What is left of the file last returned, with its padding.
  private var rest = 0
  private var padding = 0

  /// - Parameter reader: stands at the beginning of the archive, decompressed.
  init(_ reader: ByteReader) { self.reader = reader }

  /// The next regular file, or nil at the end. Folders and links are passed over.
  mutating func next() throws -> File? {
    try reader.skip(rest + padding, "a file of the tar archive")
    (rest, padding) = (0, 0)
    var longName: String?
    var longSize: Int?
    while true {
      let header = try block()
      if header.allSatisfy({ $0 == 0 }) { return nil }
      let size = try size(header)
      let padded = (size + Self.blockBytes - 1) / Self.blockBytes * Self.blockBytes
      switch header[156] {
      case UInt8(ascii: "L"):
        let bytes = try extended(size, padded)
        longName = String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      case UInt8(ascii: "x"):
        let (path, bytes) = try pax(extended(size, padded))
        longName = path ?? longName
        longSize = bytes ?? longSize
      case UInt8(ascii: "0"), 0, UInt8(ascii: "7"):
        rest = longSize ?? size
        padding = (Self.blockBytes - rest % Self.blockBytes) % Self.blockBytes
        guard rest <= DatasetBuilder.bytesMax else {
          throw DataFault("a file of the tar archive announces \(rest) bytes, more than the limit for one dataset")
        }
        let name = longName ?? self.name(header)
        guard !name.isEmpty, !name.contains("\0") else { throw damaged("it holds a file without a name") }
        return File(name: name, bytes: rest)
      default:
        try reader.skip(padded, "the tar archive")
        (longName, longSize) = (nil, nil)
      }
    }
  }

  /// The content of the file that ``next()`` returned last; to be called at most once for each.
  mutating func content() throws -> [UInt8] {
    defer { rest = 0 }
    return try reader.exactly(rest, "a file of the tar archive")
  }

  private func damaged(_ reason: String) -> DataFault { DataFault("the tar archive is damaged: \(reason)") }

  private func block() throws -> [UInt8] {
    let header = try reader.exactly(Self.blockBytes, "the tar archive")
    if header.allSatisfy({ $0 == 0 }) { return header }
    // The checksum is the sum of the header's bytes with its own field as spaces.
    let sum = header.indices.reduce(0) { $0 + ((148..<156).contains($1) ? 0x20 : Int(header[$1])) }
    guard octal(header[148..<156]) == sum else {
      throw DataFault(
        reader.offset == Self.blockBytes
          ? "the data is neither a ZIP archive nor a tar archive, plain or gzipped"
          : "the tar archive is damaged: a header's checksum is wrong")
    }
    return header
  }

  private func octal(_ field: ArraySlice<UInt8>) -> Int? {
    let digits = field.drop { $0 == 0x20 }.prefix { (0x30...0x37).contains($0) }
    return digits.isEmpty ? nil : Int(String(decoding: digits, as: UTF8.self), radix: 8)
  }

  private func size(_ header: [UInt8]) throws -> Int {
    // GNU's form of sizes that need more than eleven octal digits.
    if header[124] == 0x80 {
      guard header[125..<128].allSatisfy({ $0 == 0 }), header[128] < 0x40 else {
        throw damaged("a file has an impossible size")
      }
      return header[128..<136].reduce(0) { $0 << 8 | Int($1) }
    }
    guard let size = octal(header[124..<136]) else { throw damaged("a file has no size") }
    return size
  }

  private func name(_ header: [UInt8]) -> String {
    func text(_ range: Range<Int>) -> String { String(decoding: header[range].prefix { $0 != 0 }, as: UTF8.self) }
    let isUstar = header[257..<262].elementsEqual("ustar".utf8)
    let prefix = isUstar ? text(345..<500) : ""
    return prefix.isEmpty ? text(0..<100) : prefix + "/" + text(0..<100)
  }

  private func extended(_ size: Int, _ padded: Int) throws -> [UInt8] {
    guard size <= Self.extensionBytesMax else {
      throw damaged("an extended header announces \(size) bytes; the limit is \(Self.extensionBytesMax)")
    }
    return Array(try reader.exactly(padded, "the tar archive").prefix(size))
  }

  /// Path and size out of records like "27 path=folder/file.png\n".
  private func pax(_ bytes: [UInt8]) throws -> (path: String?, size: Int?) {
    var path: String?
    var size: Int?
    var rest = bytes[...]
    while !rest.isEmpty {
      let digits = rest.prefix { (0x30...0x39).contains($0) }
      guard digits.count <= 6, let length = Int(String(decoding: digits, as: UTF8.self)), length > digits.count + 1,
        length <= rest.count
      else { throw damaged("an extended header has a record of an impossible length") }
      let record = rest.prefix(length).dropFirst(digits.count + 1).dropLast()
      rest = rest.dropFirst(length)
      guard let equals = record.firstIndex(of: UInt8(ascii: "=")) else { continue }
      let value = String(decoding: record[(equals + 1)...], as: UTF8.self)
      switch String(decoding: record[..<equals], as: UTF8.self) {
      case "path": path = value
      case "size":
        guard let bytes = Int(value), bytes >= 0 else { throw damaged("a file has an impossible size") }
        size = bytes
      default: break
      }
    }
    return (path, size)
  }
}
