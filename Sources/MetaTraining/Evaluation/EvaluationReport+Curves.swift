// The part of a report that plots are drawn from: curves with their spread, sizes of updates, slices of losses, paths.
import Compute
import Contract
import Foundation
import Learning

extension EvaluationReport {
  /// Mean and range over seeds of an entrant's selected setting, for every budget.
  static func curves(_ scores: EvaluationScores, _ place: Int) -> [JSON] {
    let spec = scores.schedule.spec
    return spec.steps.enumerated().flatMap { budget, steps in
      scores.schedule.entrants.indices.map { entrant -> JSON in
        let trial = scores.cells[place][budget][entrant].trial
        let results = spec.seeds.compactMap { seed -> EvaluationResult? in
          guard
            case .measured(let result) = scores.outcome(
              entrant: entrant, trial: trial, task: place, steps: steps, seed: seed)
          else { return nil }
          return result
        }
        var spread: [Int: [Double]] = [:]
        for result in results {
          for point in result.points where point.step <= steps {
            spread[point.step, default: []].append(Double(point.loss))
          }
        }
        let points = spread.sorted { $0.key < $1.key }
        return [
          "task": .string(scores.schedule.tasks[place].name), "label": .string(scores.schedule.entrants[entrant].label),
          "steps": .integer(steps), "x": .array(points.map { .integer($0.key) }),
          "mean": .array(points.map { .finite(Aggregation.mean($0.value)) }),
          "low": .array(points.map { .finite($0.value.min()!) }),
          "high": .array(points.map { .finite($0.value.max()!) }), "seeds": .integer(results.count),
        ]
      }
    }
  }

  /// How far tensors moved in updates of the first seed's training, for every budget.
  static func updates(_ scores: EvaluationScores, _ place: Int) -> [JSON] {
    let spec = scores.schedule.spec
    return spec.steps.enumerated().flatMap { budget, steps in
      scores.schedule.entrants.enumerated().compactMap { entrant, optimizer -> JSON? in
        // Shorter budgets of optimizers that do not plan ahead are the beginning of the longest.
        guard optimizer.plansAhead || budget == spec.steps.count - 1 else { return nil }
        let trial = scores.cells[place][budget][entrant].trial
        guard
          case .measured(let result) = scores.outcome(
            entrant: entrant, trial: trial, task: place, steps: steps, seed: spec.seeds[0]),
          let updates = result.updates, !updates.steps.isEmpty
        else { return nil }
        let count = updates.tensors.count
        let rows = updates.steps.indices.filter { updates.steps[$0] < steps }
        func columns(_ values: [Float]) -> JSON {
          .array(
            (0..<count).map { tensor in .array(rows.map { .finite(Double(values[$0 * count + tensor])) }) })
        }
        return [
          "task": .string(scores.schedule.tasks[place].name), "label": .string(optimizer.label),
          "steps": .integer(steps), "tensors": .array(updates.tensors.map(JSON.string)),
          "x": .array(rows.map { .integer(updates.steps[$0]) }), "moved": columns(updates.moved),
          "norms": columns(updates.norms),
        ]
      }
    }
  }

  /// Slices around the ends of the longest trainings of the first seed.
  static func landscapes(_ scores: EvaluationScores, _ place: Int) -> [JSON] {
    let spec = scores.schedule.spec
    return scores.schedule.entrants.enumerated().compactMap { entrant, optimizer in
      guard
        case .measured(let result) = scores.outcome(
          entrant: entrant, trial: 0, task: place, steps: spec.steps.last!, seed: spec.seeds[0]),
        let slice = result.landscape
      else { return nil }
      let range = Landscape.lineRange, count = slice.line.count
      return [
        "task": .string(scores.schedule.tasks[place].name), "label": .string(optimizer.label),
        "side": .integer(slice.side), "plane": .array(slice.plane.map { .finite(Double($0)) }),
        "line_x": .array(
          (0..<count).map {
            .number(
              range.lowerBound + (range.upperBound - range.lowerBound) * Double($0) / Double(max(1, count - 1)))
          }),
        "line": .array(slice.line.map { .finite(Double($0)) }),
      ]
    }
  }

  /// The function's values under paths and around its domain; null where they cannot be computed.
  private static func grid(_ task: EvaluationSchedule.Task, under paths: [JSON]) -> JSON {
    func range(_ key: String) -> ClosedRange<Double> {
      // Of paths that leave for good only the beginning is drawn.
      let values = paths.flatMap { path in (path[key]?.array ?? []).compactMap(\.number).filter { abs($0) < 100 } }
      let low = values.min() ?? -1, high = values.max() ?? 1
      let margin = max(0.15 * (high - low), 0.25)
      return (low - margin)...(high + margin)
    }
    guard let built = try? TaskBuilder(data: TaskDataSets([:]), level: .best).build(task.config),
      let joined = try? InnerTask(
        built, optimizer: { Adam(parameters: $0, settings: OptimizerSettings(.adam), level: .best) })
    else { return .null }
    let lane = InnerLane(joined), member = Member(lane)
    let places = joined.layout.tensors.flatMap { Array($0.offset..<$0.offset + $0.count) }
    guard places.count == 2 else { return .null }
    lane.reset(member, initial: RandomKey(seed: 0), episode: RandomKey(seed: 0), theta: nil)
    lane.drawBatch(RandomKey(seed: 0))
    let x = range("x"), y = range("y")
    var values: [JSON] = []
    for row in 0..<gridSide {
      for column in 0..<gridSide {
        func place(_ range: ClosedRange<Double>, _ index: Int) -> Float {
          Float(range.lowerBound + (range.upperBound - range.lowerBound) * (Double(index) + 0.5) / Double(gridSide))
        }
        member.parameters.pointer[places[0]] = place(x, column)
        member.parameters.pointer[places[1]] = place(y, row)
        values.append(.finite(Double(lane.loss(member, at: member.parameters.pointer, step: 0))))
      }
    }
    return [
      "x": [.number(x.lowerBound), .number(x.upperBound)], "y": [.number(y.lowerBound), .number(y.upperBound)],
      "side": .integer(gridSide), "values": .array(values),
    ]
  }

  private static let gridSide = 48

  /// The paths of all entrants on a function of two variables, of tuned ones that of the setting that ends lowest.
  static func trajectories(_ scores: EvaluationScores, _ place: Int) -> JSON {
    let schedule = scores.schedule, task = schedule.tasks[place]
    let steps = EvaluationSchedule.drawingSteps
    let paths = schedule.entrants.enumerated().compactMap { entrant, optimizer -> JSON? in
      var best: (result: EvaluationResult, loss: Double, trial: Int)?
      for trial in 0..<max(1, optimizer.candidates.count) {
        guard
          case .measured(let result) = scores.outcome(
            entrant: entrant, trial: trial, task: place, steps: steps, seed: schedule.spec.seeds[0])
        else { continue }
        let loss = result.point(at: steps).map { Double($0.loss) } ?? .infinity
        if best == nil || loss < best!.loss { best = (result, loss, trial) }
      }
      guard let best, let path = best.result.path else { return nil }
      return [
        "label": .string(optimizer.label), "trial": .integer(best.trial), "loss": .finite(best.loss),
        "x": .array(stride(from: 0, to: path.count, by: 2).map { .finite(Double(path[$0])) }),
        "y": .array(stride(from: 1, to: path.count, by: 2).map { .finite(Double(path[$0])) }),
      ]
    }
    return [
      "task": .string(task.name), "steps": .integer(steps), "paths": .array(paths), "grid": grid(task, under: paths),
    ]
  }
}
