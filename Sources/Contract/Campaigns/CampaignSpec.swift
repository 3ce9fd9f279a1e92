// A meta-training campaign: which learned optimizer is trained, from where, on which data, in which phases. Read from
// YAML or JSON; the server stores it, MetaTraining runs it.
import Foundation

/// A campaign as admins write it.
public struct CampaignSpec: Sendable, Hashable {
  /// Who computes the windows.
  public enum Mode: String, Sendable, CaseIterable {
    /// One worker, on threads of its own.
    case local
    /// Any number of workers; groups of pairs go through the database.
    case distributed
  }
  /// A theta to start from.
  public enum Start: Sendable, Hashable {
    /// A version of the registry; it is one of the optimizer that the campaign trains.
    case optimizer(version: Int)
    /// A version of another campaign.
    case campaign(id: String, version: Int)
  }
  /// An evaluation that is queued while the campaign runs.
  public struct Evaluation: Sendable, Hashable {
    public var everyOuterSteps: Int
    /// What is evaluated, as `POST /v1/evaluations` takes it; the optimizer is the campaign's theta.
    public var spec: JSON

    public init(everyOuterSteps: Int, spec: JSON) {
      self.everyOuterSteps = everyOuterSteps
      self.spec = spec
    }
  }

  public var name: String
  /// The learned optimizer to train.
  public var optimizer: OptimizerName
  /// Constants of its architecture that differ from the published ones, such as `lstm_hidden`.
  public var constants: [String: JSON]
  /// Seed of everything random in the campaign.
  public var seed: Int
  /// Leaves of theta that start at given values in place of random ones: one for the whole leaf, such as an output bias,
  /// or one for each of its elements, row-major.
  public var initial: [String: [Double]]
  /// Nil draws theta from the seed.
  public var start: Start?
  /// The stored datasets that stand for the data sets that tasks name; what begins with `synth_` needs none.
  public var data: [String: String]
  public var mode: Mode
  /// Local mode: threads; nil takes a thread for each core of the worker's machine.
  public var threads: Int?
  public var evaluation: Evaluation?
  public var phases: [CampaignPhase]

  public static let threadsMax = 256

  public init(
    name: String, optimizer: OptimizerName, constants: [String: JSON] = [:], seed: Int = 0,
    initial: [String: [Double]] = [:], start: Start? = nil, data: [String: String] = [:], mode: Mode = .local,
    threads: Int? = nil, evaluation: Evaluation? = nil, phases: [CampaignPhase]
  ) {
    self.name = name
    self.optimizer = optimizer
    self.constants = constants
    self.seed = seed
    self.initial = initial
    self.start = start
    self.data = data
    self.mode = mode
    self.threads = threads
    self.evaluation = evaluation
    self.phases = phases
  }

  public var json: JSON {
    let start: JSON
    switch self.start {
    case nil: start = .null
    case .optimizer(let version): start = ["version": .integer(version)]
    case .campaign(let id, let version): start = ["campaign": .string(id), "version": .integer(version)]
    }
    return [
      "name": .string(name), "optimizer": .string(optimizer.rawValue), "constants": .object(constants),
      "seed": .integer(seed),
      "initial": .object(initial.mapValues { $0.count == 1 ? .number($0[0]) : .array($0.map(JSON.number)) }),
      "start": start,
      "data": .object(data.mapValues(JSON.string)), "mode": .string(mode.rawValue),
      "threads": threads.map(JSON.integer) ?? .null,
      "evaluation": evaluation.map {
        ["every_outer_steps": .integer($0.everyOuterSteps), "spec": $0.spec]
      } ?? .null,
      "phases": .array(phases.map(\.json)),
    ]
  }

  public static func decode(_ json: JSON) throws(SpecError) -> CampaignSpec {
    try Faults.collect { faults in
      guard var fields = Fields(json, faults: faults) else { return nil }
      let name = fields.string("name", required: "the campaign's name")
      let optimizer = fields.choice("optimizer", of: OptimizerName.self, required: "the learned optimizer to train")
      if let optimizer, !optimizer.isLearned || optimizer == .auto {
        let learned = OptimizerName.allCases.filter { $0.isLearned && $0 != .auto }.map(\.rawValue)
        fields.fault(
          "optimizer", "expected one of \(learned.joined(separator: ", ")), got \"\(optimizer.rawValue)\"")
      }
      var constants: [String: JSON] = [:]
      if let value = fields.value("constants") {
        if case .object(let members) = value {
          constants = members
        } else {
          fields.fault("constants", "expected an object, got \(value.kind)")
        }
      }
      let seed = fields.integer("seed", in: TrainingSpec.seedRange) ?? 0
      let initial = readInitial(&fields)
      let start = fields.value("start").flatMap { readStart($0, fields.pointer("start"), faults) }
      let data = readData(&fields)
      let mode = fields.choice("mode", of: Mode.self) ?? .local
      let threads = fields.integer("threads", in: 1...threadsMax)
      let evaluation = fields.value("evaluation").flatMap {
        readEvaluation($0, fields.pointer("evaluation"), faults)
      }
      let phases = fields.array("phases", counts: 1...32, required: "one phase or more", read: CampaignPhase.read)
      fields.finish()
      guard let name, let optimizer, let phases else { return nil }
      return CampaignSpec(
        name: name, optimizer: optimizer, constants: constants, seed: seed, initial: initial, start: start, data: data,
        mode: mode, threads: threads, evaluation: evaluation, phases: phases)
    }
  }

  private static func readStart(_ json: JSON, _ path: String, _ faults: Faults) -> Start? {
    guard var fields = Fields(json, path: path, faults: faults) else { return nil }
    let campaign = fields.identifier("campaign", .campaign)
    let lowest = fields.has("campaign") ? 0 : 1
    let version = fields.integer("version", in: lowest...1_000_000_000, required: "the version to start from")
    fields.finish()
    guard let version else { return nil }
    return campaign.map { .campaign(id: $0, version: version) } ?? .optimizer(version: version)
  }

  /// Elements that a leaf may be given; larger ones are drawn, or come with a start.
  private static let initialMax = 4096

  private static func readInitial(_ fields: inout Fields) -> [String: [Double]] {
    guard let json = fields.value("initial") else { return [:] }
    guard case .object(let members) = json, members.count <= 1000 else {
      fields.fault("initial", "expected an object of at most 1000 leaves, got \(json.kind)")
      return [:]
    }
    let range = -1e6...1e6
    var initial: [String: [Double]] = [:]
    for (name, json) in members.sorted(by: { $0.key < $1.key }) {
      let values = (json.array ?? [json]).map { $0.number.flatMap { range.contains($0) ? $0 : nil } }
      guard (1...initialMax).contains(values.count), !values.contains(nil) else {
        fields.fault(
          "initial",
          "expected a number from \(range.lowerBound) to \(range.upperBound), or a list of at most \(initialMax), at "
            + "\"\(name)\"")
        continue
      }
      initial[name] = values.compactMap { $0 }
    }
    return initial
  }

  /// Data sets by the names that tasks use, each an id.
  private static func readData(_ fields: inout Fields) -> [String: String] {
    guard let json = fields.value("data") else { return [:] }
    guard case .object(let members) = json, members.count <= 64 else {
      fields.fault("data", "expected an object of at most 64 dataset ids, got \(json.kind)")
      return [:]
    }
    var data: [String: String] = [:]
    for (name, json) in members.sorted(by: { $0.key < $1.key }) {
      guard let id = json.string, Identifier.isValid(id, .dataset) else {
        fields.fault("data", "expected a dataset's id at \"\(name)\", got \(json.text)")
        continue
      }
      data[name] = id
    }
    return data
  }

  private static func readEvaluation(_ json: JSON, _ path: String, _ faults: Faults) -> Evaluation? {
    guard var fields = Fields(json, path: path, faults: faults) else { return nil }
    let every = fields.integer("every_outer_steps", in: 1...10_000_000, required: "outer steps between evaluations")
    let spec = fields.required("spec", "the evaluation")
    fields.finish()
    guard let every, let spec else { return nil }
    return Evaluation(everyOuterSteps: every, spec: spec)
  }
}
