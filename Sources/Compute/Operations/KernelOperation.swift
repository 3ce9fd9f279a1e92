// KernelOperation: an operation with a kernel of its own. Each conforming type is one file in this folder, with its
// builder on Graph (the shape rules), its derivative and its kernel call; PlanBuilder places the memory.
import CKernels

/// An operation of a graph that one kernel computes.
///
/// The kernel gets the result in `p[0]`, then the operands in their order, then scratch memory where `work` asks for it.
package protocol KernelOperation: Sendable {
  /// The name used in messages.
  var name: String { get }

  /// Whether the kernel can end as a product does: with a bias for each column of its result, relu, or zeros where relu's
  /// result was not positive. Such an operation has two operands, its kernel gets `p` as `product` does (result, both
  /// operands, bias or NULL, mask or NULL, scratch), and PlanBuilder appends whether relu is wanted to its lengths.
  var takesEpilogue: Bool { get }

  /// The kernel call for these operand shapes.
  func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork

  /// What each operand of a node that `wants` a gradient receives from `dy`, the gradient of its value `y`: pairs of the
  /// operand's id and the amount. Throws where the operation has no derivative.
  func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)]
}

extension KernelOperation {
  package var takesEpilogue: Bool { false }

  /// Operations that only occur in a reverse pass are not differentiated again.
  func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    throw ComputeError(op: name, expected: "an operation with a gradient", got: "a second derivative")
  }
}

/// A kernel call before its operands have addresses.
package struct KernelWork {
  let kernel: ck_kernel
  /// Becomes `n` of the call, at most `CK_LENGTHS`.
  var lengths: [Int] = []
  /// Becomes `a` of the call, at most `CK_NUMBERS`.
  var numbers: [Float] = []
  /// Memory that only this call uses.
  var scratchFloats = 0
  /// Floating-point operations, for `Plan.flops`.
  var flops: Int
}

extension Graph {
  /// Adds a node of an operation whose shapes have been checked.
  mutating func append(
    _ operation: some KernelOperation, _ operands: [Value], _ shape: Shape, _ type: ElementType = .float32
  ) throws -> Value {
    try append(.kernel(operation), operands, shape, type)
  }

  /// Memory that one kernel fills for another: a forward kernel with this among its operands writes what its backward
  /// kernel, with the same operand, reads. It lives from the first of them to the last.
  mutating func workspace(_ shape: Shape) throws -> Value { try append(.workspace, [], shape) }

  /// Throws where an operand is not of floats.
  func floats(_ op: String, _ operands: [Value]) throws {
    for operand in operands where operand.type != .float32 {
      throw ComputeError(op: op, expected: "operands of float32", got: operand.type.rawValue)
    }
  }
}
