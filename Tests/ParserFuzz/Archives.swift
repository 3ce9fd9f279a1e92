// Writes the small archives that seeds and wrapped images need, and mends the checksums of damaged ones.
import CZlib

private func little(_ value: Int, _ width: Int) -> [UInt8] {
  (0..<width).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
}

private func checksum(_ bytes: some Collection<UInt8>) -> Int {
  let bytes = Array(bytes)
  return Int(crc32(crc32(0, nil, 0), bytes, UInt32(bytes.count)))
}

/// A ZIP archive of stored entries.
func zipFile(_ files: [(String, [UInt8])]) -> [UInt8] {
  var bytes: [UInt8] = []
  var directory: [UInt8] = []
  for (name, content) in files {
    let fields =
      little(20, 2) + little(0, 2) + little(0, 2) + little(0, 4) + little(checksum(content), 4)
      + little(content.count, 4) + little(content.count, 4) + little(name.utf8.count, 2) + little(0, 2)
    directory +=
      little(0x0201_4B50, 4) + little(20, 2) + fields + little(0, 2) + little(0, 2) + little(0, 2) + little(0, 4)
      + little(bytes.count, 4) + Array(name.utf8)
    bytes += little(0x0403_4B50, 4) + fields + Array(name.utf8) + content
  }
  let end =
    little(0x0605_4B50, 4) + little(0, 4) + little(files.count, 2) + little(files.count, 2)
    + little(directory.count, 4) + little(bytes.count, 4) + little(0, 2)
  return bytes + directory + end
}

/// Writes each stored entry's true checksum into the directory, where the directory can be followed.
@Sendable func mendZip(_ input: [UInt8]) -> [UInt8] {
  var bytes = input
  func number(_ place: Int, _ width: Int) -> Int? {
    place >= 0 && place + width <= bytes.count
      ? bytes[place..<place + width].reversed().reduce(0) { $0 << 8 | Int($1) } : nil
  }
  guard var place = number(bytes.count - 6, 4) else { return bytes }
  while number(place, 4) == 0x0201_4B50, let size = number(place + 20, 4), let name = number(place + 28, 2),
    let start = number(place + 42, 4), let extra = number(start + 28, 2), let local = number(start + 26, 2),
    start + 30 + local + extra + size <= bytes.count
  {
    let data = start + 30 + local + extra
    bytes.replaceSubrange(place + 16..<place + 20, with: little(checksum(bytes[data..<data + size]), 4))
    place += 46 + name
  }
  return bytes
}

/// A plain ustar archive.
@Sendable func tarFile(_ files: [(String, [UInt8])]) -> [UInt8] {
  var bytes: [UInt8] = []
  for (name, content) in files {
    var header = [UInt8](repeating: 0, count: 512)
    header.replaceSubrange(0..<name.utf8.count, with: name.utf8)
    let size = String(content.count, radix: 8)
    header.replaceSubrange(124..<135, with: (String(repeating: "0", count: 11 - size.count) + size).utf8)
    header[156] = UInt8(ascii: "0")
    header.replaceSubrange(257..<262, with: "ustar".utf8)
    bytes += mendTar(header) + content + [UInt8](repeating: 0, count: (512 - content.count % 512) % 512)
  }
  return bytes + [UInt8](repeating: 0, count: 1024)
}

/// Writes the true checksum into every block that looks like a header.
@Sendable func mendTar(_ input: [UInt8]) -> [UInt8] {
  var bytes = input
  for block in stride(from: 0, to: bytes.count - 511, by: 512)
  where bytes[(block + 257)..<(block + 262)].elementsEqual("ustar".utf8) {
    bytes.replaceSubrange(block + 148..<block + 156, with: [UInt8](repeating: 0x20, count: 8))
    let sum = String(bytes[block..<block + 512].reduce(0) { $0 + Int($1) }, radix: 8)
    bytes.replaceSubrange(
      block + 148..<block + 156, with: (String(repeating: "0", count: 6 - sum.count) + sum + "\0 ").utf8)
  }
  return bytes
}

/// Writes the true checksum behind every chunk that can be followed.
@Sendable func mendPNG(_ input: [UInt8]) -> [UInt8] {
  var bytes = input
  var place = 8
  while place + 12 <= bytes.count {
    let count = bytes[place..<place + 4].reduce(0) { $0 << 8 | Int($1) }
    guard place + 12 + count <= bytes.count else { break }
    let sum = checksum(bytes[(place + 4)..<(place + 8 + count)])
    bytes.replaceSubrange(place + 8 + count..<place + 12 + count, with: little(sum, 4).reversed())
    place += 12 + count
  }
  return bytes
}
