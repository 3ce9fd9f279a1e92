// Muon against the recording of optax, and which tensors it orthogonalizes.
import Compute
import Contract
import Learning
import Testing

@Suite("Muon")
struct MuonTests {
  @Test("follows the reference at every level", arguments: availableLevels)
  func follows(level: CPULevel) throws {
    let recorded = try RecordedRun("muon")
    let settings = OptimizerSettings(
      .muon,
      [
        "learning_rate": 0.01, "beta": 0.95, "ns_steps": 5, "eps": 1e-8, "weight_decay": 0.01, "nesterov": true,
        "adam_b1": 0.9, "adam_b2": 0.999,
      ])
    let run = OptimizerRun(
      Muon(parameters: recorded.parameters, settings: settings, level: level), totalSteps: recorded.totalSteps)
    let worst = try recorded.replay(run, trajectory: "traj/muon")
    #expect(worst < 1)
  }

  @Test("the comparison notices another number of iterations, and the scale by shape")
  func recordingIsSensitive() throws {
    let recorded = try RecordedRun("muon")
    for change: [String: JSON] in [["iterations": 4], ["consistent_rms": 0.2], ["nesterov": false]] {
      let settings = OptimizerSettings(
        .muon, ["learning_rate": 0.01, "weight_decay": 0.01].merging(change) { $1 })
      let run = OptimizerRun(Muon(parameters: recorded.parameters, settings: settings, level: .scalar))
      #expect(try recorded.replay(run, trajectory: "traj/muon") > 10, "\(change)")
    }
  }

  @Test("embeddings, heads and what is no matrix get Adam")
  func routing() {
    let parameters = layout([
      "token_embedding/w": [9, 4], "dense/w": [4, 4], "dense/b": [4], "head/w": [4, 9], "conv/w": [3, 3, 4, 8],
    ])
    func momenta(_ options: [String: JSON]) -> [String] {
      let state = Muon(parameters: parameters, settings: OptimizerSettings(.muon, options), level: .scalar).state
      return parameters.tensors.map(\.name).filter { state["momentum/\($0)"] != nil }
    }
    #expect(momenta([:]) == ["dense/w"])
    #expect(momenta(["adam_for": ""]) == ["token_embedding/w", "dense/w", "head/w"])
    #expect(momenta(["adam_for": "dense"]) == ["token_embedding/w", "head/w"])
  }

  @Test("with a consistent root mean square a step's is the rate times it", arguments: availableLevels)
  func consistent(level: CPULevel) {
    for shape: Shape in [[40, 40], [12, 60], [60, 12]] {
      let settings = OptimizerSettings(.muon, ["learning_rate": 0.1, "consistent_rms": 0.2, "iterations": 12])
      let run = OptimizerRun(Muon(parameters: layout(["w": shape]), settings: settings, level: level))
      var numbers = Numbers(seed: 3)
      run.initialize()
      run.set("w", to: (0..<shape.count).map { _ in numbers.next() }, in: run.gradients)
      run.update()
      let size = (run.parameter("w").reduce(0) { $0 + $1 * $1 } / Float(shape.count)).squareRoot()
      // The polynomial leaves singular values between 0.68 and 1.14.
      #expect((0.6 * 0.02...1.2 * 0.02).contains(size), "\(shape) \(size)")
    }
  }
}
