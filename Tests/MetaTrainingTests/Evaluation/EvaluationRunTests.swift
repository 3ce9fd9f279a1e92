// Single trainings: measured without being disturbed, stopped where they diverge, cancelled and timed, and stored whole.
import Compute
import Contract
import Foundation
import Learning
import Testing

@testable import MetaTraining

struct EvaluationRunTests {
  /// A registry's task, or a small classifier.
  private func task(
    _ name: String? = nil, _ optimizer: OptimizerSettings = OptimizerSettings(.adam)
  ) throws -> InnerTask {
    let images = TaskConfig("synth_blobs", ["imageSize": 8, "batch": 64, "rows": 256])
    let config =
      try name.map { try TaskRegistry.standard.record($0).config(RandomKey(seed: 1)) }
      ?? TaskConfig("ImageMLP", ["hidden": [32], "data": images.json])
    let task = try TaskBuilder(data: TaskDataSets([:]), level: .best).build(config)
    return try InnerTask(task) { OptimizerCatalog.make(optimizer, parameters: $0, totalSteps: 100, level: .best) }
  }

  private func run(
    _ steps: Int, marks: [Int] = [], seed: Int = 0, every: Int? = 10, batches: Int = 1
  ) -> EvaluationRun {
    EvaluationRun(
      steps: steps, marks: marks, seed: seed,
      measurement: EvaluationMeasurement(every: every, batches: batches, lastBatches: 2))
  }

  @Test("how often and on how much is measured does not change the training")
  func frequency() throws {
    let task = try task()
    // The paths of two trainings are compared through the losses where both measure on as many batches.
    let rare = try run(60, every: 60).measure(task, theta: nil)
    let often = try run(60, every: 3, batches: 4).measure(task, theta: nil)
    let last = try #require(rare.points.last)
    #expect(often.points.last?.step == 60 && often.points.last?.loss.bitPattern == last.loss.bitPattern)
    #expect(rare.points.count == 2 && often.points.count == 21)
    let again = try run(60, every: 60).measure(task, theta: nil)
    #expect(again.withoutTimes == rare.withoutTimes)
    let other = try run(60, seed: 1, every: 60).measure(task, theta: nil)
    #expect(other.points[0].loss != rare.points[0].loss)
  }

  @Test("a short training is the beginning of a longer one that marks its end")
  func prefix() throws {
    let task = try task()
    let short = try run(40).measure(task, theta: nil)
    let long = try run(80, marks: [40]).measure(task, theta: nil)
    #expect(long.point(at: 40) == short.point(at: 40) && short.point(at: 40) != nil)
    #expect(try run(80).measure(task, theta: nil).point(at: 40)?.loss != long.point(at: 40)?.loss)
  }

  @Test("losses are smoothed by their running mean over steps, however often they are measured")
  func smoothing() throws {
    let measured = try run(60, every: 20).measure(task(), theta: nil)
    var smoothed = 0.0
    for (index, point) in measured.points.enumerated() {
      let share = index == 0 ? 0 : 0.95 * 0.95
      smoothed = share * smoothed + (1 - share) * Double(point.loss)
      #expect(abs(Double(point.smoothed) - smoothed) < 1e-6)
    }
    #expect(measured.points[0].training.isNaN && measured.points[1].training.isFinite)
  }

  @Test("a training that diverges is stopped and keeps what came before")
  func divergence() throws {
    let task = try task("rosenbrock_2d", OptimizerSettings(.sgd, ["learning_rate": 100]))
    let measured = try run(100, every: 1).measure(task, theta: nil)
    guard case .diverged(let step) = measured.ending else {
      Issue.record("it did not diverge")
      return
    }
    #expect(step > 0 && step < 100 && measured.points.last?.step == step && measured.point(at: step) == nil)
    #expect(measured.point(at: 0) != nil && measured.point(at: 100) == nil)
  }

  @Test("cancelling and the time limit end a training with their reason")
  func endings() throws {
    let task = try task()
    #expect(throws: EvaluationRun.Failure.cancelled) { try run(100).measure(task, theta: nil) { true } }
    var limited = run(100)
    limited.measurement.timeLimitSeconds = 0
    #expect(throws: EvaluationRun.Failure.timeLimit(seconds: 0, step: 0)) { try limited.measure(task, theta: nil) }
  }

  @Test("updates, slices and paths are kept where they are asked for, and the stored form holds all")
  func details() throws {
    var detailed = run(40)
    (detailed.keepsUpdates, detailed.keepsLandscape, detailed.keepsPath) = (true, true, true)
    let task = try task()
    let measured = try detailed.measure(task, theta: nil)
    let updates = try #require(measured.updates)
    #expect(updates.tensors.count == 4 && updates.steps == [0, 10, 20, 30])
    #expect(updates.moved.allSatisfy { $0 > 0 } && updates.moved.count == 16)
    // Adam's first update moves every parameter by the rate.
    let count = Float(task.layout.tensors[1].count)
    #expect(abs(updates.moved[1] - 1e-3 * count.squareRoot()) < 1e-4 * count.squareRoot())
    let slice = try #require(measured.landscape)
    let centre = slice.plane[slice.plane.count / 2]
    #expect(slice.plane.count == 441 && abs(centre - slice.line[25]) < 1e-5, "the end lies on both slices")
    #expect(slice.line[5] > centre, "the start is worse than the end")
    #expect(measured.path == nil, "the task has more than two parameters")
    #expect(EvaluationResult(json: try JSON.parse(Data(measured.json.bytes))) == measured)

    var drawn = run(20)
    drawn.keepsPath = true
    let path = try #require(drawn.measure(self.task("Valley"), theta: nil).path)
    #expect(path.count == 42 && path[0] != path[40])
    let plain = try run(40).measure(task, theta: nil)
    #expect(plain.points == measured.points, "keeping more changes nothing")
  }

  @Test(
    "a stored result that is damaged is no result",
    arguments: [
      "{}", #"{"steps": [1], "loss": "AAAA", "smoothed": "", "normalised": "", "training": ""}"#,
      #"{"steps": [], "loss": "", "smoothed": "", "normalised": "", "training": "", "updates": {}}"#,
      #"{"steps": [], "loss": "", "smoothed": "", "normalised": "", "training": "", "landscape": {"side": 3, "plane": "", "line": ""}}"#,
      #"{"steps": [], "loss": "", "smoothed": "", "normalised": "", "training": "", "path": "AAAAAA=="}"#,
    ])
  func damage(text: String) throws {
    #expect(EvaluationResult(json: try JSON.parse(text)) == nil)
  }

  @Test("long curves are thinned to the limit, dense at the start, with their ends and budgets")
  func thinning() {
    let steps = Array(stride(from: 0, through: 10_000, by: 10))
    let kept = EvaluationRun.thinned(steps, keeping: [500, 2000], countMax: 200)
    #expect(kept.count <= 202 && kept.count > 150 && kept.first == 0 && kept.last == 10_000)
    #expect(kept.contains(500) && kept.contains(2000))
    #expect(zip(kept, kept.dropFirst()).allSatisfy { $0 < $1 })
    #expect(kept[1] == 10 && kept[kept.count - 1] - kept[kept.count - 2] > 100)
    #expect(EvaluationRun.thinned([0, 5, 9], keeping: [], countMax: 200) == [0, 5, 9])
  }

  @Test("every optimizer that a schedule calls independent of the budget is")
  func planning() throws {
    for name in OptimizerName.allCases where !name.isLearned {
      let optimizer = EvaluatedOptimizer(.setting(OptimizerSpec(name: name)))
      guard !optimizer.plansAhead else { continue }
      let config = try TaskRegistry.standard.record("Quadratic").config(RandomKey(seed: 1))
      let built = try TaskBuilder(data: TaskDataSets([:]), level: .best).build(config)
      func last(_ total: Int) throws -> EvaluationResult.Point? {
        let task = try InnerTask(built) {
          OptimizerCatalog.make(OptimizerSettings(name), parameters: $0, totalSteps: total, level: .best)
        }
        return try run(total, marks: [20]).measure(task, theta: nil).point(at: 20)
      }
      #expect(try last(20) == last(50), "\(name)")
    }
  }
}
