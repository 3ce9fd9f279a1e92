// Small datasets made from a formula, in the formats that clients upload.
import Foundation

enum SampleData {
  /// Flowers of three kinds in a table: two numbers, a colour, and the kind, which follows from them.
  static func csv(rows: Int) -> [UInt8] {
    var text = "length,width,colour,kind\n"
    for row in 0..<rows {
      let kind = row % 3
      let length = Double(kind) * 2 + Double(row * 37 % 100) / 100
      let width = 3 - Double(kind) + Double(row * 61 % 100) / 100
      text += "\(length),\(width),\(["red", "blue"][row % 2]),\(["iris", "rose", "tulip"][kind])\n"
    }
    return Array(text.utf8)
  }

  /// Images of 8 by 8 with one bright row, whose number is the label, as two IDX files.
  static func idx(rows: Int) -> (images: [UInt8], labels: [UInt8]) {
    func word(_ value: Int) -> [UInt8] { (0..<4).reversed().map { UInt8(value >> ($0 * 8) & 0xFF) } }
    var images: [UInt8] = [0, 0, 8, 3] + word(rows) + word(8) + word(8)
    var labels: [UInt8] = [0, 0, 8, 1] + word(rows)
    for row in 0..<rows {
      let label = row * 7 % 8
      for y in 0..<8 {
        for x in 0..<8 { images.append(y == label ? UInt8(200 + (row + x) % 50) : UInt8((row * x) % 30)) }
      }
      labels.append(UInt8(label))
    }
    return (images, labels)
  }

  /// Where Debian's package puts Fashion-MNIST.
  static let fashionFolder = "/usr/share/datasets/fashion-mnist"

  static var fashionFiles: [String] {
    ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"]
      .map { "\(fashionFolder)/\($0)-ubyte.gz" }
  }

  static var hasFashion: Bool { fashionFiles.allSatisfy(FileManager.default.fileExists) }
}
