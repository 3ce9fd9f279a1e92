// LocalCampaign.swift, LaneGroup.swift: meta-training on real small problems.
import Compute
import Contract
import Foundation
import Learning
import Testing

@testable import MetaTraining

/// Two classes of 6 x 6 images that a small network can tell apart: a bright left or a bright right half, with noise.
private func images(rows: Int = 512) -> TaskImages {
  let key = RandomKey(seed: 3)
  var pixels: [Float] = []
  var labels: [Int32] = []
  for row in 0..<rows {
    let label = Int(key.words(block: UInt32(row)).0 & 1)
    for place in 0..<36 {
      let noise = Float(RandomKey.uniform(key.words(block: UInt32(rows + row * 36 + place)).0))
      pixels.append((place % 6 < 3) == (label == 0) ? 0.3 + 0.7 * noise : 0.7 * noise)
    }
    labels.append(Int32(label))
  }
  return TaskImages(pixels: pixels, labels: labels, size: 6, classes: 2)
}

private func phase(
  kind: EstimatorSpec.Kind, outerSteps: Int, trainable: [String] = [],
  reparametrisation: ImageTaskSpec.Reparametrisation = .none
) -> CampaignPhase {
  CampaignPhase(
    name: "p", trainable: trainable, usesScheduler: false,
    estimator: EstimatorSpec(kind: kind, sigma: 0.01, pairs: 4, window: 10), lengths: .logUniform(20...60),
    outerSteps: outerSteps,
    outer: OuterSpec(
      optimizer: OptimizerSettings(
        .adam, ["learning_rate": 0.01, "schedule": ["kind": "cosine", "final": 0.1]])),
    tasks: [
      CampaignTask(
        .images(
          ImageTaskSpec(
            data: "halves", imageSize: 6, hidden: [8], activation: .relu, batchSize: 16,
            reparametrisation: reparametrisation, scales: 0.1...10)))
    ])
}

private let data = TaskDataSets(images: ["halves": images()])

/// Runs a phase on `threads` threads; theta after it, before it, and the mean losses of its outer steps.
private func run(
  _ phase: CampaignPhase, rule: OptimizerName = .smallFC, threads: Int
) throws -> (theta: [Float], start: [Float], losses: [Double]) {
  let spec = CampaignSpec(name: "halves", optimizer: rule, seed: 5, phases: [phase])
  let campaign = try LocalCampaign(spec, data: data, threads: threads, level: .best)
  let start = try campaign.theta(provenance: [:]).values
  var losses: [Double] = []
  try campaign.run { record in
    losses.append(record.report.meanLoss)
    return true
  }
  return (try campaign.theta(provenance: [:]).values, start, losses)
}

@Suite struct LocalCampaignTests {
  @Test("the number of threads changes no bit of theta", arguments: [EstimatorSpec.Kind.pes, .nres, .fullES])
  func threads(kind: EstimatorSpec.Kind) throws {
    let phase = phase(kind: kind, outerSteps: 12, reparametrisation: .tensor)
    let one = try run(phase, threads: 1)
    #expect(one.theta != one.start)
    for threads in 2...3 {
      let other = try run(phase, threads: threads)
      #expect(one.theta == other.theta && one.losses == other.losses)
    }
  }

  @Test("meta-training lowers the inner loss", arguments: [EstimatorSpec.Kind.pes, .nres])
  func learns(kind: EstimatorSpec.Kind) throws {
    let losses = try run(phase(kind: kind, outerSteps: 400), threads: 2).losses
    let early = losses.prefix(30).reduce(0, +) / 30
    let late = losses.suffix(30).reduce(0, +) / 30
    #expect(late < early - 0.1, "mean inner loss went from \(early) to \(late)")
  }

  @Test("leaves that are not trained keep their bits, also where the outer optimizer decays weights")
  func mask() throws {
    let layout = OptimizerCatalog.schema(of: .celo)!.layout
    var phase = phase(kind: .pes, outerSteps: 3, trainable: ["ff_mod_stack"])
    phase.outer.optimizer = OptimizerSettings(.adamw, ["learning_rate": 0.01, "weight_decay": 0.1])
    let result = try run(phase, rule: .celo, threads: 1)
    for tensor in layout.tensors {
      let range = tensor.offset..<tensor.offset + tensor.count
      let isSame = result.theta[range] == result.start[range]
      #expect(isSame != tensor.name.hasPrefix("ff_mod_stack"), "\(tensor.name)")
    }
  }

  @Test(
    "a campaign trains any learned optimizer, with constants of its own",
    arguments: OptimizerName.allCases.filter { $0.isLearned && $0 != .auto })
  func anyOptimizer(name: OptimizerName) throws {
    let small: [OptimizerName: [String: JSON]] = [.velo: ["lstm_hidden": 16, "networks": 8], .smallFC: ["hidden": 8]]
    let constants = small[name] ?? [:]
    var one = phase(kind: .pes, outerSteps: 1)
    one.estimator.pairs = 1
    one.tasks = [CampaignTask(.config(TaskConfig("Quadratic")))]
    let spec = try CampaignSpec.decode([
      "name": "any", "optimizer": .string(name.rawValue), "constants": .object(constants), "phases": [one.json],
    ])
    #expect(try CampaignSpec.decode(spec.json) == spec)
    let campaign = try LocalCampaign(spec, data: TaskDataSets([:]), threads: 1, level: .best)
    let before = try campaign.theta(provenance: [:])
    for (key, value) in constants { #expect(before.schema.configuration[key] == value) }
    var losses: [Double] = []
    try campaign.run { record in
      losses.append(record.report.meanLoss)
      return true
    }
    let after = try campaign.theta(provenance: [:])
    #expect(losses.count == 1 && losses[0].isFinite)
    #expect(after.schema == before.schema)
    // Celo2 gives this task's vector to Adam, which has no meta-parameters.
    #expect((after != before) == (name != .celo2))
  }

  @Test("a phase that trains no leaf is refused with the leaves there are")
  func noLeaf() {
    let error = #expect(throws: SpecError.self) {
      try run(phase(kind: .pes, outerSteps: 1, trainable: ["nothing"]), threads: 1)
    }
    #expect(error?.faults.first?.reason.contains("momentum_decays") == true)
  }

  @Test("phases of more pairs than there may be, or than fit into memory, are refused before any is made")
  func limits() throws {
    var phase = phase(kind: .pes, outerSteps: 1)
    phase.tasks = (0..<17).map { _ in CampaignTask(.config(TaskConfig("Quadratic")), pairs: 4096) }
    func problem() throws -> PhaseProblem {
      let spec = CampaignSpec(name: "many", optimizer: .smallFC, phases: [phase])
      return try PhaseProblem(spec, phase, number: 0, data: TaskDataSets([:]), level: .best)
    }
    let many = #expect(throws: SpecError.self) { try problem() }
    #expect(many?.faults.first?.path == "/estimator/pairs")
    phase.tasks.removeLast()
    let most = try problem()
    let bytes = UInt64(most.residentBytes)
    #expect(most.pairs.count == PhaseProblem.pairsMax && bytes > 65_536 * 197 * 8)
    try most.checkMemory(bytesMax: bytes)
    let large = #expect(throws: SpecError.self) { try most.checkMemory(bytesMax: bytes - 1) }
    #expect(large?.faults.first?.path == "/estimator/pairs")
  }

  @Test("leaves begin with the values that the campaign gives them, and others as they are drawn")
  func initial() throws {
    var spec = CampaignSpec(
      name: "given", optimizer: .celo, seed: 5, phases: [phase(kind: .nres, outerSteps: 1)])
    let drawn = try PhaseProblem.initialTheta(of: spec)
    let bias = "ff_mod_stack/~/b0", scale = "rnn_params/step_size/b", weights = "ff_mod_stack/~/w1"
    spec.initial = [bias: [1, -2, 3, 4.5], scale: [2.25]]
    let given = try PhaseProblem.initialTheta(of: spec)
    #expect(Array(given[bias]) == [1, -2, 3, 4.5] && Array(given[scale]) == [2.25])
    #expect(given[weights] == drawn[weights] && given[bias] != drawn[bias])
    spec.initial = [weights: [1, 2]]
    let error = #expect(throws: SpecError.self) { try PhaseProblem.initialTheta(of: spec) }
    #expect(error?.faults.map(\.path) == ["/initial/\(weights)"])
    #expect(error?.faults.first?.reason.contains("16") == true)
  }

  @Test("images are averaged down without losing brightness")
  func averaging() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("trainyard-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let count = 20
    let pixels = (0..<count * 28 * 28).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 / 7) }
    let file = folder.appendingPathComponent("upload")
    let header: [UInt8] = [0, 0, 8, 3, 0, 0, 0, UInt8(count), 0, 0, 0, 28, 0, 0, 0, 28]
    let labels: [UInt8] = [0, 0, 8, 1, 0, 0, 0, UInt8(count)] + (0..<count).map { UInt8($0 % 3) }
    try Data(header + pixels + labels).write(to: file)
    let place = folder.appendingPathComponent("set")
    _ = try DatasetBuilder.build(file: file, options: DatasetOptions(format: .idx), folder: place)
    let data = try TrainingData(folder: place)
    var full = [Float](repeating: 0, count: 784)
    full.withUnsafeMutableBufferPointer { data.train.input(0, into: $0.baseAddress!) }
    for size in [28, 14, 8, 5] {
      let small = try TaskImages(data, size: size)
      let mean = small.pixels.prefix(size * size).reduce(0, +) / Float(size * size)
      #expect(abs(mean - full.reduce(0, +) / 784) < 1e-4, "size \(size)")
    }
  }
}
