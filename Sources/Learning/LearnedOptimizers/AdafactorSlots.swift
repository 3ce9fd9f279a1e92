// AdafactorSlots: the accumulators that small_fc and Celo keep for each tensor, their shapes and their place in the
// optimizer's state. Which axes are factored is decided here; OptimizerKernels hands the result to the C kernels.
import Compute

/// The two axes over which Adafactor averages a tensor of rank two or more (Shazeer & Stern 2018, arXiv 1804.04235).
///
/// Axes are sorted by size, ascending and stably: of equal sizes the lower axis comes first. `largest` is the last
/// of them, d0; `second` the one before, d1. A square matrix has second 0 and largest 1.
struct FactoredAxes: Sendable, Hashable {
  let largest: Int
  let second: Int

  /// The axes of `shape`, or nil for fewer than two.
  init?(_ shape: Shape) {
    guard shape.rank >= 2 else { return nil }
    let ascending = shape.dimensions.indices.sorted {
      (shape[$0], $0) < (shape[$1], $1)
    }
    largest = ascending[ascending.count - 1]
    second = ascending[ascending.count - 2]
  }
}

/// The accumulators of one tensor and how the kernels walk it.
///
/// All are zero at the start. With three decays j each: momentum [3, shape]; rms [shape] (one decay); and either row
/// [3, shape without the largest axis] and column [3, shape without the second largest], or for tensors of at most one
/// axis diagonal [3, shape].
struct AdafactorSlots: Sendable {
  /// The tensor as the kernels see it: [outer, a, middle, b, inner] where a and b are the factored axes in memory
  /// order. The statistic that lost b is the "line", the one that lost a the "lane".
  struct View: Sendable, Hashable {
    var outer = 1
    var a = 1
    var middle = 1
    var b = 1
    var inner = 1
    /// Whether the line is Adafactor's row, which lost the largest axis.
    var rowIsLine = true
  }

  static let decays = 3

  /// Nil for tensors that are not factored.
  let view: View?
  /// The slots in the order they lie in: momentum, rms, then row and column, or diagonal.
  let slots: [(name: String, shape: Shape)]

  init(tensor: ParameterLayout.Tensor) {
    let shape = tensor.shape.dimensions
    var slots: [(name: String, shape: Shape)] = [
      ("momentum/\(tensor.name)", Shape([Self.decays] + shape)), ("rms/\(tensor.name)", tensor.shape),
    ]
    guard let axes = FactoredAxes(tensor.shape) else {
      view = nil
      slots.append(("diagonal/\(tensor.name)", Shape([Self.decays] + shape)))
      self.slots = slots
      return
    }
    func without(_ axis: Int) -> Shape {
      Shape([Self.decays] + shape.indices.filter { $0 != axis }.map { shape[$0] })
    }
    slots.append(("row/\(tensor.name)", without(axes.largest)))
    slots.append(("column/\(tensor.name)", without(axes.second)))
    self.slots = slots
    let (first, last) = (min(axes.largest, axes.second), max(axes.largest, axes.second))
    var view = View(
      outer: shape[..<first].reduce(1, *), a: shape[first], middle: shape[(first + 1)..<last].reduce(1, *),
      b: shape[last], inner: shape[(last + 1)...].reduce(1, *), rowIsLine: axes.largest == last)
    if view.b == 1, view.a > 1 {
      // [n, 1] lies in memory as [1, n] does, and the kernels are fast along the last axis. All other axes are 1 too.
      view = View(b: view.a)
    }
    self.view = view
  }
}
