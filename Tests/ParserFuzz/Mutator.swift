// Damages seeds: bits, bytes, numbers of a header, pieces moved, cut off or taken from another seed, words of the format.
import Foundation

/// Makes inputs by number, so that one that failed can be made again.
struct Mutator {
  private let parser: FuzzedParser
  private let tokens: [[UInt8]]

  private static let bytesMax = 1 << 16
  /// Numbers at the edges of what fields can hold.
  private static let edges: [UInt64] = [
    0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0xFF_FFFF, 0x7FFF_FFFF, 0x8000_0000,
    0xFFFF_FFFF, 0x1_0000_0000, 0x7FFF_FFFF_FFFF_FFFF, 0x8000_0000_0000_0000, .max,
  ]

  init(_ parser: FuzzedParser) {
    self.parser = parser
    tokens = parser.tokens.map { Array($0.utf8) }
  }

  /// Input `number` of a run.
  func input(_ number: Int, seed: UInt64) -> [UInt8] {
    var random = SplitMix(state: seed &* 0x9E37_79B9_7F4A_7C15 ^ UInt64(number) &* 0xD1B5_4A32_D192_ED03)
    var bytes = parser.seeds[Int.random(in: parser.seeds.indices, using: &random)]
    for _ in 0..<Int.random(in: 1...5, using: &random) { mutate(&bytes, &random) }
    if bytes.count > Self.bytesMax { bytes.removeLast(bytes.count - Self.bytesMax) }
    return Bool.random(using: &random) ? parser.mend(bytes) : bytes
  }

  private func mutate(_ bytes: inout [UInt8], _ random: inout SplitMix) {
    guard !bytes.isEmpty else {
      bytes = parser.seeds[0]
      return
    }
    let place = Int.random(in: bytes.indices, using: &random)
    let count = Int.random(in: 1...max(1, min(64, bytes.count - place)), using: &random)
    switch Int.random(in: 0..<12, using: &random) {
    case 0, 1: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
    case 2: bytes[place] = .random(in: 0...255, using: &random)
    case 3: bytes.insert(contentsOf: (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }, at: place)
    case 4: bytes.removeSubrange(place..<min(bytes.count, place + count))
    case 5: bytes.insert(contentsOf: bytes[place..<min(bytes.count, place + count)], at: place)
    case 6: bytes.removeLast(bytes.count - place)
    case 7:
      let other = parser.seeds[Int.random(in: parser.seeds.indices, using: &random)]
      let from = Int.random(in: other.indices, using: &random)
      bytes.replaceSubrange(place..., with: other[from...])
    case 8, 9: overwrite(&bytes, place, &random)
    case 10 where !tokens.isEmpty:
      let token = tokens[Int.random(in: tokens.indices, using: &random)]
      let end = Bool.random(using: &random) ? place : min(bytes.count, place + token.count)
      bytes.replaceSubrange(place..<end, with: token)
    default:
      // A digit where a digit was: headers in text hold sizes.
      if let digit = bytes[place...].firstIndex(where: { (0x30...0x39).contains($0) }) {
        bytes[digit] = .random(in: 0x30...0x39, using: &random)
      } else {
        bytes[place] &+= 1
      }
    }
  }

  /// A number at the edge, or one beside what stands there, in either byte order.
  private func overwrite(_ bytes: inout [UInt8], _ place: Int, _ random: inout SplitMix) {
    let width = [1, 2, 4, 8][Int.random(in: 0..<4, using: &random)]
    guard place + width <= bytes.count else { return }
    let isBig = Bool.random(using: &random)
    let order = isBig ? Array((place..<place + width).reversed()) : Array(place..<place + width)
    var value = Self.edges[Int.random(in: Self.edges.indices, using: &random)]
    if Bool.random(using: &random) {
      value = order.reversed().reduce(0) { $0 << 8 | UInt64(bytes[$1]) }
      value &+= UInt64(bitPattern: Int64.random(in: -4...4, using: &random))
    }
    for (index, at) in order.enumerated() { bytes[at] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index)) }
  }
}

/// Numbers from a seed.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ word >> 30) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ word >> 27) &* 0x94D0_49BB_1331_11EB
    return word ^ word >> 31
  }
}
