// STAR against recordings of the reference implementation, and how its constants are read.
import Compute
import Contract
import Learning
import Testing

@Suite("STAR")
struct StarTests {
  @Test("follows the reference with momentum as the nominal rule at every level", arguments: availableLevels)
  func momentum(level: CPULevel) throws { try follows("adafac_nominal_sgdm", level) }

  @Test("follows the reference with all controllers at every level", arguments: availableLevels)
  func controllers(level: CPULevel) throws { try follows("adafac_nominal_star", level) }

  private func follows(_ name: String, _ level: CPULevel) throws {
    let recorded = try RecordedRun(name)
    let arguments = try JSON.parse(recorded.file.metadata["args"] ?? "", depthMax: 2)
    let star = try #require(try Self.read(arguments))
    let optimizer = Star(parameters: recorded.parameters, configuration: star, level: level)
    let run = OptimizerRun(
      optimizer, theta: try recorded.theta(ThetaSchema(Star.self, star)), totalSteps: recorded.totalSteps)
    #expect(try recorded.replay(run, trajectory: "traj") < 1)
    for tensor in recorded.parameters.tensors {
      let name = tensor.name
      let slots = [
        ("momentum/\(name)", "state/mom_rolling/m/\(name)"), ("rms/\(name)", "state/rms_rolling/rms/\(name)"),
      ]
      for (ours, theirs) in slots {
        #expect(try recorded.deviation(of: ours, of: run, from: theirs) < 1e-5, "\(ours)")
      }
    }
  }

  private static func read(_ json: JSON) throws -> Star.Configuration? {
    try Faults.collect { faults -> Star.Configuration? in
      guard var fields = Fields(json, faults: faults) else { return nil }
      var star = Star.Configuration()
      star.read(&fields)
      fields.finish()
      return star
    }
  }

  @Test("has the published numbers of meta-parameters and returns from a file with all its constants")
  func file() throws {
    #expect(ThetaSchema(Star.self, .init()).layout.elements == 207)
    var star = Star.Configuration()
    star.hidden = 32
    (star.weightDecay, star.nominalEstimator, star.aggregateDecay) = (0.01, .sgdm, true)
    let schema = ThetaSchema(Star.self, star)
    #expect(schema.layout.elements == 2475)
    let theta = Theta.initial(schema, key: RandomKey(seed: 1))
    let again = try Theta(safetensors: theta.safetensors())
    #expect(again == theta)
    #expect(again.schema == schema && again.schema.configuration == star.json)
  }

  @Test("one wrong switch is far outside the tolerance")
  func recordingIsSensitive() throws {
    let recorded = try RecordedRun("adafac_nominal_star")
    var star = try #require(try Self.read(JSON.parse(recorded.file.metadata["args"] ?? "", depthMax: 2)))
    star.aggregateNominal = false
    let run = OptimizerRun(
      Star(parameters: recorded.parameters, configuration: star, level: .scalar),
      theta: try recorded.theta(ThetaSchema(Star.self, star)), totalSteps: recorded.totalSteps)
    #expect(try recorded.replay(run, trajectory: "traj") > 2)
  }

  @Test("is the paper's by default, and the published implementation's under that implementation's names")
  func defaults() throws {
    let paper = try #require(try Self.read([:]))
    #expect(paper == Star.Configuration())
    #expect((paper.nominalStep, paper.nominalController, paper.normaliseStep) == (0.001, true, true))
    let bare = try #require(try Self.read(["hidden_size": 8]))
    #expect((bare.hidden, bare.nominalStep, bare.nominalController, bare.normaliseStep) == (8, 0, false, false))
    #expect(try Self.read(bare.json) == bare)
    #expect(throws: SpecError.self) { try Self.read(["hidden": 65]) }
    #expect(throws: SpecError.self) { try Self.read(["nominal_estimator": "Adagrad"]) }
    #expect(throws: SpecError.self) { try Self.read(["exp_multipliers": [0.1, 0.1]]) }
  }
}
