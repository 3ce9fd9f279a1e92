// small_fc against recordings of the reference implementation.
import Compute
import Learning
import Testing

@Suite("small_fc")
struct SmallFCTests {
  static let narrow = SmallFC.Configuration()
  static let wide = SmallFC.Configuration(hidden: 32, expMultiplier: 0.01, stepMultiplier: 0.01)

  @Test("follows the reference with 4 hidden units at every level", arguments: availableLevels)
  func narrow(level: CPULevel) throws {
    try follows("adafac_mlp_lopt", Self.narrow, level)
  }

  @Test("follows the reference with 32 hidden units at every level", arguments: availableLevels)
  func wide(level: CPULevel) throws {
    try follows("adafac_mlp_lopt_h32", Self.wide, level)
  }

  private func follows(_ name: String, _ configuration: SmallFC.Configuration, _ level: CPULevel) throws {
    let recorded = try RecordedRun(name)
    let optimizer = SmallFC(parameters: recorded.parameters, configuration: configuration, level: level)
    let run = OptimizerRun(
      optimizer, theta: try recorded.theta(ThetaSchema(SmallFC.self, configuration)), totalSteps: recorded.totalSteps)
    #expect(try recorded.replay(run, trajectory: "traj") < 1)
    for tensor in recorded.parameters.tensors {
      let name = tensor.name
      var slots = [
        ("momentum/\(name)", "state/mom_rolling/m/\(name)"), ("rms/\(name)", "state/rms_rolling/rms/\(name)"),
      ]
      if tensor.shape.rank >= 2 {
        slots.append(("row/\(name)", "state/fac_rolling_features/v_row/\(name)"))
        slots.append(("column/\(name)", "state/fac_rolling_features/v_col/\(name)"))
      } else {
        slots.append(("diagonal/\(name)", "state/fac_rolling_features/v_diag/\(name)"))
      }
      for (ours, theirs) in slots {
        #expect(try recorded.deviation(of: ours, of: run, from: theirs) < 1e-5, "\(ours)")
      }
    }
  }

  @Test("one wrong feature weight is far outside the tolerance")
  func recordingIsSensitive() throws {
    let recorded = try RecordedRun("adafac_mlp_lopt")
    let theta = try recorded.theta(ThetaSchema(SmallFC.self, Self.narrow))
    var values = theta.values
    let w0 = theta.schema.layout["nn/~/w0"]!
    // The first row feature and the first column feature change places.
    for unit in 0..<4 { values.swapAt(w0.offset + 13 * 4 + unit, w0.offset + 16 * 4 + unit) }
    let run = OptimizerRun(
      SmallFC(parameters: recorded.parameters, level: .scalar),
      theta: try Theta(schema: theta.schema, values: values), totalSteps: recorded.totalSteps)
    #expect(try recorded.replay(run, trajectory: "traj") > 10)
  }
}
