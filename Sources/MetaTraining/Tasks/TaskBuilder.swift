// TaskBuilder: from a configuration tree to a task. The outer nodes are augmentations, the innermost a model or a formula;
// each reads its own arguments and reports what is wrong with them by path.
import Compute
import Contract
import Foundation
import Learning

/// Builds tasks from configurations.
public struct TaskBuilder: Sendable {
  /// Where tasks find their data.
  public let data: TaskDataSets
  /// The kernels' level of all plans.
  public let level: CPULevel

  /// A builder on `data`; plans are compiled for `level`, which the machine must have.
  public init(data: TaskDataSets, level: CPULevel) {
    self.data = data
    self.level = level
  }

  /// Builds a task and compiles its plan.
  ///
  /// - Throws: `SpecError` with the path of each fault, `DataFault` where a data set does not suit, `ComputeError` where
  ///   the plan would be too large.
  public func build(_ config: TaskConfig) throws -> TrainingTask {
    let faults = Faults()
    let task = try build(config, TaskSite(path: "", faults: faults))
    try faults.check()
    guard let task else { throw SpecError([Fault(path: "", reason: "the task could not be built")]) }
    return task
  }

  /// The names of all objects that are no augmentation.
  static let leaves =
    AnalyticTask.allCases.map(\.rawValue) + ["LOpt", "NoisyQuadraticModel", "SoftmaxRegression", "TestFunction"]
    + ModelTask.allCases.map(\.rawValue)

  func build(_ config: TaskConfig, _ site: TaskSite) throws -> TrainingTask? {
    guard var fields = Fields(.object(config.arguments), path: "\(site.path)/args", faults: site.faults) else {
      return nil
    }
    switch config.object {
    case "ReducedBatch":
      let share = fields.number("fraction", in: 1e-6...1, required: "the share of each batch that is kept")
      guard let inner = family(&fields, site) else { return nil }
      var narrowed = inner.site
      narrowed.batchShare *= share ?? 1
      guard let task = try build(inner.config, narrowed) else { return nil }
      return task.renamed(config)
    case "LOpt":
      // Its cost hangs on the whole inner training, so that an outline needs the built task.
      let inner = try family(&fields, site, finishes: false).flatMap { config, site in
        var site = site
        site.outline = nil
        return try build(config, site)
      }
      return UnrolledTraining.build(config, &fields, inner)
    case "TestFunction": return try TestFunction.build(config, &fields, level: level)
    case "NoisyQuadraticModel": return try NoisyQuadraticModel.build(config, &fields, level: level)
    case "SoftmaxRegression": return try SoftmaxRegression.build(config, &fields, level: level)
    case _ where Augmentation.objects.contains(config.object):
      let augmentation = Augmentation.read(config.object, &fields)
      guard let inner = family(&fields, site), let task = try build(inner.config, inner.site), let augmentation else {
        return nil
      }
      if case .reparametrised = augmentation, task.augmentations.contains(.bfloat16) {
        site.faults.add(site.path, "ReparamWeights must stand inside BFloat16: rounded parameters are what is updated")
        return nil
      }
      return task.wrapped(augmentation, config: config)
    default:
      if let analytic = AnalyticTask(rawValue: config.object) {
        return try analytic.build(config, &fields, level: level)
      }
      if let model = ModelTask(rawValue: config.object) { return try model.build(config, &fields, site, self) }
      let known = Self.leaves + Augmentation.objects.sorted() + ["ReducedBatch"]
      site.faults.add(
        "\(site.path)/obj",
        "there is no \"\(config.object)\"\(NearNames.hint(config.object, among: known)); the objects are "
          + known.joined(separator: ", "))
      return nil
    }
  }

  /// The task inside an augmentation; `finishes` where its arguments have all been read.
  private func family(
    _ fields: inout Fields, _ site: TaskSite, finishes: Bool = true
  ) -> (config: TaskConfig, site: TaskSite)? {
    let json = fields.required("family", "the task inside, {\"obj\": …, \"args\": …}")
    if finishes { fields.finish() }
    var inner = site
    inner.path = "\(site.path)/args/family"
    return json.flatMap { TaskConfig.read($0, path: inner.path, faults: site.faults) }.map { ($0, inner) }
  }
}

/// Where in a tree a task is being built.
struct TaskSite {
  var path: String
  let faults: Faults
  /// The share of its batch that the innermost task keeps.
  var batchShare = 1.0

  /// Where models are left instead of being compiled, when only their cost is wanted.
  var outline: OutlineBox?

  /// A batch of `count` examples, reduced.
  func batch(_ count: Int) -> Int { max(1, Int(Double(count) * batchShare)) }
}

extension TrainingTask {
  /// The same task under another configuration.
  func renamed(_ config: TaskConfig) -> TrainingTask {
    TrainingTask(
      config: config, plan: plan, start: start, source: source, normaliser: normaliser, chanceLoss: chanceLoss,
      batchSize: batchSize, augmentations: augmentations, tags: tags, unroll: unroll)
  }
}

/// Names that someone may have meant.
enum NearNames {
  /// The closest of `names` by letters that differ, at most `count` and none that shares too little.
  static func closest(to name: String, among names: [String], count: Int = 5) -> [String] {
    let wanted = Array(name.lowercased().utf8)
    return names.map { (name: $0, distance: distance(wanted, Array($0.lowercased().utf8))) }
      .filter { $0.distance <= max(2, wanted.count / 2) }
      .sorted { ($0.distance, $0.name) < ($1.distance, $1.name) }
      .prefix(count).map(\.name)
  }

  /// "; did you mean …?", or nothing.
  static func hint(_ name: String, among names: [String]) -> String {
    let near = closest(to: name, among: names)
    return near.isEmpty ? "" : "; did you mean \(near.joined(separator: ", "))?"
  }

  /// Levenshtein's distance.
  private static func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
    var row = Array(0...b.count)
    for (i, x) in a.enumerated() {
      var diagonal = row[0]
      row[0] = i + 1
      for (j, y) in b.enumerated() {
        let above = row[j + 1]
        row[j + 1] = min(above + 1, row[j] + 1, diagonal + (x == y ? 0 : 1))
        diagonal = above
      }
    }
    return row[b.count]
  }
}
