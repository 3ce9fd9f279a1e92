// StridedCopy: the axes and strides of a copy between a contiguous tensor and one laid out otherwise. Transpose, Slice,
// Broadcast and Pad give their kernels' lengths by it.

/// The axes of a contiguous tensor, each with its stride in the memory of another, as the kernels take them.
struct StridedCopy {
  /// How many axes a kernel has: neighbours that are one run of memory in both tensors count as one.
  static let axesMax = 7

  /// (length, stride) of each axis, outermost first; none has length 1.
  private(set) var axes: [(length: Int, stride: Int)] = []
  let offset: Int

  /// Merges axes where the outer continues the inner in both tensors.
  init(lengths: [Int], strides: [Int], offset: Int = 0) {
    self.offset = offset
    for (length, stride) in zip(lengths, strides) where length > 1 {
      if let outer = axes.last, outer.stride == length * stride {
        axes[axes.count - 1] = (outer.length * length, stride)
      } else {
        axes.append((length, stride))
      }
    }
  }

  /// The kernel's lengths, strides and offset.
  var arguments: [Int] {
    let unused = Self.axesMax - axes.count
    return [Int](repeating: 1, count: unused) + axes.map(\.length) + [Int](repeating: 0, count: unused)
      + axes.map(\.stride) + [offset]
  }

  /// Throws where the copy has more axes than the kernels.
  func check(_ op: String) throws {
    guard axes.count <= Self.axesMax else {
      throw ComputeError(
        op: op, expected: "at most \(Self.axesMax) axes that are not one run of memory", got: "\(axes.count)")
    }
  }
}

extension Shape {
  /// The distance in elements between neighbours along each axis of a dense row-major tensor.
  var strides: [Int] {
    var strides = [Int](repeating: 1, count: rank)
    for axis in dimensions.indices.dropLast().reversed() { strides[axis] = strides[axis + 1] * dimensions[axis + 1] }
    return strides
  }

  /// The shape with another length along one axis.
  func replacing(_ axis: Int, by length: Int) -> Shape {
    var dimensions = dimensions
    dimensions[axis] = length
    return Shape(dimensions)
  }

  /// Throws where the shape has no such axis.
  func check(axis: Int, _ op: String) throws {
    guard dimensions.indices.contains(axis) else {
      throw ComputeError(op: op, expected: "an axis in 0..<\(rank) of \(self)", got: "\(axis)")
    }
  }
}
