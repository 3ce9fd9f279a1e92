// TaskRegistry: the tasks, families and samplers that have names. TaskRecord is what an entry looks like in JSON.
import Compute
import Contract
import Foundation

/// A named entry.
public struct TaskRecord: Sendable {
  /// One task, or a distribution over tasks that are alike, or over tasks that differ in kind.
  public enum Kind: String, Sendable, CaseIterable { case fixed, family, sampler }

  /// What the name stands for.
  public enum Content: Sendable {
    case fixed(TaskConfig)
    /// Draws a configuration whose shapes and dynamic choices hang on the key alone.
    case family(TaskFamily)
  }

  /// Unique in the registry.
  public let name: String
  /// Raised whenever the same name comes to mean something else.
  public let version: Int
  /// What the name stands for.
  public let content: Content
  /// What the loss is: `ce`, `mse`, `analytic`, …
  public let loss: String
  /// Words to find the entry by, such as `image`.
  public let tags: Set<String>

  /// An entry; ``TaskRegistry`` holds it by `name`.
  public init(_ name: String, version: Int = 1, _ content: Content, loss: String, tags: Set<String>) {
    self.name = name
    self.version = version
    self.content = content
    self.loss = loss
    self.tags = tags
  }

  /// Of what kind the content is.
  public var kind: Kind {
    switch content {
    case .fixed: .fixed
    case .family(let family): family.isSampler ? .sampler : .family
    }
  }

  /// The tree of a fixed task, or one draw of a family or sampler.
  public func config(_ key: RandomKey) -> TaskConfig { sample(key).config }

  /// As ``config(_:)``, and whether it is over a sampler's cap.
  public func sample(_ key: RandomKey) -> TaskDraw {
    switch content {
    case .fixed(let config): TaskDraw(config: config, isFallback: false)
    case .family(let family): family.sample(key)
    }
  }

  /// The record without what only a built task knows.
  public var json: JSON {
    var members: [String: JSON] = [
      "name": .string(name), "version": .integer(version), "kind": .string(kind.rawValue), "loss": .string(loss),
      "tags": .array(tags.sorted().map(JSON.string)),
    ]
    switch content {
    case .fixed(let config):
      members["config"] = config.json
      members["configId"] = .string(config.id)
    case .family(let family): members["ranges"] = .object(family.ranges.mapValues(JSON.string))
    }
    return .object(members)
  }

  /// The whole record: what the task comes to is found by building it on data of the right shape.
  public func described(level: CPULevel) throws -> JSON {
    guard case .object(var members) = json, case .fixed(let config) = content else { return json }
    let task = try TaskBuilder(data: .descriptions(), level: level).build(config)
    members.merge(task.facts) { $1 }
    return .object(members)
  }
}

extension TrainingTask {
  /// What a record says of a task that has been built.
  public var facts: [String: JSON] {
    [
      "params": .integer(layout.elements), "flopsPerStep": .number(flopsPerStep), "batch": .integer(batchSize),
      "normalizer": normaliser.json, "chanceLoss": chanceLoss.map(JSON.number) ?? .null,
      "configId": .string(config.id),
    ]
  }
}

/// What came of a draw.
public struct TaskDraw: Sendable, Hashable {
  /// The configuration drawn.
  public let config: TaskConfig
  /// Whether all candidates were over the sampler's cap, so that this is but the cheapest of them.
  public let isFallback: Bool
}

/// A distribution over configurations.
public struct TaskFamily: Sendable {
  /// Whether what is drawn may differ in kind, as from a mix of families.
  public let isSampler: Bool
  /// What is drawn, in words, by argument.
  public let ranges: [String: String]
  private let make: @Sendable (_ shapes: RandomKey, _ dynamic: RandomKey) -> TaskDraw

  /// - Parameter make: the configuration for a key of what changes shapes and one of what does not. Equal keys of shapes
  ///   must give tasks of equal tensors.
  public init(
    isSampler: Bool = false, ranges: [String: String],
    _ make: @escaping @Sendable (_ shapes: RandomKey, _ dynamic: RandomKey) -> TaskConfig
  ) {
    self.isSampler = isSampler
    self.ranges = ranges
    self.make = { TaskDraw(config: make($0, $1), isFallback: false) }
  }

  /// A sampler that rejects draws, and says where it had to take one all the same.
  init(
    isSampler: Bool, ranges: [String: String],
    _ make: @escaping @Sendable (_ shapes: RandomKey, _ dynamic: RandomKey) -> TaskDraw
  ) {
    self.isSampler = isSampler
    self.ranges = ranges
    self.make = make
  }

  /// The configuration of a key, and whether it is over the sampler's cap; equal keys give equal ones.
  public func sample(_ key: RandomKey) -> TaskDraw { make(key.derive(1, 0, 0), key.derive(2, 0, 0)) }

  /// The configuration of a key; equal keys give equal ones.
  public func draw(_ key: RandomKey) -> TaskConfig { sample(key).config }

  /// The configuration of a key of what changes shapes and one of what is drawn anew for each training.
  public func draw(shapes: RandomKey, dynamic: RandomKey) -> TaskConfig { make(shapes, dynamic).config }
}

/// All entries by name.
public struct TaskRegistry: Sendable {
  /// The entries, by name.
  public let records: [TaskRecord]
  private let places: [String: Int]

  /// Traps on a repeated name.
  public init(_ records: [TaskRecord]) {
    self.records = records.sorted { $0.name < $1.name }
    var places: [String: Int] = [:]
    for (index, record) in self.records.enumerated() {
      precondition(places[record.name] == nil, "TaskRegistry: \(record.name) appears twice")
      places[record.name] = index
    }
    self.places = places
  }

  /// The entries that the program knows.
  public static let standard = TaskRegistry(
    AnalyticRecords.all + CPUDrome.records + CPUDrome.synthetic + TaskFamilies.published.records
      + TaskFamilies.synthetic.records + TaskMix.records)

  /// The entry of that name.
  ///
  /// - Throws: `SpecError` that lists near names.
  public func record(_ name: String, path: String = "") throws -> TaskRecord {
    if let place = places[name] { return records[place] }
    let hint = NearNames.hint(name, among: records.map(\.name))
    throw SpecError([
      Fault(
        path: path, reason: "there is no task named \"\(name)\"\(hint.isEmpty ? "; see `trainyard task list`" : hint)")
    ])
  }

  /// The configurations that a campaign's task stands for: a list of tasks, each with variants that differ in what is
  /// drawn anew for each training.
  func configs(of task: TaskSpec, path: String, key: RandomKey) throws -> [[TaskConfig]] {
    switch task {
    case .images(let spec): return [[spec.config]]
    case .config(let config): return [[config]]
    case .named(let name, let draws):
      switch try record(name, path: "\(path)/task").content {
      case .fixed(let config): return [[config]]
      case .family(let family):
        return (0..<UInt32(draws)).map { draw in
          let shapes = key.derive(draw, 0, 0)
          var variants: [TaskConfig] = []
          for variant: UInt32 in 0..<Self.variantsMax {
            let config = family.draw(shapes: shapes, dynamic: shapes.derive(3, variant, 0))
            if !variants.contains(config) { variants.append(config) }
          }
          return variants
        }
      }
    }
  }

  /// How many dynamic draws of one task a campaign holds ready; each has its plan in every lane's memory.
  static let variantsMax: UInt32 = 4
}

/// The analytic tasks of the registry.
enum AnalyticRecords {
  static let all: [TaskRecord] = quadratics + toys + functions + others

  private static let quadratics = AnalyticTask.allCases.filter { ![.valley, .product, .bowl, .saddle].contains($0) }.map
  {
    TaskRecord($0.rawValue, .fixed(TaskConfig($0.rawValue)), loss: "analytic", tags: ["analytic", "quadratic"])
  }

  private static let toys =
    [AnalyticTask.valley, .product, .saddle].map {
      TaskRecord($0.rawValue, .fixed(TaskConfig($0.rawValue)), loss: "analytic", tags: ["analytic", "toy"])
    }
    + [1, 10, 100, 1000].map {
      TaskRecord(
        "Bowl\($0)", .fixed(TaskConfig("Bowl", ["condition": .integer($0)])), loss: "analytic",
        tags: ["analytic", "toy"])
    }

  /// The functions at the dimensions they are usually compared at.
  private static let functions = TestFunction.allCases.flatMap { function in
    (function.isPlanar ? [2] : [2, 10, 50, 100, 500, 1000]).map { count in
      TaskRecord(
        "\(function.rawValue)_\(count)d",
        .fixed(
          TaskConfig("TestFunction", ["function": .string(function.rawValue), "dimensions": .integer(count)])),
        loss: "analytic", tags: ["analytic", "test-function"])
    }
  }

  private static let others = [
    TaskRecord(
      "NoisyQuadraticModel", .fixed(TaskConfig("NoisyQuadraticModel")), loss: "analytic",
      tags: ["analytic", "quadratic"]),
    TaskRecord(
      "NoisyQuadraticModels",
      .family(
        TaskFamily(ranges: ["dimensions": "log-int 10 to 1000", "low": "1e-3", "high": "1", "seed": "any"]) {
          shapes, _ in
          var draw = Draw(shapes)
          return TaskConfig(
            "NoisyQuadraticModel",
            [
              "dimensions": .integer(draw.logInt(10, 1000)), "low": 1e-3, "high": 1,
              "seed": .integer(Int(draw.uniform(0, 1e9))),
            ])
        }), loss: "analytic", tags: ["analytic", "quadratic"]),
    TaskRecord(
      "SoftmaxRegression", .fixed(TaskConfig("SoftmaxRegression")), loss: "ce", tags: ["analytic", "convex"]),
    TaskRecord(
      "SoftmaxRegressions",
      .family(
        TaskFamily(ranges: ["dimensions": "log-int 2 to 1000", "classes": "log-int 2 to 100", "seed": "any"]) {
          shapes, _ in
          var draw = Draw(shapes)
          return TaskConfig(
            "SoftmaxRegression",
            [
              "dimensions": .integer(draw.logInt(2, 1000)), "classes": .integer(draw.logInt(2, 100)),
              "seed": .integer(Int(draw.uniform(0, 1e9))),
            ])
        }), loss: "ce", tags: ["analytic", "convex"]),
  ]
}
