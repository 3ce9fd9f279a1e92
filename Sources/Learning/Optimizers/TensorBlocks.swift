// TensorBlocks: how Shampoo cuts a tensor into blocks small enough for its matrices. Shampoo.swift is the only user.
import Compute
import Contract

/// A tensor's axes merged where they are short, then cut into blocks of at most so many elements along each axis.
///
/// Neighbouring axes are merged from the first on while their product stays within a bound; axes of one vanish. The last
/// block of an axis is smaller where the axis is no multiple.
struct TensorBlocks: Sendable {
  /// One block: where its first element lies, and how long it is along each merged axis.
  struct Block: Sendable {
    let offset: Int
    let dimensions: [Int]
    var count: Int { dimensions.reduce(1, *) }
  }

  /// The merged axes; empty for a scalar and a tensor without elements.
  let dimensions: [Int]
  let blocks: [Block]
  private let strides: [Int]

  init(_ shape: Shape, mergeMax: Int, blockMax: Int) {
    let merged = ShampooAxes.merged(shape.dimensions, productMax: mergeMax)
    dimensions = merged
    var strides = [Int](repeating: 1, count: merged.count)
    for axis in merged.indices.dropLast().reversed() { strides[axis] = strides[axis + 1] * merged[axis + 1] }
    self.strides = strides
    var blocks = merged.isEmpty ? [] : [Block(offset: 0, dimensions: [])]
    for (axis, dimension) in merged.enumerated() {
      blocks = blocks.flatMap { block in
        stride(from: 0, to: dimension, by: blockMax).map { start in
          Block(
            offset: block.offset + start * strides[axis],
            dimensions: block.dimensions + [min(blockMax, dimension - start)])
        }
      }
    }
    self.blocks = blocks
  }

  /// Copies a block's elements out of the tensor, one after another.
  func gather(_ block: Block, from tensor: UnsafePointer<Float>, into out: UnsafeMutablePointer<Float>) {
    let length = block.dimensions[block.dimensions.count - 1]
    for row in 0..<block.count / length {
      (out + row * length).update(from: tensor + place(row, in: block), count: length)
    }
  }

  /// Copies a block's elements back to their places.
  func scatter(_ block: Block, from elements: UnsafePointer<Float>, into tensor: UnsafeMutablePointer<Float>) {
    let length = block.dimensions[block.dimensions.count - 1]
    for row in 0..<block.count / length {
      (tensor + place(row, in: block)).update(from: elements + row * length, count: length)
    }
  }

  /// Where a block's `row`-th run along the last axis starts in the tensor.
  private func place(_ row: Int, in block: Block) -> Int {
    var rest = row
    var offset = block.offset
    for axis in stride(from: block.dimensions.count - 2, through: 0, by: -1) {
      offset += rest % block.dimensions[axis] * strides[axis]
      rest /= block.dimensions[axis]
    }
    return offset
  }
}
