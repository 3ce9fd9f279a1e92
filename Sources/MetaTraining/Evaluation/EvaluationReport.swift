// The report of an evaluation as data: headline figures, a table of every task, curves, profiles, and what was kept of the
// first trainings. ReportPage draws it.
import Compute
import Contract
import Foundation

/// The complete report.
public struct EvaluationReport: Sendable {
  /// Everything, as programs read it.
  public let json: JSON
  /// The headline figures alone.
  public let summary: JSON

  /// Percentiles of scores that are listed.
  private static let percentiles = stride(from: 5, through: 95, by: 5).map { $0 }
  /// Speed-ups at which profiles are read: powers of two by quarters, 1/16 to 64.
  static let thresholds = stride(from: -4.0, through: 6.0, by: 0.25).map { pow(2, $0) }
  /// Ratios at which time profiles are read.
  static let ratios = stride(from: 0.0, through: 4.0, by: 0.125).map { pow(2, $0) }

  /// - Parameter about: what else there is to say, such as versions and where weights come from.
  public init(_ scores: EvaluationScores, about: [String: JSON] = [:]) {
    let spec = scores.schedule.spec
    let entrants = scores.schedule.entrants
    let headlines = spec.steps.indices.flatMap { budget in
      entrants.indices.map { Self.headline(scores, $0, budget) }
    }
    summary = ["headlines": .array(headlines)]
    var members: [String: JSON] = [
      "format": "trainyard-evaluation-1", "name": .string(spec.name), "spec": spec.json,
      "engine": .integer(PlannedRun.engineVersion),
      "entrants": .array(
        entrants.enumerated().map { index, entrant in
          ["label": .string(entrant.label), "trials": .integer(entrant.trials), "baseline": .bool(index == 0)]
        }),
      "headlines": .array(headlines),
      "tasks": .array(scores.taskPlaces.map { Self.task(scores, $0) }),
      "profiles": Self.profiles(scores), "time_profile": Self.timeProfile(scores),
      "curves": .array(scores.taskPlaces.flatMap { Self.curves(scores, $0) }),
      "updates": .array(scores.taskPlaces.flatMap { Self.updates(scores, $0) }),
      "landscapes": .array(scores.taskPlaces.flatMap { Self.landscapes(scores, $0) }),
      "trajectories": .array(
        scores.schedule.tasks.indices.filter { scores.schedule.tasks[$0].isDrawing }.map {
          Self.trajectories(scores, $0)
        }),
      "failures": Self.failures(scores), "compute": Self.compute(scores),
    ]
    members.merge(about) { own, _ in own }
    json = .object(members)
  }

  // MARK: Headlines

  /// The scores that are aggregated, by their names.
  private static let kinds: [(name: String, path: KeyPath<EvaluationScores.Cell, [Double?]> & Sendable)] = [
    ("speed_up", \.speedUps), ("speed_up_reference", \.referenceSpeedUps), ("ratio", \.ratios),
    ("log_ratio", \.logRatios), ("anchored", \.anchored),
  ]

  private static func headline(_ scores: EvaluationScores, _ entrant: Int, _ budget: Int) -> JSON {
    let spec = scores.schedule.spec
    let cells = scores.taskPlaces.map { scores.cells[$0][budget][entrant] }
    let failures = cells.flatMap(\.failures).count { $0 != nil }
    let censored = cells.flatMap(\.censored).count { $0 }
    var members: [String: JSON] = [
      "label": .string(scores.schedule.entrants[entrant].label), "steps": .integer(spec.steps[budget]),
      "trials": .integer(scores.schedule.entrants[entrant].trials), "tasks": .integer(cells.count),
      "runs": .integer(cells.count * spec.seeds.count), "failures": .integer(failures),
      "censored": .integer(censored),
    ]
    for (number, kind) in kinds.enumerated() {
      let tasks = scores.byTask(kind.path, entrant: entrant, budget: budget)
      let key = RandomKey(seed: 0xB007).derive(UInt32(number), UInt32(entrant), UInt32(budget))
      members[kind.name] = statistics(tasks, key)
    }
    let speedUps = scores.byTask(\.speedUps, entrant: entrant, budget: budget)
    members["optimality_gap"] = .finite(Aggregation.optimalityGap(speedUps.flatMap(\.self)))
    // Of losses, since every training has one; a failure is worse than everything.
    func badness(_ entrant: Int) -> [[Double]] {
      scores.taskPlaces.map { place in
        scores.cells[place][budget][entrant].losses.map { $0.isFinite ? -$0 : -.infinity }
      }
    }
    members["probability_of_improvement"] =
      Aggregation.probabilityOfImprovement(badness(entrant), over: badness(0)).map(JSON.finite) ?? .null
    return .object(members)
  }

  private static func statistics(_ tasks: [[Double]], _ key: RandomKey) -> JSON {
    let all = tasks.flatMap(\.self)
    guard !all.isEmpty else { return .null }
    let interval = Aggregation.interval(tasks, key: key)
    return [
      "iqm": .finite(Aggregation.interquartileMean(all)), "low": .finite(interval.low), "high": .finite(interval.high),
      "resampled": interval.isOverTasks ? "tasks" : "seeds", "median": .finite(Aggregation.quantile(all, 0.5)),
      "mean": .finite(Aggregation.mean(all)), "deviation": .finite(Aggregation.deviation(all)),
      "count": .integer(all.count),
      "percentiles": .object(
        Dictionary(
          uniqueKeysWithValues: percentiles.map {
            ("\($0)", JSON.finite(Aggregation.quantile(all, Double($0) / 100)))
          })),
    ]
  }

  // MARK: Tables

  private static func task(_ scores: EvaluationScores, _ place: Int) -> JSON {
    let schedule = scores.schedule, task = schedule.tasks[place]
    return [
      "name": .string(task.name), "config_id": .string(task.config.id), "config": task.config.json,
      "initial_loss": .finite(scores.initialLosses[place]),
      "budgets": .array(
        schedule.spec.steps.enumerated().map { budget, steps in
          [
            "steps": .integer(steps),
            "entrants": .array(
              schedule.entrants.indices.map { cell(scores, scores.cells[place][budget][$0], $0) }),
          ]
        }),
    ]
  }

  private static func cell(_ scores: EvaluationScores, _ cell: EvaluationScores.Cell, _ entrant: Int) -> JSON {
    func array(_ values: [Double?]) -> JSON { .array(values.map { $0.map(JSON.finite) ?? .null }) }
    let candidates = scores.schedule.entrants[entrant].candidates
    let settings = cell.trial < candidates.count ? JSON.object(candidates[cell.trial].json) : .null
    return [
      "label": .string(scores.schedule.entrants[entrant].label), "trial": .integer(cell.trial), "settings": settings,
      "loss": .finite(cell.meanLoss), "losses": array(cell.losses), "smoothed": array(cell.smoothed),
      "ratios": array(cell.ratios), "log_ratios": array(cell.logRatios), "anchored": array(cell.anchored),
      "speed_ups": array(cell.speedUps), "speed_ups_reference": array(cell.referenceSpeedUps),
      "censored": .array(cell.censored.map(JSON.bool)), "failures": .array(cell.failures.map { .optional($0) }),
    ]
  }

  private static func failures(_ scores: EvaluationScores) -> JSON {
    var list: [JSON] = []
    for place in scores.taskPlaces {
      for (budget, steps) in scores.schedule.spec.steps.enumerated() {
        for (entrant, cell) in scores.cells[place][budget].enumerated() {
          for (seed, reason) in zip(scores.schedule.spec.seeds, cell.failures) {
            guard let reason else { continue }
            list.append([
              "task": .string(scores.schedule.tasks[place].name), "steps": .integer(steps),
              "label": .string(scores.schedule.entrants[entrant].label), "seed": .integer(seed),
              "reason": .string(reason),
            ])
          }
        }
      }
    }
    return .array(list)
  }

  private static func compute(_ scores: EvaluationScores) -> JSON {
    let entrants = scores.schedule.entrants
    var seconds = [Double](repeating: 0, count: entrants.count), training = seconds
    var steps = [Int](repeating: 0, count: entrants.count)
    for (planned, outcome) in zip(scores.schedule.runs, scores.outcomes) {
      guard case .measured(let result) = outcome else { continue }
      seconds[planned.entrant] += result.totalSeconds
      training[planned.entrant] += result.trainingSeconds
      steps[planned.entrant] += result.points.last?.step ?? 0
    }
    return [
      "core_seconds": .number(seconds.reduce(0, +)),
      "entrants": .array(
        entrants.indices.map {
          [
            "label": .string(entrants[$0].label), "core_seconds": .number(seconds[$0]),
            "training_seconds": .number(training[$0]), "updates": .integer(steps[$0]),
          ]
        }),
    ]
  }

  // MARK: Profiles

  private static func profiles(_ scores: EvaluationScores) -> JSON {
    let spec = scores.schedule.spec
    return [
      "thresholds": .array(thresholds.map(JSON.number)),
      "entrants": .array(
        spec.steps.indices.flatMap { budget in
          scores.schedule.entrants.indices.map { entrant -> JSON in
            let profile = Aggregation.profile(
              scores.byTask(\.speedUps, entrant: entrant, budget: budget), thresholds: thresholds,
              key: RandomKey(seed: 0xB007).derive(100, UInt32(entrant), UInt32(budget)))
            return [
              "label": .string(scores.schedule.entrants[entrant].label), "steps": .integer(spec.steps[budget]),
              "share": .array(profile.map { .finite($0.share) }), "low": .array(profile.map { .finite($0.low) }),
              "high": .array(profile.map { .finite($0.high) }),
            ]
          }
        }),
    ]
  }

  /// The mean smoothed loss of the baseline's selected setting after three quarters of a budget.
  private static func target(_ scores: EvaluationScores, _ place: Int, _ budget: Int) -> Double {
    let spec = scores.schedule.spec, steps = spec.steps[budget]
    let losses = spec.seeds.map { seed -> Double in
      guard
        case .measured(let result) = scores.outcome(
          entrant: 0, trial: scores.cells[place][budget][0].trial, task: place, steps: steps, seed: seed)
      else { return .nan }
      return result.points.first { $0.step * 4 >= steps * 3 }.map { Double($0.smoothed) } ?? .nan
    }
    return Aggregation.mean(losses)
  }

  /// Time to the loss that the baseline has after three quarters of the longest budget, by the median over seeds. Its last
  /// loss would be missed by half of its own trainings.
  private static func timeProfile(_ scores: EvaluationScores) -> JSON {
    let spec = scores.schedule.spec
    let budget = spec.steps.count - 1, steps = spec.steps[budget]
    let times = scores.schedule.entrants.indices.map { entrant in
      scores.taskPlaces.map { place -> Double in
        let target = target(scores, place, budget)
        let trial = scores.cells[place][budget][entrant].trial
        let times = spec.seeds.map { seed -> Double in
          guard
            case .measured(let result) = scores.outcome(
              entrant: entrant, trial: trial, task: place, steps: steps, seed: seed),
            let point = result.points.first(where: { $0.step <= steps && Double($0.smoothed) <= target })
          else { return .infinity }
          return Double(max(point.step, 1))
        }.sorted()
        return times[times.count / 2]
      }
    }
    let shares = Aggregation.timeProfile(times, ratios: ratios)
    return [
      "steps": .integer(steps), "ratios": .array(ratios.map(JSON.number)),
      "entrants": .array(
        scores.schedule.entrants.indices.map {
          [
            "label": .string(scores.schedule.entrants[$0].label), "share": .array(shares[$0].map(JSON.finite)),
            "times": .array(times[$0].map(JSON.finite)),
          ]
        }),
    ]
  }
}
