// Executor: runs a plan over memory of its own. Plan says what to run; Kernels.run is the loop.
import CKernels

/// The memory to run one plan, and the run itself.
///
/// One thread uses an executor at a time. A run allocates nothing, takes no lock and counts no references. Every name
/// is resolved once, before the loop: keep the pointers that `floats`, `int32` and `output` return; they stay valid as
/// long as the executor.
public final class Executor {
  /// The plan that runs.
  public let plan: Plan

  private let arena: AlignedBuffer
  private let calls: UnsafeMutablePointer<ck_call>
  private let callCount: Int
  /// Operands in the caller's memory, rewritten when it moves.
  private let parameterOperands: UnsafeMutableBufferPointer<ck_operand>
  private let gradientOperands: UnsafeMutableBufferPointer<ck_operand>
  private let inputOperands: [UnsafeMutableBufferPointer<ck_operand>]
  private var bound: [Bool]
  private var parameters: UnsafePointer<Float>?
  private var gradients: UnsafeMutablePointer<Float>?

  /// Allocates `plan.arenaBytes`; inputs start as zeros.
  public init(_ plan: Plan) {
    self.plan = plan
    arena = AlignedBuffer(floats: plan.arenaBytes / 4)
    callCount = plan.calls.count
    calls = .allocate(capacity: max(callCount, 1))
    var operands: [Step.Base: [ck_operand]] = [:]
    bound = Array(repeating: false, count: plan.inputs.count)
    let memory = arena.pointer
    for constant in plan.constants {
      constant.numbers.withUnsafeBufferPointer {
        (memory + constant.offset).update(from: $0.baseAddress!, count: $0.count)
      }
    }
    for (number, step) in plan.calls.enumerated() {
      var call = ck_call()
      call.kernel = step.kernel
      withUnsafeMutableBytes(of: &call.n) { lengths in
        for (index, length) in step.lengths.enumerated() {
          lengths.storeBytes(of: Int64(length), toByteOffset: index * 8, as: Int64.self)
        }
      }
      withUnsafeMutableBytes(of: &call.a) { numbers in
        for (index, value) in step.numbers.enumerated() {
          numbers.storeBytes(of: value, toByteOffset: index * 4, as: Float.self)
        }
      }
      call.program = step.program.map { UnsafePointer(plan.programs + $0) }
      (calls + number).initialize(to: call)
      let addresses = UnsafeMutableRawPointer(calls + number) + MemoryLayout<ck_call>.offset(of: \.p)!
      let slots = addresses.assumingMemoryBound(to: UnsafeMutableRawPointer?.self)
      for (index, place) in step.places.enumerated() {
        guard let place else { continue }
        operands[place.base, default: []].append(ck_operand(slot: slots + index, offset: Int64(place.offset)))
      }
    }
    func stored(_ base: Step.Base) -> UnsafeMutableBufferPointer<ck_operand> {
      let list = operands[base] ?? []
      let memory = UnsafeMutableBufferPointer<ck_operand>.allocate(capacity: list.count)
      _ = memory.initialize(fromContentsOf: list)
      return memory
    }
    parameterOperands = stored(.parameters)
    gradientOperands = stored(.gradients)
    inputOperands = plan.inputs.indices.map { stored(.input($0)) }
    let arenaOperands = stored(.arena)
    Kernels.move(arenaOperands, to: arena.pointer)
    arenaOperands.deallocate()
    for (index, port) in plan.inputs.enumerated() {
      Kernels.move(inputOperands[index], to: arena.pointer + port.offset)
    }
  }

  deinit {
    calls.deallocate()
    parameterOperands.deallocate()
    gradientOperands.deallocate()
    for operands in inputOperands { operands.deallocate() }
  }

  /// The memory of a float input, to be filled before each run. Traps where the plan has no such input, or where the
  /// input is bound to memory elsewhere.
  public func floats(_ name: String) -> UnsafeMutableBufferPointer<Float> {
    let (index, port) = input(name, .float32)
    precondition(!bound[index], "Executor: input \(name) is bound to memory elsewhere")
    return UnsafeMutableBufferPointer(start: arena.pointer + port.offset, count: port.shape.count)
  }

  /// The memory of an int32 input, to be filled before each run. Traps as `floats` does.
  public func int32(_ name: String) -> UnsafeMutableBufferPointer<Int32> {
    let (index, port) = input(name, .int32)
    precondition(!bound[index], "Executor: input \(name) is bound to memory elsewhere")
    let start = UnsafeMutableRawPointer(arena.pointer + port.offset).assumingMemoryBound(to: Int32.self)
    return UnsafeMutableBufferPointer(start: start, count: port.shape.count)
  }

  /// Makes later runs read a float input from `pointer`, which must hold the input's count and outlive them, so that
  /// several executors can share one batch without copies.
  public func bind(_ name: String, to pointer: UnsafePointer<Float>) {
    rebind(input(name, .float32).index, pointer)
  }

  /// Makes later runs read an int32 input from `pointer`, as for floats.
  public func bind(_ name: String, to pointer: UnsafePointer<Int32>) {
    rebind(input(name, .int32).index, UnsafeRawPointer(pointer).assumingMemoryBound(to: Float.self))
  }

  /// The memory of an output, valid after a run and overwritten by the next; traps where the plan has no such output.
  public func output(_ name: String) -> UnsafeBufferPointer<Float> {
    guard let port = plan.outputs.first(where: { $0.name == name }) else {
      preconditionFailure("Executor: the plan has no output \(name)")
    }
    return UnsafeBufferPointer(start: arena.pointer + port.offset, count: port.shape.count)
  }

  /// Computes the outputs, and with `gradients` those of all parameters.
  ///
  /// Both buffers have the layout `plan.parameterLayout`; every element of a gradient tensor is overwritten, padding is
  /// left alone. Without `gradients` only the steps that the outputs need run. Traps where gradients are asked of a
  /// plan without them.
  public func run(parameters: UnsafePointer<Float>, gradients: UnsafeMutablePointer<Float>? = nil) {
    if parameters != self.parameters {
      self.parameters = parameters
      Kernels.move(parameterOperands, to: parameters)
    }
    guard let gradients else { return Kernels.run(calls, count: plan.forwardCount) }
    precondition(plan.differentiates, "Executor: the plan was made without a loss to differentiate")
    if gradients != self.gradients {
      self.gradients = gradients
      Kernels.move(gradientOperands, to: gradients)
    }
    Kernels.run(calls, count: callCount)
  }

  private func input(_ name: String, _ type: ElementType) -> (index: Int, port: Plan.Port) {
    guard let index = plan.inputs.firstIndex(where: { $0.name == name }) else {
      preconditionFailure("Executor: the plan has no input \(name)")
    }
    precondition(plan.inputs[index].type == type, "Executor: input \(name) is not of \(type.rawValue)")
    return (index, plan.inputs[index])
  }

  private func rebind(_ index: Int, _ base: UnsafePointer<Float>) {
    bound[index] = true
    Kernels.move(inputOperands[index], to: base)
  }
}
