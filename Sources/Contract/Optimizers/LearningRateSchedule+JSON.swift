// Learning-rate schedules as clients write them: `{"kind": "cosine", "warmup_steps": 100, "final": 0.1}`.
import Foundation

extension LearningRateSchedule {
  private enum Kind: String, CaseIterable {
    case constant, linear, cosine, hold
    case inverseSquareRoot = "inverse_sqrt"
    case exponential, step, piecewise
    case oneCycle = "one_cycle"
    case heldCosine = "held_cosine"
  }

  private static let stepsRange = 1...1_000_000_000

  /// Reads a schedule; nil where something is wrong, which is then a fault.
  public static func read(_ json: JSON, path: String, faults: Faults) -> LearningRateSchedule? {
    guard var fields = Fields(json, path: path, faults: faults) else { return nil }
    guard let kind = fields.choice("kind", of: Kind.self, required: "the shape of the schedule") else { return nil }
    func final(_ standard: Double = 0) -> Double { fields.number("final", in: 0...1000) ?? standard }
    let shape: LearningRateSchedule
    switch kind {
    case .constant: shape = .constant
    case .linear: shape = .linear(final: final())
    case .cosine: shape = .cosine(final: final())
    case .hold: shape = .hold(decayFraction: fields.number("decay_fraction", in: 1e-6...1) ?? 0.2, final: final())
    case .inverseSquareRoot:
      shape = .inverseSquareRoot(peakSteps: fields.integer("peak_steps", in: stepsRange) ?? 1000)
    case .exponential: shape = .exponential(decay: fields.number("decay", in: 0...1) ?? 7e-5)
    case .step:
      shape = .step(
        every: fields.integer("every", in: stepsRange, required: "updates between two drops") ?? 1,
        factor: fields.number("factor", in: 0...1000) ?? 0.1)
    case .piecewise:
      shape = .piecewise(
        fields.array("knots", counts: 1...100, required: "pairs [updates, factor] in order", read: knot) ?? [])
    case .oneCycle:
      shape = .oneCycle(
        peakFraction: fields.number("peak_fraction", in: 0.001...1) ?? 0.3,
        start: fields.number("start", in: 0...1) ?? 0.04, final: final(1e-4))
    case .heldCosine:
      shape = .heldCosine(
        HeldCosine(
          constantFraction: fields.number("constant_fraction", in: 0...1) ?? 0.5,
          warmupFraction: fields.number("warmup_fraction", in: 0...1) ?? 0.01, final: final(),
          warmupFillsConstant: fields.bool("warmup_fills_constant") ?? false))
    }
    if case .piecewise(let knots) = shape, zip(knots, knots.dropFirst()).contains(where: { $0.step >= $1.step }) {
      fields.fault("knots", "expected rising numbers of updates")
    }
    let warmup = fields.integer("warmup_steps", in: 0...stepsRange.upperBound) ?? 0
    fields.finish()
    guard faults.isEmpty else { return nil }
    return warmup > 0 ? .warmup(steps: warmup, then: shape) : shape
  }

  private static func knot(_ json: JSON, _ path: String, _ faults: Faults) -> Knot? {
    if let pair = json.array, pair.count == 2, let step = pair[0].number, let factor = pair[1].number,
      (0...1e9).contains(step), (0...1e6).contains(factor)
    {
      return Knot(step: step, factor: factor)
    }
    faults.add(path, "expected [updates, factor], two numbers of at least 0")
    return nil
  }

  /// As clients write it.
  public var json: JSON {
    func object(_ kind: Kind, _ members: [String: JSON]) -> JSON {
      .object(members.merging(["kind": .string(kind.rawValue)]) { $1 })
    }
    switch self {
    case .constant: return object(.constant, [:])
    case .warmup(let steps, let then):
      guard case .object(var members) = then.json else { return then.json }
      members["warmup_steps"] = .integer(steps)
      return .object(members)
    case .linear(let final): return object(.linear, ["final": .number(final)])
    case .cosine(let final): return object(.cosine, ["final": .number(final)])
    case .hold(let fraction, let final):
      return object(.hold, ["decay_fraction": .number(fraction), "final": .number(final)])
    case .inverseSquareRoot(let steps): return object(.inverseSquareRoot, ["peak_steps": .integer(steps)])
    case .exponential(let decay): return object(.exponential, ["decay": .number(decay)])
    case .step(let every, let factor): return object(.step, ["every": .integer(every), "factor": .number(factor)])
    case .piecewise(let knots):
      return object(.piecewise, ["knots": .array(knots.map { [.number($0.step), .number($0.factor)] })])
    case .oneCycle(let peak, let start, let final):
      return object(
        .oneCycle, ["peak_fraction": .number(peak), "start": .number(start), "final": .number(final)])
    case .heldCosine(let shape):
      return object(
        .heldCosine,
        [
          "constant_fraction": .number(shape.constantFraction), "warmup_fraction": .number(shape.warmupFraction),
          "final": .number(shape.final), "warmup_fills_constant": .bool(shape.warmupFillsConstant),
        ])
    }
  }
}
