// What an evaluation that runs in this process prints: progress, and the headlines of its report.
import Contract
import Foundation
import MetaTraining

/// Lines of progress, at most one a second.
// @unchecked: called by one thread at a time, as `LocalEvaluation.run` promises.
final class EvaluationDisplay: @unchecked Sendable {
  private let schedule: EvaluationSchedule
  private let asJSON: Bool
  private let began = ContinuousClock.now
  private var last: ContinuousClock.Instant?

  init(_ schedule: EvaluationSchedule, asJSON: Bool) {
    self.schedule = schedule
    self.asJSON = asJSON
  }

  /// Shows progress; always true, so that it can stand in a condition.
  func show(_ progress: LocalEvaluation.Progress) -> Bool {
    let now = ContinuousClock.now
    if let last, now - last < .seconds(1), progress.ended < progress.runs { return true }
    last = now
    let seconds = (now - began) / .seconds(1)
    let trained = progress.ended - progress.archived
    let left = trained > 0 ? seconds / Double(trained) * Double(progress.runs - progress.ended) : .nan
    let run = progress.latest
    let line: String
    if asJSON {
      let json: JSON = [
        "ended": .integer(progress.ended), "runs": .integer(progress.runs), "archived": .integer(progress.archived),
        "failed": .integer(progress.failed), "seconds": .number(seconds.rounded()),
        "task": .string(schedule.tasks[run.task].name), "label": .string(schedule.entrants[run.entrant].label),
      ]
      line = json.text
    } else {
      line =
        "\(progress.ended)/\(progress.runs) trainings"
        + (progress.archived > 0 ? ", \(progress.archived) from the archive" : "")
        + (progress.failed > 0 ? ", \(progress.failed) failed or diverged" : "")
        + "  \(schedule.tasks[run.task].name)  \(schedule.entrants[run.entrant].label)"
        + (left.isFinite ? "  \(Pace.short(seconds: left)) left" : "")
    }
    FileHandle.standardError.write(Data((line + "\n").utf8))
    return true
  }

  /// The headlines as a table.
  func table(_ summary: JSON) -> String {
    var table = Table(
      ["STEPS", "OPTIMIZER", "TRIALS", "SPEED-UP IQM", "95 %", "REFERENCE RULE", "LOSS RATIO IQM", "95 %", "FAILED"],
      rightAligned: [0, 2, 3, 5, 6, 8])
    func text(_ json: JSON?, _ key: String) -> String? { json?[key]?.number.map { Self.short($0) } }
    func interval(_ json: JSON?) -> String? {
      guard let low = text(json, "low"), let high = text(json, "high") else { return nil }
      return "\(low) to \(high)"
    }
    for line in summary["headlines"]?.array ?? [] {
      let censored = line["censored"]?.integer ?? 0
      table.add([
        line.cell("steps"), line.cell("label"), line.cell("trials"),
        text(line["speed_up"], "iqm").map { censored > 0 ? "\($0)+" : $0 }, interval(line["speed_up"]),
        text(line["speed_up_reference"], "iqm"), text(line["ratio"], "iqm"), interval(line["ratio"]),
        line.cell("failures"),
      ])
    }
    return table.text
  }

  private static func short(_ value: Double) -> String {
    let text = String(Int((abs(value) * 1000).rounded()))
    let padded = String(repeating: "0", count: max(0, 4 - text.count)) + text
    return (value < 0 ? "-" : "") + padded.dropLast(3) + "." + padded.suffix(3)
  }
}
