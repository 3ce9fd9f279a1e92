// Replaying recorded cases: against the recordings, with every way of naming optimizer and arguments, and refusals.
import Compute
import Contract
import Foundation
import Learning
import Testing

@Suite("Optimizer replay")
struct OptimizerReplayTests {
  static func fixture(_ name: String) throws -> RecordedCase {
    let url = try #require(Bundle.module.url(forResource: "Fixtures/\(name)", withExtension: "safetensors"))
    return try RecordedCase(Data(contentsOf: url))
  }

  static func worst(
    _ recorded: RecordedCase, _ text: String, config: JSON? = nil, theta: Theta? = nil, relative: Double = 1e-4,
    level: CPULevel
  ) throws -> Double {
    let name = try #require(recorded.optimizer(text), "\(text) is not known")
    let trajectory = try #require(recorded.trajectory(text, of: name))
    let recipe = try recorded.recipe(name, trajectory: trajectory, config: config, theta: theta)
    let replay = try OptimizerReplay(recorded, recipe, level: level)
    return try #require(replay.deviations(from: trajectory, relative: relative).map(\.ratio).max())
  }

  @Test(
    "a recording is reproduced with its own arguments", arguments: availableLevels,
    [
      ("adafac_mlp_lopt", "AdafacMLPLOpt"), ("adafac_mlp_lopt_h32", "small_fc"), ("hand_designed", "adam"),
      ("hand_designed", "adam_optax"), ("hand_designed", "SGD"), ("hand_designed", "SGDM"), ("celo2", "Celo2"),
      ("celo2_base_orth", "Celo2Base"), ("adafac_nominal_sgdm", "MLPNomLOpt"), ("adafac_nominal_star", "star"),
      ("hyper_v2_small", "HyperV2"), ("hyper_v2_small_bugged", "velo"),
    ])
  func recordings(level: CPULevel, recording: (file: String, optimizer: String)) throws {
    let worst = try Self.worst(Self.fixture(recording.file), recording.optimizer, level: level)
    #expect(worst < 1)
  }

  @Test("arguments that are given count in place of the recorded ones")
  func config() throws {
    let recorded = try Self.fixture("adafac_mlp_lopt_h32")
    let level = try #require(availableLevels.last)
    let given: JSON = ["hidden_size": 32, "exp_mult": 0.01, "step_mult": 0.01]
    #expect(try Self.worst(recorded, "small_fc", config: given, level: level) < 1)
    // The published constants are others than the recorded ones.
    #expect(try Self.worst(recorded, "small_fc", config: [:], level: level) > 1)
  }

  @Test("the file holds the parameters after each step in the tensors' order, and says how they were made")
  func file() throws {
    let recorded = try Self.fixture("hand_designed")
    let recipe = try recorded.recipe(.adam, trajectory: "adam", config: ["learning_rate": 0.5, "b1": 0.8])
    let replay = try OptimizerReplay(recorded, recipe, level: availableLevels[0])
    let file = try SafetensorsFile(replay.safetensors())
    #expect(file.tensors.map(\.name) == recorded.parameters.tensors.map { "traj/\($0.name)" })
    #expect(file.tensor("traj/square/w")?.shape == [recorded.steps, 12, 12])
    #expect(file.metadata["optimizer"] == "adam" && file.metadata["cpu_level"] == availableLevels[0].rawValue)
    let config = try JSON.parse(file.metadata["config"] ?? "")
    #expect(config == ["learning_rate": 0.5, "beta1": 0.8])
  }

  @Test("all recordings of a folder are reproduced", .enabled(if: goldenFolder != nil))
  func golden() throws {
    let folder = try #require(goldenFolder)
    let level = try #require(availableLevels.last)
    let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
      .filter { $0.pathExtension == "safetensors" }.sorted { $0.path < $1.path }
    try #require(!files.isEmpty)
    for url in files {
      let data = try Data(contentsOf: url)
      let file = try SafetensorsFile(data)
      guard file.tensors.contains(where: { $0.name.hasPrefix("grad/") && file.metadata["num_steps"] != nil }) else {
        continue
      }
      let recorded = try RecordedCase(data)
      let theta = try weights(file)
      if theta == nil, recorded.weights.isEmpty, recorded.trajectories == [""] {
        print("\(url.lastPathComponent): its weights are not at hand; left out")
        continue
      }
      for trajectory in recorded.trajectories {
        let text = trajectory.isEmpty ? recordedClass(file, of: theta) : trajectory
        guard recorded.optimizer(text) != nil else {
          print("\(url.lastPathComponent): no optimizer \(text) here; left out")
          continue
        }
        // Recordings with large products in single precision differ by more among machines.
        let relative =
          file.metadata["cls"]?.hasSuffix("HyperV2") == true
          ? 1e-3 : file.metadata["cls"]?.hasSuffix("Shampoo") == true ? 1e-2 : 1e-4
        let worst = try Self.worst(recorded, text, theta: theta, relative: relative, level: level)
        #expect(worst < 1, "\(url.lastPathComponent) \(trajectory)")
      }
    }
  }

  /// The class that was recorded, told apart where two have one name.
  private func recordedClass(_ file: SafetensorsFile, of theta: Theta?) -> String {
    theta?.schema.name.rawValue ?? file.metadata["cls"]?.split(separator: " ").last.map(String.init) ?? ""
  }

  /// Weights that a recording names, or tells by a formula, in place of holding them; nil where it holds them, or they
  /// are absent.
  private func weights(_ file: SafetensorsFile) throws -> Theta? {
    if file.metadata["theta_seed"] != nil {
      let theta = try generatedTheta(file, Velo.Configuration(lstmHidden: 512, networks: 256))
      // As a file of ours, which is what the command takes.
      return try Theta(file: theta.safetensors(), as: .velo)
    }
    guard let name = file.metadata["theta"], let folder = pretrainedFolder else { return nil }
    let parts = name.split(separator: "/").suffix(2).joined(separator: "/")
    let url = folder.appending(path: parts)
    guard FileManager.default.fileExists(atPath: url.path) else {
      print("recorded with weights that are not at hand: \(name)")
      return nil
    }
    return try? Theta(file: Data(contentsOf: url))
  }

  // MARK: Refusals

  /// A case of one tensor [2] over three steps, with changes.
  static func tiny(
    _ changes: [String: ([Int], [Float])?] = [:], metadata: [String: String] = ["num_steps": "3"]
  ) -> Data {
    var tensors: [String: ([Int], [Float])] = [
      "init/x": ([2], [1, -1]), "grad/x": ([3, 2], [1, 2, 3, 4, 5, 6]), "loss": ([3], [3, 2, 1]),
    ]
    for (name, tensor) in changes { tensors[name] = tensor }
    return SafetensorsWriter.encode(
      tensors.map { SafetensorsWriter.Tensor(name: $0.key, shape: $0.value.0, floats: $0.value.1) }, metadata: metadata)
  }

  @Test(
    "a case that cannot be replayed is refused with its tensor",
    arguments: [
      (["init/x": nil], "init/*"), (["grad/x": nil], "grad/x"),
      (["grad/x": ([3, 3], .init(repeating: 0, count: 9))], "grad/x"),
      (["grad/x": ([2], [1, 2])], "grad/x"), (["init/y": ([1], [0])], "grad/y"),
      (["grad/y": ([3], [1, 2, 3])], "grad/y"),
      (["init/x": ([2], [1, .nan])], "element 1"),
      (["grad/x": ([3, 2], [0, 0, 0, .infinity, 0, 0])], "step 1, element 1"),
      (["loss": ([3], [1, 2, .nan])], "loss"), (["loss": ([2], [1, 2])], "loss"),
      (["init/x": ([0], []), "grad/x": ([100_000_000, 0], []), "loss": nil], "steps"),
    ] as [([String: ([Int], [Float])?], String)])
  func refusals(changes: [String: ([Int], [Float])?], says: String) {
    let error = #expect(throws: FormatError.self) { try RecordedCase(Self.tiny(changes)) }
    #expect(error?.description.contains(says) == true, "\(String(describing: error))")
  }

  @Test("every cut of a file is refused")
  func truncated() {
    let data = Self.tiny()
    for count in 0..<data.count { #expect(throws: FormatError.self) { try RecordedCase(data.prefix(count)) } }
  }

  @Test("a number of steps is taken where it is one")
  func totalSteps() throws {
    #expect(try RecordedCase(Self.tiny(metadata: [:])).totalSteps == 3)
    #expect(try RecordedCase(Self.tiny(metadata: ["num_steps": "unused"])).totalSteps == 3)
    #expect(try RecordedCase(Self.tiny(metadata: ["num_steps": "70"])).totalSteps == 70)
    for wrong in ["0", "-1", "many"] {
      #expect(throws: FormatError.self) { try RecordedCase(Self.tiny(metadata: ["num_steps": wrong])) }
    }
  }

  @Test("scalars and tensors without elements are replayed")
  func degenerate() throws {
    let data = Self.tiny([
      "init/s": ([], [2]), "grad/s": ([3], [1, 1, 1]), "init/e": ([0, 4], []), "grad/e": ([3, 0, 4], []),
    ])
    let recorded = try RecordedCase(data)
    #expect(recorded.parameters.tensors.map(\.name) == ["e", "s", "x"])
    for level in availableLevels {
      let recipe = try recorded.recipe(.sgd, trajectory: nil, config: ["learning_rate": 0.5])
      let replay = try OptimizerReplay(recorded, recipe, level: level)
      #expect(replay.trajectory == [[], [1.5, 1, 0.5], [0.5, -2, -1, -4, -3.5, -7]])
    }
  }

  @Test("an optimizer that does not fit the case is refused")
  func misfits() throws {
    let withoutLoss = try RecordedCase(Self.tiny(["loss": nil]))
    let celo = Theta.initial(OptimizerCatalog.schema(of: .celo)!, key: RandomKey(seed: 1))
    let smallFC = Theta.initial(OptimizerCatalog.schema(of: .smallFC)!, key: RandomKey(seed: 1))
    let level = availableLevels[0]
    func says(_ name: OptimizerName, _ config: JSON, _ theta: Theta?) -> String {
      do {
        _ = try OptimizerReplay(
          withoutLoss, withoutLoss.recipe(name, trajectory: nil, config: config, theta: theta), level: level)
        return "nothing"
      } catch { return "\(error)" }
    }
    #expect(says(.celo, [:], celo).contains("no tensor \"loss\" [3]"))
    #expect(says(.celo, [:], nil).contains("theta/*"))
    #expect(says(.celo, [:], smallFC).contains("expected weights of celo, got those of small_fc"))
    #expect(says(.adam, [:], celo).contains("hand-designed"))
    #expect(says(.smallFC, ["hidden": 5], smallFC).contains("constants want"))
    #expect(says(.smallFC, ["learning_rate": 0.1], smallFC).contains("no learning rate to choose"))
    #expect(says(.adam, ["beta_one": 0.1, "rate": 2], nil).contains("/beta_one: unknown field"))
    #expect(says(.smallFC, ["exp_mult": 0.002], smallFC) == "nothing")
    // Every optimizer that asks for the batch itself is refused with the reason.
    for name in OptimizerName.allCases where !name.isLearned {
      let optimizer = OptimizerCatalog.make(
        OptimizerSettings(name), parameters: withoutLoss.parameters, level: level)
      guard optimizer.needs.contains(.problem) else { continue }
      #expect(says(name, [:], nil).contains("recorded gradients cannot answer"))
    }
  }

  // MARK: Arguments in text

  @Test(
    "arguments are read as people write them",
    arguments: [
      (#"{"a": 1}"#, ["a": 1]),
      (
        "optax.sgd learning_rate=0.01 momentum=0.9 nesterov=True | noise 1e-6",
        ["learning_rate": 0.01, "momentum": 0.9, "nesterov": true]
      ),
      ("defaults: a=1 b (0.9,0.99) c=True", ["a": 1, "c": true]),
      ("x=1e-8 d=(0.5,0.9), others default", ["x": 1e-8, "d": [0.5, 0.9]]),
      ("rate=0.01 defaults (size=128 so nothing is)", ["rate": 0.01]), ("defaults (y overridden)", [:]),
      ("m=1 w=0.1; others use b1=0.9", ["m": 1, "w": 0.1]),
      ("t=(0.9,) n=None s=SGDM", ["t": [0.9], "n": nil, "s": "SGDM"]),
    ] as [(String, JSON)])
  func arguments(text: String, means: JSON) throws {
    #expect(try RecordedArguments.parse(text) == means)
  }

  @Test("a case of more parameters than the optimizer trains is refused")
  func tooMany() throws {
    let count = Optimus.parametersMax + 1
    let zeros = [Float](repeating: 0, count: count)
    let file = SafetensorsWriter.encode(
      [
        SafetensorsWriter.Tensor(name: "init/w", shape: [count], floats: zeros),
        SafetensorsWriter.Tensor(name: "grad/w", shape: [1, count], floats: zeros),
      ], metadata: [:])
    let theta = Theta.initial(try #require(OptimizerCatalog.schema(of: .optimus)), key: RandomKey(seed: 1))
    let recipe = try OptimizerRecipe(.optimus, theta: theta)
    #expect(throws: SpecError.self) { try OptimizerReplay(RecordedCase(file), recipe, level: .scalar) }
  }

  @Test("text that says nothing is refused", arguments: ["fast please", "{", "a=1 a=2"])
  func wrongArguments(text: String) {
    #expect(throws: SpecError.self) { try RecordedArguments.parse(text) }
  }
}

/// The folder with all recordings, which `TRAINYARD_GOLDEN` names.
let goldenFolder: URL? = {
  let folder = ProcessInfo.processInfo.environment["TRAINYARD_GOLDEN"].map { URL(filePath: $0) }
  guard let folder, FileManager.default.fileExists(atPath: folder.path) else {
    print("the recordings are absent: set TRAINYARD_GOLDEN to their folder")
    return nil
  }
  return folder
}()
