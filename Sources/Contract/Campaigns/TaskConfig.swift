// The configuration of an inner task: a tree of named objects with arguments, as stored, hashed and exchanged.
// CampaignSpec's tasks may be such trees; MetaTraining builds tasks from them.
import Foundation

/// A node of a task's configuration, such as `{"obj": "Quadratic", "args": {"dimensions": 10}}`.
///
/// Arguments are numbers, strings, booleans, lists or further nodes. What each object takes is known to its builder.
public struct TaskConfig: Sendable, Hashable {
  /// The object's name, such as `ImageMLP`.
  public var object: String
  public var arguments: [String: JSON]

  public init(_ object: String, _ arguments: [String: JSON] = [:]) {
    self.object = object
    self.arguments = arguments.mapValues(TaskConfig.canonical)
  }

  /// How deep trees may be: every augmentation around a model with its data is less than half of it.
  public static let depthMax = 24

  public var json: JSON { ["obj": .string(object), "args": .object(arguments)] }

  /// The tree as text that equal trees share: sorted keys, no spaces, whole numbers without a fraction.
  public var canonicalText: String { json.text }

  /// The SHA-256 of ``canonicalText`` in hexadecimal: what estimates, envelopes and results are filed under.
  public var id: String { SHA256Digest.hexadecimal(of: Array(canonicalText.utf8)) }

  /// The same tree with an argument set.
  public func with(_ argument: String, _ value: JSON) -> TaskConfig {
    var members = arguments
    members[argument] = value
    return TaskConfig(object, members)
  }

  /// Reads a node; faults are collected under `path`.
  public static func read(_ json: JSON, path: String, faults: Faults) -> TaskConfig? {
    guard depth(json) <= depthMax else {
      faults.add(path, "expected a configuration of at most \(depthMax) levels, got a deeper one")
      return nil
    }
    guard var fields = Fields(json, path: path, faults: faults) else { return nil }
    let object = fields.string("obj", lengths: 1...64, required: "the object's name, such as \"ImageMLP\"")
    var arguments: [String: JSON] = [:]
    if let value = fields.value("args") {
      if case .object(let members) = value {
        arguments = members
      } else {
        fields.fault("args", "expected an object, got \(value.kind)")
      }
    }
    fields.finish()
    return object.map { TaskConfig($0, arguments) }
  }

  /// Reads a tree that must be free of faults.
  public static func decode(_ json: JSON) throws(SpecError) -> TaskConfig {
    try Faults.collect { read(json, path: "", faults: $0) }
  }

  private static func canonical(_ json: JSON) -> JSON {
    switch json {
    case .number(let value):
      // 1.0 and 1 are the same number and must hash alike.
      if let integer = Int(exactly: value) { return .integer(integer) }
      return json
    case .array(let elements): return .array(elements.map(canonical))
    case .object(let members): return .object(members.mapValues(canonical))
    default: return json
    }
  }

  private static func depth(_ json: JSON) -> Int {
    switch json {
    case .array(let elements): return 1 + (elements.map(depth).max() ?? 0)
    case .object(let members): return 1 + (members.values.map(depth).max() ?? 0)
    default: return 0
    }
  }
}
