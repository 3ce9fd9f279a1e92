// NN-Adam against recordings of the reference implementation, and against Adam before meta-training.
import Compute
import Learning
import Testing

@Suite("NN-Adam")
struct NNAdamTests {
  private let schema = ThetaSchema(NNAdam.self, .init())

  @Test("follows the reference at every level", arguments: availableLevels)
  func follows(level: CPULevel) throws {
    let recorded = try RecordedRun("nn_adam")
    let run = OptimizerRun(
      NNAdam(parameters: recorded.parameters, level: level), theta: try recorded.theta(schema),
      totalSteps: recorded.totalSteps)
    #expect(try recorded.replay(run, trajectory: "traj") < 1)
    func isClose(_ ours: [Float], _ theirs: [Float], _ tolerance: Float) -> Bool {
      let largest = theirs.map(abs).max()!
      return ours.count == theirs.count && zip(ours, theirs).allSatisfy { abs($0 - $1) <= tolerance * largest }
    }
    for tensor in recorded.parameters.tensors {
      for (ours, theirs) in [("momentum", "m"), ("rms", "rms")] {
        let recording = try recorded.file.floats("state/rolling_features/\(theirs)/\(tensor.name)")
        #expect(isClose(run.slot("\(ours)/\(tensor.name)"), recording, 1e-5), "\(ours)/\(tensor.name)")
      }
    }
    for (slot, field) in [("learning_rate", "lr"), ("beta1", "beta1"), ("beta2", "beta2"), ("epsilon", "epsilon")] {
      let theirs = try recorded.parameters.tensors.flatMap {
        try recorded.file.floats("state/per_layer_\(field)/\($0.name)")
      }
      #expect(isClose(run.slot(slot), theirs, 1e-5), "\(slot)")
    }
    for part in ["hidden", "cell"] {
      #expect(isClose(run.slot("lstm/\(part)"), try recorded.file.floats("state/lstm_hidden_state/\(part)"), 1e-4))
    }
  }

  @Test("is Adam without bias correction before meta-training", arguments: availableLevels)
  func untrained(level: CPULevel) throws {
    #expect(schema.layout.elements == 6856)
    let parameters = layout(["w": [3, 7]])
    let run = OptimizerRun(
      NNAdam(parameters: parameters, level: level), theta: Theta.initial(schema, key: RandomKey(seed: 1)))
    run.set("w", to: (0..<21).map { Float($0) }, in: run.parameters)
    run.initialize()
    var (p, m, v) = ((0..<21).map(Double.init), [Double](repeating: 0, count: 21), [Double](repeating: 0, count: 21))
    for step in 0..<5 {
      let gradient = (0..<21).map { Float(($0 * 5 + step) % 7) - 3 }
      run.set("w", to: gradient, in: run.gradients)
      run.update()
      for i in 0..<21 {
        m[i] = 0.9 * m[i] + 0.1 * Double(gradient[i])
        v[i] = 0.999 * v[i] + 0.001 * Double(gradient[i] * gradient[i])
        p[i] -= 1e-4 * m[i] / ((v[i] + 1e-10).squareRoot() + 1e-8)
      }
    }
    #expect(zip(run.parameter("w"), p).allSatisfy { abs(Double($0) - $1) < 3e-6 })
    // It is the constants that an LSTM with a say would move.
    #expect(run.slot("learning_rate").allSatisfy { abs($0 + 0.921034) < 1e-5 })
  }
}
