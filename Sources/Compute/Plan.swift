// Plan: a graph turned into a list of kernel calls over one arena. Graph and Gradient say what is computed, Fusion which
// nodes become one step, Arena where values lie; PlanBuilder joins them, and Executor runs the result.
import CKernels

/// The kernels, their order and the memory of one computation, fixed before it runs.
///
/// A plan is immutable: any number of threads may run it at once, each with an `Executor` of its own. The same plan on
/// the same values gives the same bits, whatever the thread or the address of a buffer.
public final class Plan: @unchecked Sendable {
  // @unchecked: the programs are written while the plan is built and only read from then on.

  /// A named tensor at the edge of the plan.
  public struct Port: Sendable, Hashable {
    /// The name given to the graph.
    public let name: String
    /// The dimensions.
    public let shape: Shape
    /// The type of the elements.
    public let type: ElementType
    /// Where it lies in the arena, in floats.
    let offset: Int
  }

  /// The kernels' level.
  public let level: CPULevel
  /// Where parameters and gradients lie in the buffers given to a run.
  public let parameterLayout: ParameterLayout
  /// The inputs that must be filled or bound, in the graph's order.
  public let inputs: [Port]
  /// The outputs that can be read after a run, in the graph's order.
  public let outputs: [Port]
  /// The bytes of memory that an executor allocates for inputs, values and outputs.
  public let arenaBytes: Int
  /// The floating-point operations of one run: 2 M N K for a product, one per element and operation otherwise.
  public let flops: Int
  /// The most operations that a run may have: a run cannot be stopped, and this many take about an hour.
  public static let flopsMax = 1 << 49
  /// The core type of OpenBLAS where a step uses it, else nil.
  public let blas: BLAS?
  /// What each step does, in order, such as `product [64, 64] x [64, 32] + bias, relu`.
  public let steps: [String]
  /// The floating-point operations of each of ``steps``.
  public let stepFlops: [Int]
  /// Whether runs can give gradients.
  public let differentiates: Bool

  let calls: [Step]
  /// How many steps give all outputs; the others are only for gradients.
  let forwardCount: Int
  let constants: [(offset: Int, numbers: [Float])]
  let programs: UnsafeMutablePointer<ck_program>
  private let programCount: Int

  /// Plans a graph: its outputs, and where `loss` is given the gradients of all parameters.
  ///
  /// Parameters that the loss does not depend on get zero gradients. Throws `ComputeError` where `loss` is not one
  /// float or has no gradient, where the machine lacks `level`, where a large product needs OpenBLAS and it is missing,
  /// and where a run would have more than ``flopsMax`` operations.
  public init(_ graph: Graph, differentiating loss: Value? = nil, level: CPULevel = .best) throws {
    var builder = try PlanBuilder(graph, loss: loss, kernels: Kernels(level: level))
    try builder.build()
    self.level = level
    parameterLayout = builder.layout
    inputs = builder.inputs
    outputs = builder.outputs
    arenaBytes = builder.arena.floats * 4
    flops = builder.flops
    blas = builder.blas
    steps = builder.calls.map(\.description)
    stepFlops = builder.calls.map(\.flops)
    differentiates = loss != nil
    calls = builder.calls
    forwardCount = builder.forwardCount
    constants = builder.constants
    programCount = builder.programs.count
    programs = .allocate(capacity: max(programCount, 1))
    builder.programs.withUnsafeBufferPointer { source in
      if let base = source.baseAddress { programs.initialize(from: base, count: source.count) }
    }
  }

  deinit { programs.deallocate() }
}

/// One kernel call whose operands are still places, not addresses.
struct Step {
  /// What a place is relative to.
  enum Base: Hashable {
    case arena, parameters, gradients
    case input(Int)
  }

  /// An address, in floats from a base.
  struct Place: Hashable {
    let base: Base
    let offset: Int
  }

  let kernel: ck_kernel
  let places: [Place?]
  let lengths: [Int]
  let numbers: [Float]
  /// The index of the elementwise program, where the kernel runs one.
  let program: Int?
  let description: String
  var flops = 0
}
