// The tasks of an evaluation: named sets, entries of the registry, configuration trees.
import Foundation

/// One entry of an evaluation's tasks.
public enum EvaluationTask: Sendable, Hashable {
  /// Tasks that are evaluated together.
  public enum Named: String, Sendable, CaseIterable {
    /// 25 tasks on public data that one core trains for 10,000 steps in minutes each.
    case cpuDrome = "cpu-drome"
    /// The same models on made data: nothing has to be given.
    case synthDrome = "synth-drome"
    /// A few of the cheapest of them, to try something out in a minute.
    case quick

    /// How many tasks these are.
    public var count: Int { self == .quick ? 5 : 25 }
  }

  case set(Named)
  case task(TaskSpec)

  /// How many tasks these are; a fixed task counts once whatever its `draws`.
  public var countMax: Int {
    switch self {
    case .set(let set): set.count
    case .task(.named(_, let draws)): draws
    case .task: 1
    }
  }

  public var json: JSON {
    switch self {
    case .set(let set): .string(set.rawValue)
    case .task(let task): task.json
    }
  }

  /// Reads a set's or a task's name, or an object as in campaigns.
  static func read(_ json: JSON, path: String, faults: Faults) -> EvaluationTask? {
    guard let word = json.string else {
      return TaskSpec.read(json, path: path, faults: faults).map(EvaluationTask.task)
    }
    if let set = Named(rawValue: word) { return .set(set) }
    guard (1...200).contains(word.unicodeScalars.count), word.unicodeScalars.allSatisfy({ $0.value >= 0x20 }) else {
      let sets = Named.allCases.map(\.rawValue).joined(separator: ", ")
      faults.add(path, "expected a task's name or one of the sets \(sets), got \(json.kind)")
      return nil
    }
    return .task(.named(word, draws: 1))
  }
}
