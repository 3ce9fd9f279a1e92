// Learned optimizers as the service keeps them, and the upload that brings one. What their weights are like only
// workers know.
import Foundation

/// A stored file by its hash.
public struct StoredContent: Sendable, Hashable {
  /// SHA-256 in hexadecimal.
  public let sha256: String
  public let bytes: Int

  public init(sha256: String, bytes: Int) {
    self.sha256 = sha256
    self.bytes = bytes
  }
}

/// A learned optimizer's weights with their provenance.
public struct LearnedOptimizerRecord: Sendable, Hashable {
  /// Uploads begin as `validating`; a worker makes them what was wished, or `rejected`. Jobs that name no version get a
  /// `released` one.
  public enum State: String, Sendable, CaseIterable { case validating, candidate, released, deprecated, rejected }

  /// Files beyond this are refused: VeLO, the largest published optimizer, has 9 MiB.
  public static let fileBytesMax = 64 << 20

  public var id: String
  public var name: OptimizerName
  public var version: Int
  public var state: State
  /// SHA-256 of the theta file, the blob's name; of the upload where no worker has found it good.
  public var sha256: String
  public var bytes: Int
  /// How many numbers were meta-trained; nil where no worker has found the file good.
  public var parameterCount: Int?
  /// What made it: seed, tasks, outer steps, engine version; of an import where the file comes from and who brought it.
  public var provenance: JSON
  public var createdAt: Timestamp
  /// The same weights as a file of the reference implementations; nil where there is none.
  public var flax: StoredContent?
  /// Constants of the architecture given with the upload.
  public var constants: JSON
  /// What an upload is to become.
  public var wanted: State?
  /// Why the file was rejected.
  public var problem: String?

  public init(
    id: String, name: OptimizerName, version: Int, state: State, sha256: String, bytes: Int, parameterCount: Int?,
    provenance: JSON, createdAt: Timestamp, flax: StoredContent? = nil, constants: JSON = [:], wanted: State? = nil,
    problem: String? = nil
  ) {
    self.id = id
    self.name = name
    self.version = version
    self.state = state
    self.sha256 = sha256
    self.bytes = bytes
    self.parameterCount = parameterCount
    self.provenance = provenance
    self.createdAt = createdAt
    self.flax = flax
    self.constants = constants
    self.wanted = wanted
    self.problem = problem
  }

  /// The weights in a form; nil where there is none.
  public func content(_ format: Format) -> StoredContent? {
    guard isUsable else { return nil }
    return format == .flax ? flax : StoredContent(sha256: sha256, bytes: bytes)
  }

  /// The forms of a file of weights: our own, and that of the reference implementations.
  public enum Format: String, Sendable, CaseIterable { case safetensors, flax }

  public var isSettled: Bool { state != .validating }

  /// Whether its weights can be used.
  public var isUsable: Bool { state != .validating && state != .rejected }

  public var json: JSON {
    [
      "id": .string(id), "object": "optimizer", "name": .string(name.rawValue), "version": .integer(version),
      "state": .string(state.rawValue), "sha256": .string(sha256), "bytes": .integer(bytes),
      "parameters": parameterCount.map(JSON.integer) ?? .null, "provenance": provenance,
      "problem": problem.map(JSON.string) ?? .null, "created_at": .time(createdAt),
    ]
  }

  /// The most updates that weights were trained for, as their provenance writes it; nil for what is no such number.
  public static func horizonSteps(_ text: String) -> Int? {
    Int(text).flatMap { (1...1_000_000_000).contains($0) ? $0 : nil }
  }

  // MARK: The upload

  /// What is said of a file of weights that is uploaded.
  public struct Upload: Sendable, Hashable {
    public var name: OptimizerName
    /// Nil takes the next free one.
    public var version: Int?
    public var state: State
    /// Constants that the file does not hold.
    public var constants: JSON
    /// Where it comes from; texts by name, such as `source` and `licence`.
    public var provenance: [String: String]

    public init(
      name: OptimizerName, version: Int? = nil, state: State = .candidate, constants: JSON = [:],
      provenance: [String: String] = [:]
    ) {
      self.name = name
      self.version = version
      self.state = state
      self.constants = constants
      self.provenance = provenance
    }

    /// The names of its fields in a query: texts, and numbers.
    public static let texts = ["name", "state", "config", "provenance"]
    public static let numbers = ["version"]
    /// What of a provenance the service writes itself.
    public static let reserved: Set<String> = [
      "format", "format_version", "architecture", "config", "source_sha256", "source_bytes", "source_format",
      "imported_by", "imported_at",
    ]

    /// Reads the fields; nil after a fault.
    public static func read(_ fields: inout Fields) -> Upload? {
      let text = fields.string("name", required: "which optimizer the weights are of")
      let version = fields.integer("version", in: 1...1_000_000)
      var state = State.candidate
      if let word = fields.string("state") {
        guard let wanted = State(rawValue: word), wanted == .candidate || wanted == .released else {
          fields.fault("state", "expected \"candidate\" or \"released\", got \"\(word)\"")
          return nil
        }
        state = wanted
      }
      let constants = object("config", &fields)
      var provenance: [String: String] = [:]
      if case .object(let members) = object("provenance", &fields) {
        for (key, value) in members.sorted(by: { $0.key < $1.key }) {
          if reserved.contains(key) {
            fields.fault("provenance", "\"\(key)\" is written by the service itself")
          } else if key == "horizon_steps", value.string.flatMap(LearnedOptimizerRecord.horizonSteps) == nil {
            fields.fault("provenance", "horizon_steps: expected a text such as \"5000\", a number from 1 to 1000000000")
          } else if let value = value.string, (1...64).contains(key.utf8.count), value.utf8.count <= 8192 {
            provenance[key] = value
          } else {
            fields.fault(
              "provenance", "\(key.prefix(64)): expected a name of 1 to 64 bytes and a text of at most 8192")
          }
        }
      }
      guard let text else { return nil }
      guard let name = OptimizerName(spelled: text), name.isLearned, name != .auto else {
        let learned = OptimizerName.allCases.filter { $0.isLearned && $0 != .auto }.map(\.rawValue)
        fields.fault(
          "name", "expected a learned optimizer (\(learned.joined(separator: ", "))), got \"\(text.prefix(64))\"")
        return nil
      }
      return Upload(name: name, version: version, state: state, constants: constants, provenance: provenance)
    }

    /// A JSON object written as text.
    private static func object(_ key: String, _ fields: inout Fields) -> JSON {
      guard let text = fields.string(key, lengths: 0...4096) else { return [:] }
      do {
        let value = try JSON.parse(text, depthMax: 4)
        if case .object = value { return value }
        fields.fault(key, "expected a JSON object, got \(value.kind)")
      } catch { fields.fault(key, "expected a JSON object: \(error)") }
      return [:]
    }
  }
}
