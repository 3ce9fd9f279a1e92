// Shampoo against the recording of its distributed implementation, and its other options against plain Float64 code.
import Compute
import Contract
import Learning
import Testing

@Suite("Shampoo")
struct ShampooTests {
  /// The reference takes inverse roots by iteration in float32.
  static let tolerance: Float = 1e-2

  @Test("follows the reference with both recorded grafts at every level", arguments: availableLevels)
  func follows(level: CPULevel) throws {
    for (trajectory, graft) in [
      ("shampoo_graft_sgd", "sgd"), ("shampoo_graft_rmsprop_normalized", "rmsprop_normalized"),
    ] {
      let recorded = try RecordedRun("shampoo")
      let settings = OptimizerSettings(
        .shampoo,
        ["learning_rate": 0.01, "block_size": 128, "start_preconditioning_step": 5, "graft_type": .string(graft)])
      let run = OptimizerRun(Shampoo(parameters: recorded.parameters, settings: settings, level: level))
      // In units of 1e-4 of the displacement.
      let worst = try recorded.replay(run, trajectory: "traj/\(trajectory)")
      #expect(worst * 1e-4 < Self.tolerance)
    }
  }

  @Test("the comparison notices axes that are not merged")
  func recordingIsSensitive() throws {
    let recorded = try RecordedRun("shampoo")
    let settings = OptimizerSettings(.shampoo, ["learning_rate": 0.01, "merge_max": 128])
    let run = OptimizerRun(Shampoo(parameters: recorded.parameters, settings: settings, level: .scalar))
    #expect(try recorded.replay(run, trajectory: "traj/shampoo_graft_sgd") * 1e-4 > 10 * Self.tolerance)
  }
}
