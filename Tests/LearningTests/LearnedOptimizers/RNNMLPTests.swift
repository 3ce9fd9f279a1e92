// RNN-MLP against recordings of the reference implementation, and what it makes of losses on held-out data.
import Compute
import Learning
import Testing

@Suite("RNN-MLP")
struct RNNMLPTests {
  private let schema = ThetaSchema(RNNMLP.self, .init())

  @Test("follows the reference at every level", arguments: availableLevels)
  func follows(level: CPULevel) throws {
    let recorded = try RecordedRun("rnn_mlp_lopt")
    let run = OptimizerRun(
      RNNMLP(parameters: recorded.parameters, level: level), theta: try recorded.theta(schema))
    #expect(try recorded.replay(run, trajectory: "traj") < 1)
    #expect(run.slot("iteration") == [Float(recorded.steps)])
  }

  @Test("two statistics that change places in the LSTM's input are far outside the tolerance")
  func recordingIsSensitive() throws {
    let recorded = try RecordedRun("rnn_mlp_lopt")
    let theta = try recorded.theta(schema)
    var values = theta.values
    let gates = theta.layout["rnn_params/rnn/linear/w"]!
    // The norm of the gradient and that of the parameters.
    for unit in 0..<256 { values.swapAt(gates.offset + 34 * 256 + unit, gates.offset + 42 * 256 + unit) }
    let run = OptimizerRun(
      RNNMLP(parameters: recorded.parameters, level: .scalar), theta: try Theta(schema: schema, values: values))
    #expect(try recorded.replay(run, trajectory: "traj") > 10)
  }

  @Test("a loss on held-out data enters its average and counts as an iteration, and changes nothing else")
  func observation() throws {
    let run = try started()
    let before = Array(run.state.buffer)
    let state = run.optimizer.state
    run.optimizer.observe(validationLoss: 3, state: run.state.pointer)
    #expect(abs(run.slot("valid_loss")[0] - 0.15) < 1e-6)
    #expect(run.slot("valid_loss")[2] == 1)
    #expect(run.slot("iteration") == [1])
    for tensor in state.tensors where !["valid_loss", "iteration"].contains(tensor.name) {
      #expect(run.slot(tensor.name) == Array(before[tensor.offset..<tensor.offset + tensor.count]), "\(tensor.name)")
    }
  }

  @Test("agrees with plain Float64 code when losses on held-out data come in between", arguments: availableLevels)
  func interleaved(level: CPULevel) throws {
    let run = try started(level: level)
    let theta = try livelyTheta(schema)
    let reference = PlainRNNMLP(.init(), theta, [([3, 5], run.parameter("w"))])
    let blind = PlainRNNMLP(.init(), theta, [([3, 5], run.parameter("w"))])
    var numbers = Numbers(seed: 8)
    for step in 0..<6 {
      if step % 2 == 1 {
        run.optimizer.observe(validationLoss: 2 - 0.2 * Float(step), state: run.state.pointer)
        reference.observe(2 - 0.2 * Double(step))
      }
      let gradient = (0..<15).map { _ in numbers.next() }
      run.set("w", to: gradient, in: run.gradients)
      run.update(loss: 2 - 0.3 * Float(step))
      for rule in [reference, blind] { rule.update([gradient.map(Double.init)], loss: 2 - 0.3 * Double(step)) }
    }
    func off(_ rule: PlainRNNMLP) -> Double {
      zip(run.parameter("w"), rule.parameters[0]).map { abs(Double($0) - $1) }.max()!
    }
    #expect(off(reference) < 1e-6)
    // The comparison would notice if they had been ignored.
    #expect(off(blind) > 1e-5)
    #expect(run.slot("iteration") == [9])
  }

  @Test("has 35,799 meta-parameters")
  func size() { #expect(schema.layout.elements == 35_799) }

  private func started(level: CPULevel = .scalar) throws -> OptimizerRun {
    let run = OptimizerRun(
      RNNMLP(parameters: layout(["w": [3, 5]]), level: level), theta: try livelyTheta(schema))
    run.set("w", to: (0..<15).map { Float($0 % 7) * 0.2 - 0.5 }, in: run.parameters)
    run.initialize()
    return run
  }
}
