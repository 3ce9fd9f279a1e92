// From measurements to scores: for every task and budget the best of each entrant's settings, and how its trainings
// compare with the baseline's.
//
//   ratio       r = L_baseline / L          L_baseline: mean over seeds of its selected setting's last loss
//   log ratio   ln r, from -3 to 3          anchored   (L_0 - L) / (L_0 - L_best), from -1 to 1.5
//   speed-up    S(smoothed L) / n           S: Envelope, which is made of smoothed losses too, so that the baseline itself
//                                           has 1; the reference rule, S(L) / n, flatters all short trainings
//
// A setting is selected by its mean last loss, in which what is not finite counts 99,999,999,999. A training that failed or
// diverged before the budget's end has speed-up 0, ratio 0, log ratio -3 and anchored score -1.
import Contract
import Foundation

/// How a planned training ended.
public enum RunOutcome: Sendable {
  case measured(EvaluationResult)
  /// It gave no result, for this reason.
  case failed(String)
}

/// All scores of an evaluation.
public struct EvaluationScores: Sendable {
  /// An entrant's trainings of one task and budget, with its selected setting; arrays are by seed.
  public struct Cell: Sendable {
    public var trial: Int
    /// Last losses; NaN for a failure.
    public var losses: [Double]
    public var smoothed: [Double]
    /// Why a training has no loss; nil where it has one.
    public var failures: [String?]
    /// Nil where losses are not positive, or the baseline has none.
    public var ratios: [Double?] = []
    public var logRatios: [Double?] = []
    public var anchored: [Double?] = []
    public var speedUps: [Double?] = []
    /// By the reference rule.
    public var referenceSpeedUps: [Double?] = []
    /// Whether the baseline did not get there at all.
    public var censored: [Bool] = []

    public var meanLoss: Double { losses.reduce(0, +) / Double(losses.count) }
  }

  public let schedule: EvaluationSchedule
  /// [task][budget][entrant]; empty for drawings.
  public private(set) var cells: [[[Cell]]] = []
  /// Mean loss before the first update, by task.
  public private(set) var initialLosses: [Double] = []
  let envelopes: [Envelope?]
  let outcomes: [RunOutcome]
  private let places: [Place: Int]

  private struct Place: Hashable { var entrant, trial, task, steps, seed: Int }

  /// - Parameter outcomes: by the order of the schedule's runs.
  public init(_ schedule: EvaluationSchedule, outcomes: [RunOutcome]) {
    precondition(outcomes.count == schedule.runs.count, "EvaluationScores: an outcome for each training")
    self.schedule = schedule
    self.outcomes = outcomes
    var places: [Place: Int] = [:]
    for (index, planned) in schedule.runs.enumerated() {
      places[
        Place(
          entrant: planned.entrant, trial: planned.trial, task: planned.task, steps: planned.run.steps,
          seed: planned.run.seed)] = index
    }
    self.places = places
    envelopes = schedule.tasks.indices.map { Self.envelope(schedule, $0, outcomes, places) }
    for task in schedule.tasks.indices {
      initialLosses.append(initialLoss(task))
      cells.append(schedule.tasks[task].isDrawing ? [] : schedule.spec.steps.map { scored(task, $0) })
    }
  }

  // MARK: Measurements

  /// The outcome of one training as far as a budget: of its own training, or of the longer one that it lies on.
  public func outcome(entrant: Int, trial: Int, task: Int, steps: Int, seed: Int) -> RunOutcome {
    let optimizer = schedule.entrants[entrant]
    let lengths =
      schedule.tasks[task].isDrawing
      ? [EvaluationSchedule.drawingSteps]
      : EvaluationSchedule.lengths(schedule.spec, optimizer, isBaseline: entrant == 0).map(\.steps)
    let length = lengths.first { optimizer.plansAhead ? $0 == steps : $0 >= steps } ?? lengths.last!
    let place = Place(entrant: entrant, trial: trial, task: task, steps: length, seed: seed)
    return places[place].map { outcomes[$0] } ?? .failed("was not planned")
  }

  /// A cell without its comparisons.
  private func measured(entrant: Int, trial: Int, task: Int, steps: Int) -> Cell {
    var cell = Cell(trial: trial, losses: [], smoothed: [], failures: [])
    for seed in schedule.spec.seeds {
      var point: EvaluationResult.Point?
      var failure: String?
      switch outcome(entrant: entrant, trial: trial, task: task, steps: steps, seed: seed) {
      case .failed(let reason): failure = reason
      case .measured(let result):
        point = result.point(at: steps)
        if point == nil {
          if case .diverged(let step) = result.ending {
            failure = "the loss was not finite at step \(step)"
          } else {
            failure = "was not measured at step \(steps)"
          }
        }
      }
      cell.losses.append(point.map { Double($0.loss) } ?? .nan)
      cell.smoothed.append(point.map { Double($0.smoothed) } ?? .nan)
      cell.failures.append(failure)
    }
    return cell
  }

  /// The setting with the least mean last loss.
  private func selected(entrant: Int, task: Int, steps: Int) -> Cell {
    let count = max(1, schedule.entrants[entrant].candidates.count)
    func score(_ cell: Cell) -> Double { cell.meanLoss.isFinite ? cell.meanLoss : 99_999_999_999 }
    var best = measured(entrant: entrant, trial: 0, task: task, steps: steps)
    for trial in 1..<max(1, count) {
      let cell = measured(entrant: entrant, trial: trial, task: task, steps: steps)
      if score(cell) < score(best) { best = cell }
    }
    return best
  }

  private func initialLoss(_ task: Int) -> Double {
    // All trainings of a seed begin with the same weights, so that any that has come so far tells.
    let losses = schedule.spec.seeds.compactMap { seed -> Double? in
      for entrant in schedule.entrants.indices {
        if case .measured(let result) = outcome(
          entrant: entrant, trial: 0, task: task, steps: schedule.spec.steps.last!, seed: seed),
          let first = result.point(at: 0)
        {
          return Double(first.loss)
        }
      }
      return nil
    }
    return Aggregation.mean(losses)
  }

  private static func envelope(
    _ schedule: EvaluationSchedule, _ task: Int, _ outcomes: [RunOutcome], _ places: [Place: Int]
  ) -> Envelope? {
    guard !schedule.tasks[task].isDrawing else { return nil }
    let spec = schedule.spec
    let length = lengths(spec).last!
    let curves = (0..<max(1, spec.baseline.candidates.count)).map { trial in
      let curves = spec.seeds.map { seed -> [Int: Double] in
        let place = Place(entrant: 0, trial: trial, task: task, steps: length, seed: seed)
        guard let index = places[place], case .measured(let result) = outcomes[index] else { return [:] }
        return Dictionary(result.points.map { ($0.step, Double($0.smoothed)) }, uniquingKeysWith: { $1 })
      }
      return mean(curves)
    }
    return Envelope(curves)
  }

  private static func lengths(_ spec: EvaluationSpec) -> [Int] {
    EvaluationSchedule.lengths(spec, spec.baseline, isBaseline: true).map(\.steps)
  }

  /// The mean at the steps that all curves have.
  static func mean(_ curves: [[Int: Double]]) -> [Int: Double] {
    guard var sum = curves.first else { return [:] }
    for (step, _) in sum {
      let values = curves.map { $0[step] ?? .nan }
      sum[step] = values.reduce(0, +) / Double(values.count)
    }
    return sum
  }

  // MARK: Comparisons

  private func scored(_ task: Int, _ steps: Int) -> [Cell] {
    var cells = schedule.entrants.indices.map { selected(entrant: $0, task: task, steps: steps) }
    let baseline = cells[0].meanLoss
    let best = cells.map(\.meanLoss).filter(\.isFinite).min() ?? .nan
    let initial = initialLosses[task]
    for index in cells.indices {
      for (loss, smoothed) in zip(cells[index].losses, cells[index].smoothed) {
        let failed = !loss.isFinite
        cells[index].ratios.append(ratio(loss, baseline))
        cells[index].logRatios.append(ratio(loss, baseline).map { $0 > 0 ? min(max(log($0), -3), 3) : -3 })
        cells[index].anchored.append(
          failed ? -1 : initial > best ? min(max((initial - loss) / (initial - best), -1), 1.5) : nil)
        let reading = envelopes[task].map { $0.read(failed || loss > initial ? .nan : smoothed) }
        cells[index].speedUps.append(reading.map { $0.steps / Double(steps) })
        cells[index].censored.append(reading?.isCensored ?? false)
        let reference = envelopes[task].map { $0.read(failed || loss > initial ? .nan : loss) }
        cells[index].referenceSpeedUps.append(reference.map { $0.steps / Double(steps) })
      }
    }
    return cells
  }

  /// 0 for a failure; nil where it means nothing.
  private func ratio(_ loss: Double, _ baseline: Double) -> Double? {
    guard baseline.isFinite, baseline > 0 else { return nil }
    guard loss.isFinite else { return 0 }
    return loss > 0 ? baseline / loss : nil
  }

  /// The tasks that count.
  public var taskPlaces: [Int] { schedule.tasks.indices.filter { !schedule.tasks[$0].isDrawing } }

  /// One kind of score of an entrant at a budget, by task; what means nothing is left out.
  public func byTask(_ score: KeyPath<Cell, [Double?]>, entrant: Int, budget: Int) -> [[Double]] {
    taskPlaces.map { cells[$0][budget][entrant][keyPath: score].compactMap { $0 } }
  }
}
