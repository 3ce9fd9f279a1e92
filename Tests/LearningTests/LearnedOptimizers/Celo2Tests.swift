// Celo2 against recordings of the reference implementation, and which tensors it gives to Adam.
import Compute
import Contract
import Learning
import Testing

@Suite("Celo2")
struct Celo2Tests {
  @Test("follows the reference as one rule for all tensors at every level", arguments: availableLevels)
  func base(level: CPULevel) throws {
    try follows("celo2_base", OptimizerName.celo2Base, ["step_mult": 0.001], level)
  }

  @Test("follows the reference with every option of the rule on at every level", arguments: availableLevels)
  func options(level: CPULevel) throws {
    try follows("celo2_base_orth", .celo2Base, try Self.arguments("celo2_base_orth"), level)
  }

  @Test("follows the reference with its harness at every level", arguments: availableLevels)
  func harness(level: CPULevel) throws {
    try follows("celo2", .celo2, try Self.arguments("celo2"), level)
  }

  /// The arguments as the recording gives them.
  private static func arguments(_ name: String) throws -> JSON {
    try JSON.parse(try #require(try RecordedRun(name).file.metadata["args"]))
  }

  private func follows(_ file: String, _ name: OptimizerName, _ arguments: JSON, _ level: CPULevel) throws {
    let recorded = try RecordedRun(file)
    let faults = Faults()
    var fields = try #require(Fields(arguments, faults: faults))
    let schema = try #require(OptimizerCatalog.schema(of: name, reading: &fields))
    fields.finish()
    #expect(faults.isEmpty)
    let run = OptimizerRun(
      schema.optimizer(parameters: recorded.parameters, level: level), theta: try recorded.theta(schema),
      totalSteps: recorded.totalSteps)
    let worst = try recorded.replay(run, trajectory: "traj")
    #expect(worst < 1)
    let folder = name == .celo2 ? "state/state_2d" : "state"
    for tensor in recorded.parameters.tensors {
      let name = tensor.name
      var slots: [(String, String)] = []
      if run.optimizer.state["first_moment/\(name)"] != nil {
        slots = [
          ("first_moment/\(name)", "state/state_1d/mom_rolling/m/\(name)"),
          ("second_moment/\(name)", "state/state_1d/rms_rolling/rms/\(name)"),
        ]
      } else {
        slots = [
          ("momentum/\(name)", "\(folder)/mom_rolling/m/\(name)"), ("rms/\(name)", "\(folder)/rms_rolling/rms/\(name)"),
        ]
        if tensor.shape.rank >= 2 {
          slots.append(("row/\(name)", "\(folder)/fac_rolling/v_row/\(name)"))
          slots.append(("column/\(name)", "\(folder)/fac_rolling/v_col/\(name)"))
        } else {
          slots.append(("diagonal/\(name)", "\(folder)/fac_rolling/v_diag/\(name)"))
        }
      }
      for (ours, theirs) in slots {
        #expect(try recorded.deviation(of: ours, of: run, from: theirs) < 1e-5, "\(ours)")
      }
    }
  }

  @Test("the comparison tells a normaliser over the whole tensor from one over its last two axes")
  func recordingIsSensitive() throws {
    // A batch of matrices and the same numbers as one matrix differ in nothing else.
    let theta = try livelyTheta(ThetaSchema(Celo2Base.self, .init()))
    let moved = [[2, 1, 40], [1, 1, 80]].map { shape in
      let run = OptimizerRun(Celo2Base(parameters: layout(["w": Shape(shape)]), level: .scalar), theta: theta)
      run.set("w", to: (0..<80).map { Float($0 % 9) - 4 }, in: run.parameters)
      run.initialize()
      run.set("w", to: (0..<80).map { Float($0 % 7 - 3) * ($0 < 40 ? 1 : 100) }, in: run.gradients)
      run.update()
      return run.parameter("w")
    }
    #expect(zip(moved[0], moved[1]).contains { abs($0 - $1) > 1e-4 })
  }

  @Test("a step's root mean square is the step size times the schedule, whatever the gradients' size")
  func stepSize() throws {
    let theta = try livelyTheta(ThetaSchema(Celo2Base.self, .init()))
    let settings = OptimizerSettings(.celo2Base, ["schedule": ["kind": "linear", "final": 0]])
    for size: Float in [1e-3, 10] {
      let run = OptimizerRun(
        Celo2Base(parameters: layout(["w": [20, 30]]), settings: settings, level: .scalar), theta: theta, totalSteps: 4)
      run.initialize()
      for step in 0..<4 {
        let before = run.parameter("w")
        run.set("w", to: (0..<600).map { size * Float($0 % 11 - 5) }, in: run.gradients)
        run.update()
        let squares = zip(run.parameter("w"), before).reduce(Float(0)) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        let expected = 0.001 * (1 - Float(step) / 4)
        #expect(abs((squares / 600).squareRoot() - expected) < 1e-6)
      }
    }
  }

  @Test("Adam takes tensors of at most one axis and embeddings, or what the pattern says")
  func routing() throws {
    let parameters = layout(["a/b": [3], "a/w": [3, 4], "embedding/w": [5, 2], "scale": .scalar])
    func adams(_ configuration: Celo2.Configuration) -> [String] {
      let state = Celo2(parameters: parameters, configuration: configuration, level: .scalar).state
      return parameters.tensors.map(\.name).filter { state["first_moment/\($0)"] != nil }
    }
    var configuration = Celo2.Configuration()
    #expect(adams(configuration) == ["a/b", "embedding/w", "scale"])
    configuration.vectorPattern = PathPattern("^a/")
    #expect(adams(configuration) == ["a/b", "a/w"])
  }

  @Test("a configuration returns from its JSON, and a pattern beyond the simple ones is a fault")
  func configuration() throws {
    var configuration = Celo2.Configuration()
    configuration.vectorPattern = PathPattern("/b$|^scale$")
    configuration.vectorMultiplier = 3
    configuration.rule.biasCorrection = true
    var fields = try #require(Fields(configuration.json, faults: Faults()))
    var again = Celo2.Configuration()
    again.read(&fields)
    #expect(again == configuration)
    let faults = Faults()
    var wrong = try #require(Fields(["regex_1d": "(a+)+$", "exp_mult": -1], faults: faults))
    again.read(&wrong)
    #expect(faults.list.count == 2)
  }
}

@Suite("Path patterns")
struct PathPatternTests {
  @Test("find what published configurations mean by them")
  func matches() throws {
    let cases: [(String, String, Bool)] = [
      ("/b$|^scale$", "dense_0/b", true), ("/b$|^scale$", "dense_0/bias", false), ("/b$|^scale$", "scale", true),
      ("/b$|^scale$", "a/scale", false), (".*bias.*|.*embed.*", "token_embedding/w", true),
      (".*bias.*|.*embed.*", "dense/w", false), ("a.c", "xabcx", true), ("^a.*b$", "axxb", true),
      ("^a.*b$", "axxbc", false), ("^ab$", "ab", true), ("^ab$", "abab", false), ("a.*a", "a", false), ("", "x", true),
      ("b.*b$", "abcb", true), ("b.*b$", "ab", false),
    ]
    for (text, path, expected) in cases {
      #expect(try #require(PathPattern(text)).matches(path) == expected, "\(text) in \(path)")
    }
  }

  @Test("refuse what could take for ever and what they do not know")
  func refusals() {
    for text in ["(a+)+$", "a*", "[ab]", "a{2}", "\\d", "a$b", String(repeating: "a", count: 201)] {
      #expect(PathPattern(text) == nil, "\(text)")
    }
  }

  @Test("take no time on the worst pairs")
  func worst() throws {
    let pattern = try #require(PathPattern(String(repeating: "a.*", count: 60) + "b$"))
    #expect(!pattern.matches(String(repeating: "a", count: 3000)))
  }
}
