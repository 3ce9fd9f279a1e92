// Where a run goes back to when its learned optimizer diverges. The answer follows from the losses and the budgets, not
// from when states happened to be stored, so it is the same in every attempt.
import Contract
import Foundation
import Learning
import Store

/// Watches a run and keeps the last state that was good.
///
/// Each budget is cut into tenths. At the end of a tenth the weights become the anchor if the tenth's mean loss is the
/// lowest so far and neither it nor the last loss is above the loss that the run began with: weights on their way out
/// are no place to go back to.
struct DivergenceAnchor {
  /// The steps that made the anchor; nil for the run's first step.
  private(set) var step: Int?
  private var lowest = Double.infinity
  private var first = Double.infinity
  private var sum = 0.0
  private var count = 0
  /// The anchor's weights while they are not stored.
  private(set) var unsaved: Data?

  init() {}

  /// Takes a step's loss, and at the end of a tenth of a budget the weights if they are good.
  mutating func add(loss: Float, _ trainer: Trainer, budgets: [Int], firstStep: Int) {
    let loss = Double(loss)
    if !first.isFinite { first = loss }
    sum += loss
    count += 1
    guard Self.isEnd(trainer.step, budgets: budgets, firstStep: firstStep) else { return }
    let mean = sum / Double(count)
    (sum, count) = (0, 0)
    // Comparisons with what is not finite are false.
    guard mean < lowest, mean <= first, loss <= first else { return }
    (lowest, step, unsaved) = (mean, trainer.step, trainer.weights())
  }

  /// The weights are durable with the next commit.
  mutating func markSaved() { unsaved = nil }

  /// Whether a tenth of a budget ends after `step` steps.
  static func isEnd(_ step: Int, budgets: [Int], firstStep: Int) -> Bool {
    guard let index = budgets.firstIndex(where: { $0 >= step }) else { return false }
    let end = budgets[index]
    let start = max(firstStep, index > 0 ? budgets[index - 1] : 0)
    return step == end || (step - start) % max(1, (end - start) / 10) == 0
  }

  // MARK: In the notes of a checkpoint

  /// What a checkpoint must hold for a resumed run to come to the same answer, to the last bit.
  var notes: [String: String] {
    var notes = ["anchor_count": String(count)]
    for (name, value) in [("anchor_lowest", lowest), ("anchor_first", first), ("anchor_sum", sum)] {
      notes[name] = String(value.bitPattern)
    }
    notes["anchor_step"] = step.map { String($0) }
    return notes
  }

  /// Reads ``notes``; a checkpoint without them begins to watch where it is.
  init(notes: [String: String]) {
    func number(_ name: String) -> Double? { notes[name].flatMap(UInt64.init).map(Double.init(bitPattern:)) }
    lowest = number("anchor_lowest") ?? .infinity
    first = number("anchor_first") ?? .infinity
    sum = number("anchor_sum") ?? 0
    count = notes["anchor_count"].flatMap { Int($0) } ?? 0
    step = notes["anchor_step"].flatMap { Int($0) }
  }
}
