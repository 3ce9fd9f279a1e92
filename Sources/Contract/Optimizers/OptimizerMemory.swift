// What an optimizer's state takes of memory for a given model, for the admission of jobs. Most keep so many floats for
// each parameter (OptimizerTraits); Shampoo and SOAP keep squares of a tensor's axes, which of narrow tensors are far
// larger than the tensors.

extension OptimizerSettings {
  /// Floats of state for each parameter of a model of tensors of these shapes, rounded up.
  public func stateFloatsPerParameter(of shapes: [[Int]]) -> Int {
    let count = Size.sum(shapes.lazy.map { Size.product($0) })
    let squares = Size.sum(shapes.lazy.map { squareFloats($0) })
    guard squares > 0, count > 0 else { return stateFloatsPerParameter }
    // Beside the squares at most three slots like the parameters. More than the bound fits nowhere.
    let accumulated = integer("accumulation") > 1 ? 1 : 0
    return max(stateFloatsPerParameter, 3 + accumulated + min(squares / count + 1, 1 << 40))
  }

  /// Floats of the square matrices that are kept for a tensor.
  private func squareFloats(_ dimensions: [Int]) -> Int {
    guard !dimensions.contains(0), name == .soap || name == .shampoo else { return 0 }
    /// A statistic and what is made of it.
    func pair(_ size: Int, times count: Int = 1) -> Int {
      Size.product([2, count, Size.sum(Size.product([size, size]), 15) / 16 * 16])
    }
    let sizeMax = integer("size_max")
    if name == .soap {
      guard dimensions.count > 1 || flag("rotate_vectors") else { return 0 }
      return Size.sum(dimensions.lazy.filter { $0 > 1 && $0 <= sizeMax }.map { pair($0) })
    }
    guard dimensions.allSatisfy({ $0 <= sizeMax }) else { return 0 }
    let blockMax = integer("block_size")
    let axes = ShampooAxes.merged(dimensions, productMax: flag("merge_axes") ? integer("merge_max") : 0)
    let blocks = Size.product(axes.map { ($0 + blockMax - 1) / blockMax })
    return Size.sum(
      axes.lazy.map { size in
        // Along this axis whole blocks and perhaps a shorter one, as often as the other axes have blocks.
        let others = blocks / ((size + blockMax - 1) / blockMax)
        return Size.sum(
          pair(blockMax, times: Size.product([others, size / blockMax])), pair(size % blockMax, times: others))
      })
  }
}

/// The axes of a tensor as Shampoo sees them.
public enum ShampooAxes {
  /// Neighbouring axes merged from the first on while their product is at most `productMax`; axes of one vanish. Empty
  /// for scalars and for tensors without elements.
  public static func merged(_ dimensions: [Int], productMax: Int) -> [Int] {
    guard !dimensions.isEmpty, !dimensions.contains(0) else { return [] }
    var merged: [Int] = []
    var product = 1
    for dimension in dimensions {
      if productMax > 0, product * dimension <= productMax {
        product *= dimension
      } else {
        if product > 1 { merged.append(product) }
        product = dimension
      }
    }
    return product > 1 || merged.isEmpty ? merged + [product] : merged
  }
}
