// Witness: an optimizer that keeps what it is given in its state, for tests of what stands around optimizers.
import Compute
import Contract
import Learning

struct Witness: Optimizer {
  let name = "witness"
  let parameters: ParameterLayout
  let state: ParameterLayout
  var needs: OptimizerNeeds = []

  init(_ parameters: ParameterLayout, needs: OptimizerNeeds = []) {
    self.parameters = parameters
    self.needs = needs
    state = ParameterLayout(
      parameters.tensors.map { ("seen/\($0.name)", $0.shape) }
        + ["loss", "iteration", "total_steps", "updates", "validation_loss"].map { ($0, .scalar) })
  }

  func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    for tensor in self.parameters.tensors {
      let seen = state + self.state["seen/\(tensor.name)"]!.offset
      for index in 0..<tensor.count {
        seen[index] = gradients[tensor.offset + index]
        parameters[tensor.offset + index] -= 0.5 * gradients[tensor.offset + index]
      }
    }
    state[self.state["loss"]!.offset] = step.loss
    state[self.state["iteration"]!.offset] = Float(step.iteration)
    state[self.state["total_steps"]!.offset] = Float(step.totalSteps)
    state[self.state["updates"]!.offset] += 1
  }

  func observe(validationLoss: Float, state: UnsafeMutablePointer<Float>) {
    state[self.state["validation_loss"]!.offset] = validationLoss
  }
}

extension OptimizerRun {
  /// What a witness was given last.
  var seen: [Float] { optimizer.parameters.tensors.flatMap { slot("seen/\($0.name)") } }

  /// A scalar of the state.
  func number(_ name: String) -> Float { slot(name)[0] }

  /// Sets all gradients, in order.
  func setGradients(_ values: [Float]) { setAll(values, in: gradients) }

  /// Sets all parameters, in order.
  func setParameters(_ values: [Float]) { setAll(values, in: parameters) }

  private func setAll(_ values: [Float], in buffer: AlignedBuffer) {
    precondition(values.count == optimizer.parameters.elements)
    var first = 0
    for tensor in optimizer.parameters.tensors {
      set(tensor.name, to: values[first..<first + tensor.count], in: buffer)
      first += tensor.count
    }
  }

  /// All parameters, in order.
  var allParameters: [Float] { optimizer.parameters.tensors.flatMap { parameter($0.name) } }

  /// The bits of parameters and state.
  var bits: [UInt32] {
    (allParameters + optimizer.state.tensors.flatMap { slot($0.name) }).map(\.bitPattern)
  }
}
