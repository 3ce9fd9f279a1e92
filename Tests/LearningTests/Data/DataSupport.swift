// What the tests of data formats share: a folder, uploads built in it, gzip, and single targets.
import CZlib
import Contract
import Foundation

@testable import Learning

/// A folder of its own for one test.
final class Scratch {
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

func gzip(_ bytes: [UInt8]) -> [UInt8] {
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

/// A small upload that was recorded beside the tests.
func fixture(_ name: String) throws -> [UInt8] {
  let url = Bundle.module.resourceURL!.appending(path: "Fixtures/data/\(name)")
  return Array(try Data(contentsOf: url))
}

extension RandomAccessCollection<UInt8> {
  /// Where `bytes` first stand.
  func place(of bytes: [UInt8]) -> Index? {
    indices.first { self[$0...].starts(with: bytes) }
  }
}

/// An NPY file.
func npyBytes(_ type: String, _ shape: String, _ payload: [UInt8], fortran: Bool = false) -> [UInt8] {
  let text = "{'descr': '\(type)', 'fortran_order': \(fortran ? "True" : "False"), 'shape': \(shape), }\n"
  let count = text.utf8.count
  return [0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(count & 255), UInt8(count >> 8)] + Array(text.utf8) + payload
}
