// MLPLOpt against recordings of the reference implementation.
import Compute
import Learning
import Testing

@Suite("MLPLOpt")
struct MLPLOptTests {
  private let schema = ThetaSchema(MLPLOpt.self, .init())

  @Test("follows the reference at every level", arguments: availableLevels)
  func follows(level: CPULevel) throws {
    let recorded = try RecordedRun("mlp_lopt")
    let run = OptimizerRun(
      MLPLOpt(parameters: recorded.parameters, level: level), theta: try recorded.theta(schema))
    #expect(try recorded.replay(run, trajectory: "traj") < 1)
    for tensor in recorded.parameters.tensors {
      let (ours, theirs) = ("momentum/\(tensor.name)", "state/rolling_features/m/\(tensor.name)")
      #expect(try recorded.deviation(of: ours, of: run, from: theirs) < 1e-5, "\(ours)")
    }
  }

  @Test("two momenta that change places are far outside the tolerance")
  func recordingIsSensitive() throws {
    let recorded = try RecordedRun("mlp_lopt")
    let theta = try recorded.theta(schema)
    var values = theta.values
    let w0 = theta.layout["mlp/~/linear_0/w"]!
    for unit in 0..<32 { values.swapAt(w0.offset + 6 * 32 + unit, w0.offset + 7 * 32 + unit) }
    let run = OptimizerRun(
      MLPLOpt(parameters: recorded.parameters, level: .scalar), theta: try Theta(schema: schema, values: values))
    #expect(try recorded.replay(run, trajectory: "traj") > 10)
  }

  @Test("has 1,762 meta-parameters")
  func size() { #expect(schema.layout.elements == 1762) }
}
