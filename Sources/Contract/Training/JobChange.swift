// What may be asked of a job that exists, beside its states: another name, tags or priority, and more steps; and what it
// says when its learned optimizer had to be replaced.
import Foundation

/// New values for what a job is called and when its turn comes. Nothing that its bits depend on can be changed.
public struct JobChange: Sendable, Hashable {
  /// The new name, or nil inside to take the name away; nil outside leaves it.
  public var name: String??
  /// All tags from now on; nil leaves them.
  public var tags: [String: String]?
  /// 0 (first) to 9 (last); nil leaves it.
  public var priority: Int?

  public init(name: String?? = nil, tags: [String: String]? = nil, priority: Int? = nil) {
    self.name = name
    self.tags = tags
    self.priority = priority
  }

  /// Reads the body of a request.
  public static func decode(_ json: JSON) throws(SpecError) -> JobChange {
    try Faults.collect { faults in
      guard var fields = Fields(json, faults: faults) else { return nil }
      var change = JobChange()
      if fields.has("name") { change.name = .some(fields.string("name")) }
      if fields.has("tags") {
        if fields.value("tags") == nil { fields.fault("tags", "expected an object of strings; {} takes all tags away") }
        change.tags = fields.tags("tags")
      }
      change.priority = fields.integer("priority", in: 0...9)
      if fields.has("priority"), fields.value("priority") == nil {
        fields.fault("priority", "expected an integer from 0 to 9, got null")
      }
      for key in ["steps", "budgets"] where fields.has(key) {
        fields.consume(key)
        fields.fault(key, "cannot be set: POST /v1/jobs/{job_id}/extend adds steps")
      }
      fields.finish()
      guard change != JobChange() || !faults.isEmpty else {
        faults.add("", "expected at least one of \"name\", \"tags\" and \"priority\" with its new value")
        return nil
      }
      return change
    }
  }

  /// The members that are given, as the store keeps them.
  public var json: JSON {
    var members: [String: JSON] = [:]
    if let name { members["name"] = .optional(name) }
    if let tags { members["tags"] = .object(tags.mapValues(JSON.string)) }
    if let priority { members["priority"] = .integer(priority) }
    return .object(members)
  }
}

extension TrainingSpec {
  /// The specification with the members that a ``JobChange`` has set.
  public func changed(by changes: JSON) -> TrainingSpec {
    guard case .object(let members) = changes else { return self }
    var spec = self
    if let name = members["name"] { spec.name = name.string }
    if case .object(let tags)? = members["tags"] { spec.tags = tags.compactMapValues(\.string) }
    if let priority = members["priority"]?.integer { spec.priority = priority }
    return spec
  }
}

/// A request for more steps.
public struct JobExtension: Sendable, Hashable {
  /// Steps to add, 1 to 100,000,000.
  public var steps: Int

  public init(steps: Int) { self.steps = steps }

  /// Reads the body of a request.
  public static func decode(_ json: JSON) throws(SpecError) -> JobExtension {
    try Faults.collect { faults in
      guard var fields = Fields(json, faults: faults) else { return nil }
      let steps = fields.integer("steps", in: TrainingSpec.stepsRange, required: "how many steps to add")
      fields.finish()
      return steps.map { JobExtension(steps: $0) }
    }
  }
}

/// What trains a job on after its learned optimizer diverged.
public struct JobFallback: Sendable, Hashable {
  /// The optimizer that took over.
  public var optimizer: OptimizerSpec
  /// The steps that were kept: it trains from here on.
  public var fromStep: Int
  /// What happened, for people.
  public var reason: String

  public init(optimizer: OptimizerSpec = .fallback, fromStep: Int, reason: String) {
    self.optimizer = optimizer
    self.fromStep = fromStep
    self.reason = reason
  }

  public var json: JSON {
    ["optimizer": optimizer.json, "from_step": .integer(fromStep), "reason": .string(reason)]
  }

  /// Reads what ``json`` wrote; nil for anything else.
  public static func decode(_ json: JSON) -> JobFallback? {
    guard let own = json["optimizer"], let step = json["from_step"]?.integer, let reason = json["reason"]?.string,
      let optimizer = OptimizerSpec.read(own, path: "", faults: Faults())
    else { return nil }
    return JobFallback(optimizer: optimizer, fromStep: step, reason: reason)
  }
}

extension OptimizerSpec {
  /// What takes over where a learned optimizer diverged: AdamW, whose steps are bounded by its rate whatever the size of
  /// the gradients, at a third of its usual rate and with the gradient's norm bounded, because this task has just
  /// shown that it is not a tame one.
  public static let fallback = OptimizerSpec(name: .adamw, options: ["learning_rate": 0.0003, "clip_norm": 1])
}
