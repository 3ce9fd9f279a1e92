// OptimizerRun: an optimizer with memory of its own, for the tests of this folder and of LearnedOptimizers.
import Compute
import Learning

/// The levels this machine can run; every numeric test runs all of them.
let availableLevels = CPULevel.supported

final class OptimizerRun {
  let optimizer: any Optimizer
  let parameters: AlignedBuffer
  let gradients: AlignedBuffer
  let state: AlignedBuffer
  let scratch: AlignedBuffer
  let theta: AlignedBuffer?
  var iteration = 0
  let totalSteps: Int
  /// The second derivative of the problem that an optimizer is given which asks for one; see ``batchProblem(loss:)``.
  var curvature: Float = 1
  var key = RandomKey(seed: 5)
  /// A problem other than that.
  var problem: BatchProblem?

  init(_ optimizer: any Optimizer, theta: Theta? = nil, totalSteps: Int = 100) {
    self.optimizer = optimizer
    self.totalSteps = totalSteps
    self.theta = theta?.aligned()
    parameters = AlignedBuffer(floats: optimizer.parameters.floats)
    gradients = AlignedBuffer(floats: optimizer.parameters.floats)
    state = AlignedBuffer(floats: optimizer.state.floats)
    scratch = AlignedBuffer(floats: optimizer.scratchFloats)
    // What an update finds in its scratch memory must not matter.
    scratch.pointer.update(repeating: .nan, count: scratch.floats)
    state.pointer.update(repeating: .nan, count: state.floats)
  }

  /// Starts a run with the parameters as they are.
  func initialize() {
    optimizer.initialize(state: state.pointer, parameters: parameters.pointer, theta: theta?.pointer)
    iteration = 0
  }

  /// One update with the gradients as they are.
  func update(loss: Float = 1) {
    let problem = optimizer.needs.contains(.problem) ? problem ?? batchProblem(loss: loss) : nil
    optimizer.update(
      parameters: parameters.pointer, gradients: gradients.pointer, state: state.pointer, scratch: scratch.pointer,
      step: OptimizerStep(
        iteration: iteration, totalSteps: totalSteps, loss: loss, theta: theta.map { UnsafePointer($0.pointer) },
        key: key, problem: problem))
    iteration += 1
  }

  /// The quadratic that has the given loss and the gradients as they are at the parameters as they are.
  private func batchProblem(loss: Float) -> BatchProblem {
    let (center, slope) = (AlignedBuffer(floats: parameters.floats), AlignedBuffer(floats: parameters.floats))
    center.copy(from: parameters)
    slope.copy(from: gradients)
    let (tensors, curvature) = (optimizer.parameters.tensors, curvature)
    func value(_ point: UnsafePointer<Float>) -> Float {
      var sum = Double(loss)
      for tensor in tensors {
        for index in tensor.offset..<tensor.offset + tensor.count {
          let away = Double(point[index]) - Double(center.pointer[index])
          sum += away * (Double(slope.pointer[index]) + Double(curvature) / 2 * away)
        }
      }
      return Float(sum)
    }
    return BatchProblem(loss: value) { point, gradients in
      for tensor in tensors {
        for index in tensor.offset..<tensor.offset + tensor.count {
          gradients[index] = slope.pointer[index] + curvature * (point[index] - center.pointer[index])
        }
      }
      return value(point)
    }
  }

  /// A tensor of the parameters, gradients or state.
  func values(_ name: String, in buffer: AlignedBuffer, _ layout: ParameterLayout) -> [Float] {
    let tensor = layout[name]!
    return Array(buffer.buffer[tensor.offset..<tensor.offset + tensor.count])
  }

  func parameter(_ name: String) -> [Float] { values(name, in: parameters, optimizer.parameters) }

  func slot(_ name: String) -> [Float] { values(name, in: state, optimizer.state) }

  func set(_ name: String, to values: some Collection<Float>, in buffer: AlignedBuffer) {
    let tensor = optimizer.parameters[name]!
    precondition(values.count == tensor.count)
    for (index, value) in values.enumerated() { buffer.pointer[tensor.offset + index] = value }
  }
}

/// A layout from names and shapes.
func layout(_ tensors: KeyValuePairs<String, Shape>) -> ParameterLayout {
  ParameterLayout(tensors.map { (name: $0.key, shape: $0.value) })
}

/// Numbers in [-1, 1), the same for the same seed.
struct Numbers {
  private var state: UInt64
  init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }
  mutating func next() -> Float {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return Float(Int32(truncatingIfNeeded: state >> 20)) / 2_147_483_648
  }
}
