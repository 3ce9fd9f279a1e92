// Celo with its published weights against recordings of the reference implementation.
import Compute
import Foundation
import Learning
import Testing

@Suite("Celo with its published weights", .enabled(if: pretrainedFolder != nil, "needs TRAINYARD_PRETRAINED"))
struct CeloTests {
  static func theta() throws -> Theta {
    let folder = try #require(pretrainedFolder)
    return try Theta(flax: Data(contentsOf: folder.appending(path: "celo/theta.state")))
  }

  @Test("follows the reference at every level", arguments: availableLevels)
  func full(level: CPULevel) throws { try follows("celo_pretrained", .full, level) }

  @Test("follows the reference's first phase at every level", arguments: availableLevels)
  func updateRule(level: CPULevel) throws { try follows("celo_pretrained_phase1", .updateRule, level) }

  private func follows(_ name: String, _ phase: Celo.Phase, _ level: CPULevel) throws {
    let recorded = try RecordedRun(name)
    let optimizer = Celo(parameters: recorded.parameters, configuration: .init(phase: phase), level: level)
    let run = OptimizerRun(optimizer, theta: try Self.theta(), totalSteps: recorded.totalSteps)
    #expect(try recorded.replay(run, trajectory: "traj") < 1)
    for tensor in recorded.parameters.tensors {
      let name = tensor.name
      #expect(try recorded.deviation(of: "momentum/\(name)", of: run, from: "state/mom_rolling/m/\(name)") < 1e-5)
      #expect(try recorded.deviation(of: "rms/\(name)", of: run, from: "state/rms_rolling/rms/\(name)") < 1e-5)
    }
    // The reference keeps a row of LSTM state for each tensor; all are equal.
    for part in ["hidden", "cell"] {
      let theirs = try recorded.file.floats("state/lstm_hidden_state/\(part)")
      let ours = run.slot("lstm/\(part)")
      let largest = theirs.map(abs).max()!
      #expect(theirs.indices.allSatisfy { abs(theirs[$0] - ours[$0 % ours.count]) <= 1e-4 * largest })
    }
    for (slot, field) in [("means", "means"), ("minima", "running_min"), ("decays", "decays")] {
      let theirs = try recorded.file.floats("state/loss_buffer/\(field)")
      let ours = run.slot("loss_buffer/\(slot)")
      #expect(zip(ours, theirs).allSatisfy { abs($0 - $1) <= 1e-5 * abs($1) }, "\(slot)")
    }
    #expect(run.slot("loss_buffer/count") == [Float(recorded.steps)])
  }

  @Test("the published file holds 37,089 numbers and returns from our own file bit for bit")
  func file() throws {
    let theta = try Self.theta()
    #expect(theta.schema == ThetaSchema(Celo.self, .init()))
    #expect(theta.schema.layout.elements == 37_089)
    let again = try Theta(safetensors: theta.safetensors())
    #expect(again == theta)
  }
}
