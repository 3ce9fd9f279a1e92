// Whole evaluations in one process: what a schedule comes to, scores of made-up results against their formulas, the
// archive, the threads, and the report as JSON and as a page.
import Compute
import Contract
import Foundation
import Learning
import Synchronization
import Testing

@testable import MetaTraining

struct EvaluationScheduleTests {
  private func schedule(_ text: String) throws -> EvaluationSchedule {
    try EvaluationSchedule(EvaluationSpec.decode(JSON.parse(text)))
  }

  @Test("constant rates are trained once for all budgets, planning optimizers once for each")
  func prefixes() throws {
    let schedule = try schedule(
      #"{"optimizers": ["optlist_10", "sgd"], "tasks": ["Quadratic"], "steps": [10, 20], "baseline_steps": 50, "seeds": 2, "details": []}"#
    )
    let lengths = Dictionary(grouping: schedule.runs, by: \.entrant).mapValues { Set($0.map(\.run.steps)) }
    #expect(lengths == [0: [50], 1: [10, 20], 2: [20]])
    // 15 rates, 10 entries twice, one rate; two seeds each.
    #expect(schedule.runs.count == 2 * (15 + 20 + 1))
    #expect(schedule.runs.first { $0.entrant == 0 }?.run.marks == [10, 20])
  }

  @Test("sets and families become tasks, each once, and drawings stand apart")
  func tasks() throws {
    let quick = try schedule(#"{"optimizers": ["sgd"], "tasks": ["quick", "SoftmaxRegression"], "steps": 10}"#)
    #expect(quick.tasks.filter { !$0.isDrawing }.count == EvaluationTask.Named.quick.count)
    #expect(quick.tasks.filter(\.isDrawing).map(\.name) == EvaluationSchedule.drawings)
    for set in EvaluationTask.Named.allCases {
      #expect(EvaluationSchedule.names(of: set).count == set.count)
    }
    let family = try schedule(
      #"{"optimizers": ["sgd"], "tasks": [{"task": "NoisyQuadraticModels", "draws": 3}], "steps": 10, "details": []}"#)
    #expect(family.tasks.map(\.name) == (0..<3).map { "NoisyQuadraticModels #\($0)" })
    #expect(Set(family.tasks.map(\.config.id)).count == 3)
    #expect(throws: SpecError.self) { try schedule(#"{"optimizers": ["sgd"], "tasks": ["Quadratik"], "steps": 10}"#) }
  }

  @Test("a training is read back as it was planned, and its key hangs on all that matters and nothing else")
  func keys() throws {
    let schedule = try schedule(#"{"optimizers": ["nadamw_search", "celo"], "tasks": ["quick"], "steps": 10}"#)
    for planned in schedule.runs.prefix(200) {
      let read = try PlannedRun.decode(JSON.parse(Data(planned.json.bytes)))
      #expect(read.json == planned.json)
      #expect(read.key(weights: "w", data: [:], level: .best) == planned.key(weights: "w", data: [:], level: .best))
    }
    let keys = schedule.runs.map { $0.key(weights: $0.weights.map { "\($0)" }, data: [:], level: .best) }
    #expect(Set(keys).count == keys.count, "no two trainings are the same")
    var run = try #require(schedule.runs.last)
    let key = run.key(weights: "a", data: ["mnist": "x"], level: .best)
    #expect(key == run.key(weights: "a", data: ["mnist": "y"], level: .best), "it does not use that data")
    #expect(key != run.key(weights: "b", data: ["mnist": "x"], level: .best))
    #expect(key != run.key(weights: "a", data: [:], level: .scalar) || CPULevel.best == .scalar)
    run.run.measurement.timeLimitSeconds = 5
    run.task = 77
    #expect(key == run.key(weights: "a", data: [:], level: .best))
    run.run.seed += 1
    #expect(key != run.key(weights: "a", data: [:], level: .best))
    let config = TaskConfig("ImageMLP", ["hidden": [3], "data": ["obj": "mnist", "args": ["imageSize": 8]]])
    let wrapped = TaskConfig("ReparamWeights", ["family": config.json])
    #expect(wrapped.dataNames == ["mnist"])
  }

  @Test("the search's draws are valid, differ, and stay the same")
  func search() throws {
    let settings = (0..<200).map { EvaluatedOptimizer.drawnNAdamW(RandomKey(seed: 0x0ADA).derive(14, $0, 0)) }
    #expect(Set(settings).count == 200)
    let rates = settings.map { $0.number("learning_rate") }
    #expect(rates.allSatisfy { (1e-5...1).contains($0) })
    #expect(abs(Double(rates.count { $0 < pow(10, -2.5) }) / 200 - 0.5) < 0.15)
    #expect(settings == (0..<200).map { EvaluatedOptimizer.drawnNAdamW(RandomKey(seed: 0x0ADA).derive(14, $0, 0)) })
  }
}

struct EvaluationScoresTests {
  /// Losses that fall exponentially to a floor, measured every ten steps.
  private func result(_ steps: Int, floor: Double, pace: Double, from first: Double = 4) -> EvaluationResult {
    let points = stride(from: 0, through: steps, by: 10).map { step in
      let loss = Float(floor + (first - floor) * exp(-Double(step) / pace))
      return EvaluationResult.Point(step: step, loss: loss, smoothed: loss, normalised: loss, training: loss)
    }
    return EvaluationResult(ending: .finished, points: points, trainingSeconds: 1, totalSeconds: 2)
  }

  private func scores(
    _ outcome: (PlannedRun) -> RunOutcome
  ) throws -> EvaluationScores {
    let spec = try EvaluationSpec.decode(
      JSON.parse(
        #"{"optimizers": ["celo", "sgd"], "tasks": ["Quadratic", "LogQuadratic"], "steps": [50, 100], "baseline_steps": 400, "seeds": 2, "details": []}"#
      ))
    let schedule = try EvaluationSchedule(spec)
    return EvaluationScores(schedule, outcomes: schedule.runs.map(outcome))
  }

  /// Rate number 8 is best; the others stop higher.
  private func baseline(_ planned: PlannedRun) -> RunOutcome {
    .measured(result(planned.run.steps, floor: planned.trial == 8 ? 1 : 1.5, pace: 100))
  }

  @Test("speed-ups, ratios and anchored losses follow their formulas")
  func formulas() throws {
    let scores = try scores { planned in
      // Twice as fast as the baseline; sgd does not move.
      planned.entrant == 0
        ? self.baseline(planned)
        : .measured(self.result(planned.run.steps, floor: 1, pace: planned.entrant == 1 ? 50 : 1e9))
    }
    let cells = scores.cells[0][1]
    #expect(cells[0].trial == 8 && abs(scores.initialLosses[0] - 4) < 1e-6)
    let baseline = 1 + 3 * exp(-1.0), fast = 1 + 3 * exp(-2.0)
    for seed in 0..<2 {
      #expect(abs(cells[1].ratios[seed]! - baseline / fast) < 1e-5)
      #expect(abs(cells[1].logRatios[seed]! - log(baseline / fast)) < 1e-5)
      #expect(abs(cells[1].speedUps[seed]! - 2) < 0.01, "the baseline needs twice the steps")
      #expect(abs(cells[0].speedUps[seed]! - 1) < 1e-6 && abs(cells[0].ratios[seed]! - 1) < 1e-6)
      #expect(abs(cells[1].anchored[seed]! - 1) < 1e-6, "it is the best known")
      #expect(abs(cells[0].anchored[seed]! - (4 - baseline) / (4 - fast)) < 1e-5)
      #expect(cells[2].speedUps[seed]! < 0.001 && !cells[2].censored[seed])
    }
  }

  @Test("failures score nothing, better than the baseline ever was is censored, worse than the start is nothing")
  func edges() throws {
    let scores = try scores { planned in
      switch planned.entrant {
      case 0: return self.baseline(planned)
      case 1 where planned.run.seed == 0: return .failed("out of memory")
      case 1:
        var result = self.result(planned.run.steps, floor: 1, pace: 50)
        result.points.removeAll { $0.step > 20 }
        result.ending = .diverged(step: 30)
        return .measured(result)
      default:
        return .measured(
          planned.task == 0
            ? self.result(planned.run.steps, floor: 0.5, pace: 10)
            : self.result(planned.run.steps, floor: 9, pace: 10))
      }
    }
    let failed = scores.cells[0][1][1]
    #expect(failed.failures == ["out of memory", "the loss was not finite at step 30"])
    #expect(failed.speedUps == [0, 0] && failed.ratios == [0, 0] && failed.logRatios == [-3, -3])
    #expect(failed.anchored == [-1, -1] && failed.losses.allSatisfy(\.isNaN))
    let beyond = scores.cells[0][1][2]
    #expect(beyond.censored == [true, true] && beyond.speedUps == [4, 4], "400 steps are the baseline's end")
    let worse = scores.cells[1][1][2]
    #expect(worse.speedUps == [0, 0] && worse.anchored == [-1, -1] && worse.censored == [false, false])
  }

  @Test("a setting with a single failed seed is not selected")
  func selection() throws {
    let scores = try scores { planned in
      if planned.entrant == 0, planned.trial == 8, planned.run.seed == 1 { return .failed("lost") }
      return planned.entrant == 0
        ? self.baseline(planned) : .measured(self.result(planned.run.steps, floor: 1, pace: 50))
    }
    #expect(scores.cells[0][0][0].trial != 8 && scores.cells[0][0][0].failures == [nil, nil])
    // Nor does it count for the envelope.
    #expect(scores.envelopes[0]!.losses.last! > 1.4)
  }

  @Test("an evaluation in which everything failed still has a report")
  func nothing() throws {
    let report = EvaluationReport(try scores { _ in .failed("no such data set") })
    #expect(report.summary["headlines"]?.array?.count == 6)
    #expect(report.json["failures"]?.array?.count == 24)
    #expect(ReportPage(report).html.contains("no such data set"))
  }
}

struct LocalEvaluationTests {
  private let folder = FileManager.default.temporaryDirectory.appendingPathComponent("evaluation-\(UUID().uuidString)")

  private static let text = #"""
    {"name": "small <b>&", "optimizers": [{"theta": "none", "label": "mine \"x\" <i>"}, {"name": "momentum"}],
     "baseline": BASELINE, "tasks": ["Quadratic", {"config": {"obj": "ImageMLP", "args": {"hidden": [8],
     "data": {"obj": "synth_blobs", "args": {"imageSize": 4, "batch": 16, "rows": 64}}}}}],
     "steps": [20, 40], "seeds": 2, "measurement": {"batches": 1, "last_batches": 2}, "details": DETAILS}
    """#

  private func run(
    threads: Int, archive: EvaluationArchive? = nil, stopAfter: Int = .max, draws: Bool = false
  ) throws -> (EvaluationSchedule, [RunOutcome]?, archived: Int) {
    // Paths of fifteen rates would take most of the time.
    let text = Self.text.replacingOccurrences(of: "BASELINE", with: draws ? #"{"name": "sgd"}"# : #""sgd_lr""#)
      .replacingOccurrences(of: "DETAILS", with: draws ? #"["landscape", "trajectories"]"# : #"["updates"]"#)
    let schedule = try EvaluationSchedule(EvaluationSpec.decode(JSON.parse(text)))
    let theta = Theta.initial(ThetaSchema(SmallFC.self, SmallFC.Configuration()), key: RandomKey(seed: 1))
    let evaluation = LocalEvaluation(
      schedule, weights: [0: LocalEvaluation.Weights(theta: theta, sha256: "w")], data: TaskDataSets([:]),
      archive: archive, threads: threads, level: .best)
    let board = Board()
    let outcomes = try evaluation.run { progress in
      board.archived.store(progress.archived, ordering: .relaxed)
      return progress.ended < stopAfter
    }
    return (schedule, outcomes, board.archived.load(ordering: .relaxed))
  }

  private final class Board: Sendable { let archived = Atomic<Int>(0) }

  private func isEqual(_ a: [RunOutcome], _ b: [RunOutcome]) -> Bool {
    func bits(_ outcomes: [RunOutcome]) -> [String] {
      outcomes.map { if case .measured(let result) = $0 { result.withoutTimes.json.text } else { "failed" } }
    }
    return bits(a) == bits(b)
  }

  @Test("threads change nothing, and the archive serves what was done")
  func whole() throws {
    defer { try? FileManager.default.removeItem(at: folder) }
    let archive = EvaluationArchive(folder: folder)
    let stopped = try run(threads: 2, archive: archive, stopAfter: 30)
    #expect(stopped.1 == nil, "it was stopped")
    let (schedule, outcomes, archived) = try run(threads: 2, archive: archive)
    let all = try #require(outcomes)
    #expect(archived >= 30 && archived < all.count)
    let single = try #require(try run(threads: 1).1)
    #expect(isEqual(single, all))
    let again = try run(threads: 1, archive: archive)
    let served = try #require(again.1)
    #expect(again.archived == all.count && isEqual(served, all))

    let report = EvaluationReport(EvaluationScores(schedule, outcomes: all))
    let headlines = try #require(report.json["headlines"]?.array)
    #expect(headlines.count == 6 && headlines[0]["trials"] == 15 && headlines[0]["runs"] == 4)
    #expect(abs((headlines[0]["ratio"]?["iqm"]?.number ?? 0) - 1) < 0.2, "the baseline against itself")
    #expect(report.json["updates"]?.array?.isEmpty == false)
  }

  @Test("the report says it all, in JSON and on a page that stands alone")
  func report() throws {
    let (schedule, outcomes, _) = try run(threads: 1, draws: true)
    let report = EvaluationReport(
      EvaluationScores(schedule, outcomes: try #require(outcomes)), about: ["about": ["who": "me"]])
    let json = try JSON.parse(Data(report.json.bytes))
    #expect(json["about"] == ["who": "me"] && json["tasks"]?.array?.count == 2)
    #expect(json["curves"]?.array?.count == 12 && json["landscapes"]?.array?.count == 6)
    let drawings = try #require(json["trajectories"]?.array)
    #expect(drawings.count == 8 && drawings.allSatisfy { $0["paths"]?.array?.count == 3 && $0["grid"] != .null })
    // All start from one place.
    for drawing in drawings {
      #expect(Set((drawing["paths"]?.array ?? []).map { $0["x"]?.array?.first }).count == 1)
    }
    let page = ReportPage(report).html
    #expect(ReportPage(json: json).html == page, "the page is made from the JSON alone")
    try check(page)
    for words in ["small &lt;b&gt;&amp;", "mine &quot;x&quot; &lt;i&gt;", "sgd 0.01", "Valley", "Core-seconds"] {
      #expect(page.contains(words), "\(words)")
    }
  }

  /// Well-formed where it must be, self-contained, nothing that runs, every plot with words.
  private func check(_ page: String) throws {
    for bad in ["<script", " style=", "http:", "https:", " src=", " href=", "onload", "NaN", "<b>&"] {
      #expect(!page.contains(bad), "\(bad)")
    }
    let body = try #require(page.range(of: "<main>")).lowerBound
    let end = try #require(page.range(of: "</main>")).upperBound
    let markup = String(page[body..<end])
    // Every element that is opened is closed, in the right order.
    var open: [Substring] = []
    for tag in markup.matches(of: /<(\/?)([a-z0-9A-Z]+)[^<>]*?(\/?)>/)
    where tag.output.3.isEmpty && tag.output.2 != "br" {
      if tag.output.1.isEmpty {
        open.append(tag.output.2)
      } else {
        #expect(open.popLast() == tag.output.2)
      }
    }
    #expect(open.isEmpty, "\(open)")
    #expect(markup.components(separatedBy: "<").count == markup.components(separatedBy: ">").count)
    let plots = markup.components(separatedBy: "role=\"img\"").count - 1
    #expect(plots > 20 && markup.components(separatedBy: "<desc ").count - 1 == plots)
    let ids = markup.matches(of: /id="([^"]+)"/).map { String($0.output.1) }
    #expect(Set(ids).count == ids.count)
  }

  @Test("a damaged file of the archive is no result")
  func damage() throws {
    defer { try? FileManager.default.removeItem(at: folder) }
    let archive = EvaluationArchive(folder: folder)
    let (schedule, _, _) = try run(threads: 1, archive: archive, stopAfter: 1)
    let key = schedule.runs[0].key(weights: nil, data: [:], level: .best)
    #expect(archive[key] != nil)
    try Data("{\"steps\"".utf8).write(to: folder.appendingPathComponent("\(key.prefix(2))/\(key).json"))
    #expect(archive[key] == nil)
  }
}
