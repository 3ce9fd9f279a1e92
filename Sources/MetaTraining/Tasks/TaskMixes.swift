// The mixes: a family at random, a configuration that is cheap enough, and the published chain of augmentations around it
// (Metz et al. 2022, arXiv 2211.09760).
import Compute
import Contract
import Foundation

/// A sampler over families.
struct TaskMix: Sendable {
  let families: [TaskFamily]
  /// The most floating-point operations that a step may take.
  let flopsMax: Double

  /// Candidates drawn before the cheapest of them is taken whatever it costs.
  static let drawsMax = 512

  /// The sampler as a registry's family.
  var family: TaskFamily {
    TaskFamily(
      isSampler: true,
      ranges: [
        "family": "one of \(families.count)", "flopsPerStep": "at most \(flopsMax)",
        "augmentations": "reparametrisation, ES 0.08, reduced batch 0.2, bfloat16 0.2, normalised 0.05, subspace 0.08, "
          + "delay 0.05",
      ]
    ) { (shapes: RandomKey, dynamic: RandomKey) -> TaskDraw in draw(shapes: shapes, dynamic: dynamic) }
  }

  private func draw(shapes: RandomKey, dynamic: RandomKey) -> TaskDraw {
    var draw = Draw(shapes.derive(1, 0, 0))
    let family = draw.choice(families)
    var cheapest: (flops: Double, key: RandomKey)?
    for index in 0..<UInt32(Self.drawsMax) {
      let key = shapes.derive(2, index, 0)
      // What cannot be built, such as a model beyond memory, counts as too dear.
      let config = family.draw(shapes: key, dynamic: dynamic)
      let flops = (try? TaskOutline.of(config))?.flopsPerStep ?? .infinity
      if flops < cheapest?.flops ?? .infinity { cheapest = (flops, key) }
      if flops <= flopsMax { return TaskDraw(config: Self.augmented(config, &draw), isFallback: false) }
    }
    let config = family.draw(shapes: cheapest?.key ?? shapes, dynamic: dynamic)
    return TaskDraw(config: Self.augmented(config, &draw), isFallback: true)
  }

  /// Wraps a task as the published mixes do; each augmentation is drawn independently, in this order.
  static func augmented(_ config: TaskConfig, _ draw: inout Draw) -> TaskConfig {
    var config = config
    let level = draw.choice(["none", "none", "global", "global", "tensor", "tensor", "parameter"])
    let range = draw.choice([0.001...1000, 0.01...100, 0.1...10])
    if let level = Augmentation.ReparametrisationLevel(rawValue: level) {
      config = Augmentation.reparametrised(level, range).config(around: config)
    }
    if draw.coin(0.08) {
      let deviation = draw.logFloat(0.001, 0.1), pairs = draw.choice([1, 2, 4, 8, 16])
      config = Augmentation.evolved(deviation: deviation, pairs: pairs).config(around: config)
    }
    if draw.coin(0.2) {
      config = TaskConfig("ReducedBatch", ["fraction": .number(draw.uniform(0.01, 1)), "family": config.json])
    }
    if draw.coin(0.2) { config = Augmentation.bfloat16.config(around: config) }
    if draw.coin(0.05) { config = Augmentation.normalised.config(around: config) }
    if draw.coin(0.08) {
      let directions = Int(draw.logFloat(1, 1024)), usesSign = draw.coin()
      config = Augmentation.subspace(directions: max(1, directions), usesSign: usesSign).config(around: config)
    }
    // The published delays of 1 to 7 act one step shorter, but never shorter than one.
    if draw.coin(0.05) {
      config = Augmentation.delayed(steps: max(1, draw.logInt(1, 8) - 1)).config(around: config)
    }
    return config
  }

  /// The mixes of the registry by name.
  static let all: [(name: String, mix: TaskMix)] = [(TaskFamilies.published, ""), (TaskFamilies.synthetic, "synth_")]
    .flatMap { families, prefix in
      [("phase1-cpu", 5e7), ("phase2-cpu", 5e8)].map { name, flops in
        ("\(prefix)mix:\(name)", TaskMix(families: families.all.map(\.family), flopsMax: flops))
      }
    }

  static let records = all.map { TaskRecord($0.name, .family($0.mix.family), loss: "mixed", tags: ["mix"]) }
}

/// What a configuration comes to without its plan: arithmetic and memory, in microseconds of work.
public struct TaskOutline {
  /// Arithmetic of one step, evaluations of augmentations included.
  public let flopsPerStep: Double
  let bytes: Int
  let parameters: Int
  let layers: Int

  /// Resolves the models of a configuration on blank data.
  ///
  /// - Throws: `SpecError` where it cannot be built or needs more memory than is allowed.
  public static func of(_ config: TaskConfig) throws -> TaskOutline {
    let box = OutlineBox()
    let faults = Faults()
    let builder = TaskBuilder(data: .descriptions(), level: .scalar)
    let built = try builder.build(config, TaskSite(path: "", faults: faults, outline: box))
    try faults.check()
    if let task = built {
      return TaskOutline(
        flopsPerStep: task.flopsPerStep, bytes: task.plan.arenaBytes, parameters: task.layout.elements,
        layers: task.plan.steps.count)
    }
    guard let model = box.model else { throw SpecError([Fault(path: "", reason: "the task could not be built")]) }
    let flops = Double(model.flopsPerStep(batchSize: box.batch))
    return TaskOutline(
      flopsPerStep: box.augmentations(in: config).reduce(flops) { $1.flops($0, parameters: model.parameterCount) },
      bytes: model.memoryBytes(batchSize: box.batch, stateFloatsPerParameter: 4), parameters: model.parameterCount,
      layers: model.steps.count)
  }
}

/// Where a builder that is asked for an outline leaves the model instead of compiling it.
final class OutlineBox {
  var model: ResolvedModel?
  var batch = 1

  /// The augmentations of a tree, from the innermost to the outermost.
  func augmentations(in config: TaskConfig) -> [Augmentation] {
    guard let json = config.arguments["family"], let inner = try? TaskConfig.decode(json) else { return [] }
    let rest = augmentations(in: inner)
    guard var fields = Fields(.object(config.arguments), faults: Faults()),
      let own = Augmentation.read(config.object, &fields)
    else { return rest }
    return rest + [own]
  }
}
