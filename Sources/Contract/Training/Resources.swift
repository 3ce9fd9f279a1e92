// The smaller resources of the API: stored model definitions and workers.
import Foundation

/// A stored model: a definition, or a file that brings graph and weights.
public struct ModelDefinition: Sendable, Hashable {
  /// What a model is made of.
  public enum Source: Sendable, Hashable {
    case definition(ModelSpec)
    case file(ModelFile)
  }
  public var id: String
  public var project: String
  public var name: String
  public var source: Source
  public var createdAt: Timestamp

  public init(id: String, project: String, name: String, source: Source, createdAt: Timestamp) {
    self.id = id
    self.project = project
    self.name = name
    self.source = source
    self.createdAt = createdAt
  }

  /// Whether nothing about it will change any more.
  public var isSettled: Bool {
    if case .file(let file) = source { file.state.isTerminal } else { true }
  }

  public var json: JSON {
    var members: [String: JSON] = [
      "id": .string(id), "object": "model", "name": .string(name), "created_at": .time(createdAt),
    ]
    switch source {
    case .definition(let spec):
      members.merge(["format": "definition", "state": "ready", "model": spec.json, "file": .null]) { $1 }
    case .file(let file):
      members.merge(
        ["format": "onnx", "state": .string(file.state.rawValue), "model": .null, "file": file.json]) { $1 }
    }
    return .object(members)
  }

  /// Reads the body of a request that stores a definition: `{"name": …, "model": {…}}`.
  public static func decodeRequest(_ json: JSON) throws(SpecError) -> (name: String, spec: ModelSpec) {
    try Faults.collect { faults in
      guard var fields = Fields(json, faults: faults) else { return nil }
      let name = fields.string("name", required: "the definition's name")
      let spec = fields.required("model", "a model such as {\"preset\": \"mlp\"}")
        .flatMap { ModelSpec.read($0, path: "/model", faults: faults) }
      fields.finish()
      guard let name, let spec else { return nil }
      return (name, spec)
    }
  }
}

/// A worker process as it last reported itself.
public struct WorkerRecord: Sendable, Hashable {
  public var id: String
  public var host: String
  public var processID: Int
  public var slots: Int
  public var cpuLevel: String
  /// Measured when the worker started.
  public var speed: MachineSpeed
  public var startedAt: Timestamp
  public var seenAt: Timestamp

  public init(
    id: String, host: String, processID: Int, slots: Int, cpuLevel: String, speed: MachineSpeed, startedAt: Timestamp,
    seenAt: Timestamp
  ) {
    self.id = id
    self.host = host
    self.processID = processID
    self.slots = slots
    self.cpuLevel = cpuLevel
    self.speed = speed
    self.startedAt = startedAt
    self.seenAt = seenAt
  }

  public var json: JSON {
    [
      "id": .string(id), "object": "worker", "host": .string(host), "process_id": .integer(processID),
      "slots": .integer(slots), "cpu_level": .string(cpuLevel), "speed": speed.json,
      "started_at": .time(startedAt), "seen_at": .time(seenAt),
    ]
  }
}
