// Celo-Adam with its published weights against recordings of the reference implementation.
import Compute
import Foundation
import Learning
import Testing

@Suite("Celo-Adam with its published weights", .enabled(if: pretrainedFolder != nil, "needs TRAINYARD_PRETRAINED"))
struct CeloAdamTests {
  private func theta() throws -> Theta {
    let folder = try #require(pretrainedFolder)
    return try Theta(flax: Data(contentsOf: folder.appending(path: "celo_adam/theta.state")))
  }

  @Test("follows the reference at every level", arguments: availableLevels)
  func follows(level: CPULevel) throws {
    let recorded = try RecordedRun("celo_adam_pretrained")
    let optimizer = CeloAdam(parameters: recorded.parameters, level: level)
    let run = OptimizerRun(optimizer, theta: try theta(), totalSteps: recorded.totalSteps)
    #expect(try recorded.replay(run, trajectory: "traj") < 1)
    #expect(run.slot("loss_buffer/count") == [Float(recorded.steps)])
  }

  @Test("the published file holds 36,865 numbers and returns from our own file bit for bit")
  func file() throws {
    let theta = try theta()
    #expect(theta.schema == ThetaSchema(CeloAdam.self, .init()))
    #expect(theta.layout.elements == 36_865)
    #expect(try Theta(safetensors: theta.safetensors()) == theta)
  }
}
