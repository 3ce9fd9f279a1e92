// The directory of a ZIP archive and its entries, for NPZ files and folders of images. Everything an archive announces
// is checked against the file before an entry is read; ByteReader checks what comes out against it.
import Foundation

/// A ZIP archive that lies in a file.
final class ZipArchive {
  struct Entry {
    let name: String
    let compressedBytes: Int
    let isDeflated: Bool
    let announced: ByteReader.Announced
    /// Where its local header begins, and where the next thing in the file does.
    let start: Int
    fileprivate(set) var end: Int
  }

  /// The most that DEFLATE can make of one byte.
  private static let ratioMax = 1032
  private static let directoryBytesMax = 32 << 20
  private static let endBytes = 22

  /// Files in the order of the directory, without folders.
  private(set) var entries: [Entry] = []
  private let descriptor: Int32

  /// Reads the directory of the archive in `file`.
  ///
  /// - Throws: ``DataFault`` for an archive that is damaged, dishonest, or of a kind that is not read.
  init(file: URL) throws {
    descriptor = open(file.path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw StorageError("the archive cannot be read") }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw StorageError("the archive cannot be read") }
    let fileBytes = Int(status.st_size)
    let tailBytes = min(fileBytes, Self.endBytes + 0xFFFF)
    let tail = try bytes(at: fileBytes - tailBytes, count: tailBytes)
    // The comment at the end may hold anything, so the last record whose comment ends with the file is the one.
    guard
      let end = (0...max(0, tailBytes - Self.endBytes)).reversed().first(where: {
        tailBytes >= Self.endBytes && tail.little32($0) == 0x0605_4B50
          && $0 + Self.endBytes + tail.little16($0 + 20) == tailBytes
      })
    else { throw DataFault("the ZIP archive has no directory at its end: is it cut off, or another format?") }
    let count = tail.little16(end + 10)
    let directoryBytes = tail.little32(end + 12)
    let place = tail.little32(end + 16)
    guard count != 0xFFFF, directoryBytes != 0xFFFF_FFFF, place != 0xFFFF_FFFF else {
      throw DataFault("the archive is ZIP64 (over 65,534 files or 4 GiB), which is not read; use tar instead")
    }
    guard tail.little16(end + 4) == 0, tail.little16(end + 6) == 0, tail.little16(end + 8) == count else {
      throw DataFault("the ZIP archive is in several volumes; join them first")
    }
    let directoryEnd = fileBytes - tailBytes + end
    guard place + directoryBytes == directoryEnd, directoryBytes <= Self.directoryBytesMax else {
      throw DataFault(
        "the ZIP archive's directory should take \(directoryBytes) bytes from byte \(place) and end at byte "
          + "\(directoryEnd); the archive is damaged or something was put in front of it")
    }
    try readDirectory(bytes(at: place, count: directoryBytes), count: count, place: place)
  }

  deinit { close(descriptor) }

  private func bytes(at place: Int, count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var done = 0
    while done < count {
      let got = bytes.withUnsafeMutableBytes {
        pread(descriptor, $0.baseAddress! + done, count - done, off_t(place + done))
      }
      guard got > 0 else { throw StorageError("the archive cannot be read") }
      done += got
    }
    return bytes
  }

  private func readDirectory(_ directory: [UInt8], count: Int, place: Int) throws {
    var position = 0
    var names: Set<String> = []
    var total = 0
    let totalMax = max(ByteReader.compressionBytesFree, ByteReader.compressionMax * (place + directory.count))
    for index in 0..<count {
      guard position + 46 <= directory.count, directory.little32(position) == 0x0201_4B50 else {
        throw DataFault("the ZIP archive's directory is damaged at entry \(index + 1) of \(count)")
      }
      let nameBytes = directory.little16(position + 28)
      let next = position + 46 + nameBytes + directory.little16(position + 30) + directory.little16(position + 32)
      guard next <= directory.count else {
        throw DataFault("the ZIP archive's directory is damaged at entry \(index + 1) of \(count)")
      }
      let rawName = directory[(position + 46)..<(position + 46 + nameBytes)]
      guard let name = String(validating: rawName, as: UTF8.self), !name.isEmpty, !rawName.contains(0) else {
        throw DataFault("the name of entry \(index + 1) of the ZIP archive is not UTF-8; rename the file")
      }
      guard names.insert(name).inserted else { throw DataFault(column: name, "stands twice in the archive") }
      let entry = try entry(directory, position, name)
      guard entry.start + 30 + nameBytes + entry.compressedBytes <= place else {
        throw DataFault(column: name, "reaches into the archive's directory: the archive is damaged")
      }
      total += entry.announced.bytes
      guard total <= DatasetBuilder.bytesMax else {
        throw DataFault(
          "the archive unpacks to more than \(DatasetBuilder.bytesMax) bytes, the limit for one dataset")
      }
      guard total <= totalMax else { throw ByteReader.inflated }
      entries.append(entry)
      position = next
    }
    guard position == directory.count else { throw DataFault("the ZIP archive's directory has more than its entries") }
    // In the order of the file, no entry may reach into the next: that is how small archives unpack to endless data.
    let order = entries.indices.sorted { entries[$0].start < entries[$1].start }
    for (rank, index) in order.enumerated() {
      entries[index].end = rank + 1 < order.count ? entries[order[rank + 1]].start : place
      let entry = entries[index]
      guard entry.start + 30 + entry.name.utf8.count + entry.compressedBytes <= entry.end else {
        throw DataFault(column: entry.name, "overlaps another entry of the archive")
      }
    }
    entries.removeAll { $0.name.hasSuffix("/") }
  }

  private func entry(_ directory: [UInt8], _ position: Int, _ name: String) throws -> Entry {
    let flags = directory.little16(position + 8)
    let method = directory.little16(position + 10)
    let compressed = directory.little32(position + 20)
    let bytes = directory.little32(position + 24)
    let start = directory.little32(position + 42)
    guard flags & 0x2041 == 0 else {
      throw DataFault(column: name, "is encrypted; upload the archive without password")
    }
    guard method == 0 || method == 8 else {
      throw DataFault(
        column: name, "is compressed by ZIP method \(method); only stored and deflated entries are read")
    }
    guard compressed != 0xFFFF_FFFF, bytes != 0xFFFF_FFFF, start != 0xFFFF_FFFF else {
      throw DataFault(column: name, "is a ZIP64 entry (over 4 GiB), which is not read; make it smaller")
    }
    guard method == 8 || bytes == compressed else {
      throw DataFault(column: name, "is stored in \(compressed) bytes but announces \(bytes)")
    }
    guard method == 0 || bytes <= compressed * Self.ratioMax else {
      throw DataFault(
        column: name, "announces \(bytes) bytes in \(compressed) compressed ones, more than compression can do")
    }
    return Entry(
      name: name, compressedBytes: compressed, isDeflated: method == 8,
      announced: .init(name: name, bytes: bytes, crc: UInt(directory.little32(position + 16))), start: start, end: start
    )
  }

  /// Reads an entry from its beginning. The archive must live as long as the reader.
  func reader(of entry: Entry) throws -> ByteReader {
    let header = try bytes(at: entry.start, count: 30)
    let nameBytes = header.little16(26)
    let data = entry.start + 30 + nameBytes + header.little16(28)
    guard header.little32(0) == 0x0403_4B50, header.little16(8) == (entry.isDeflated ? 8 : 0),
      data + entry.compressedBytes <= entry.end,
      try bytes(at: entry.start + 30, count: nameBytes) == Array(entry.name.utf8)
    else { throw DataFault(column: entry.name, "its header contradicts the archive's directory") }
    return try ByteReader(
      descriptor: descriptor, range: data..<(data + entry.compressedBytes),
      encoding: entry.isDeflated ? .deflated : .stored, announced: entry.announced)
  }
}

extension [UInt8] {
  fileprivate func little16(_ place: Int) -> Int { Int(self[place]) | Int(self[place + 1]) << 8 }
  fileprivate func little32(_ place: Int) -> Int { little16(place) | little16(place + 2) << 16 }
}
