// SideResult: a second result of an operation. A kernel with several results writes one to its node and the others to
// workspaces; this makes a value of such a workspace.
import CKernels

/// (workspace, the node whose kernel filled it): the workspace's elements from `first` on.
struct SideResult: KernelOperation {
  let first: Int

  var name: String { "side result" }

  func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(kernel: kernels.table.pointee.copy, lengths: [result.count, first], flops: 0)
  }
}

extension Graph {
  /// The elements of a workspace from `first` on, after the kernel of `writer` has filled it.
  mutating func sideResult(_ workspace: Value, of writer: Value, first: Int = 0, _ shape: Shape) throws -> Value {
    try append(SideResult(first: first), [workspace, writer], shape)
  }
}
