// LearningRateSchedule.swift, LearningRateSchedule+JSON.swift: every shape against its formula, and its JSON form.
import Contract
import Foundation
import Testing

@Suite("Learning-rate schedules")
struct LearningRateScheduleTests {
  typealias Schedule = LearningRateSchedule

  private func near(_ a: Double, _ b: Double) -> Bool { abs(a - b) <= 1e-14 * max(1, abs(b)) }

  @Test("hold, cosine and warm-up as VeLO's baselines were tuned with, and with a warm-up of its own length")
  func heldCosine() {
    /// s = min(t, n), C = n c; the factor at max(s, C), or s/W while s < W.
    func formula(_ t: Int, _ n: Int, _ r: Double, _ c: Double, _ w: Double, fills: Bool) -> Double {
      let s = Double(min(t, n)), n = Double(n)
      let hold = n * c
      let warm = n * (fills ? max(w, c) : w)
      if w > 0 && s < warm { return s / warm }
      return (1 - r) * (0.5 * cos(.pi * (max(s, hold) - hold) / (n - hold)) + 0.5) + r
    }
    for n in [1, 7, 100, 12_345] {
      for (r, c, w) in [
        (0, 0.5, 0), (0.1, 0.25, 0.1), (0, 0.5, 0.01), (0.3, 0, 0.2), (0, 0, 0), (0.9, 0.75, 0.9), (0, 0.5, 0.5),
      ] as [(Double, Double, Double)] {
        for fills in [false, true] {
          let schedule = Schedule.heldCosine(
            .init(constantFraction: c, warmupFraction: w, final: r, warmupFillsConstant: fills))
          for t in Set([0, 1, 2, n / 10, n / 4, n / 2, n / 2 + 1, 3 * n / 4, n - 1, n, n + 1, 3 * n]) {
            let wanted = formula(t, n, r, c, w, fills: fills)
            #expect(near(schedule.factor(t, of: n), wanted), "t \(t) of \(n), r \(r), c \(c), w \(w), \(fills)")
          }
        }
      }
    }
    // By hand.
    let plain = Schedule.heldCosine(.init(constantFraction: 0.5, warmupFraction: 0))
    #expect([0, 50, 75, 100, 150].map { plain.factor($0, of: 100) }.elementsEqual([1, 1, 0.5, 0, 0], by: near))
    // Any warm-up at all takes the whole constant share in the published list, and only its own share otherwise.
    let filling = Schedule.heldCosine(.init(constantFraction: 0.5, warmupFraction: 0.01, warmupFillsConstant: true))
    #expect([0, 1, 25, 50, 75].map { filling.factor($0, of: 100) }.elementsEqual([0, 0.02, 0.5, 1, 0.5], by: near))
    let own = Schedule.heldCosine(.init(constantFraction: 0.5, warmupFraction: 0.1))
    #expect([0, 1, 9, 10, 50, 75].map { own.factor($0, of: 100) }.elementsEqual([0, 0.1, 0.9, 1, 1, 0.5], by: near))
  }

  @Test("a run that is held to its end divides nothing by zero")
  func heldThroughout() {
    for fills in [false, true] {
      for w in [0, 0.2] {
        let schedule = Schedule.heldCosine(
          .init(constantFraction: 1, warmupFraction: w, final: 0.1, warmupFillsConstant: fills))
        for n in [1, 10, 1000] {
          for t in 0...n + 3 where !(w > 0 && Double(t) < Double(n) * (fills ? 1 : w)) {
            #expect(schedule.factor(t, of: n) == 1, "t \(t) of \(n)")
          }
        }
      }
    }
  }

  @Test("ramp and inverse square root")
  func inverseSquareRoot() {
    let schedule = Schedule.inverseSquareRoot(peakSteps: 1000)
    for t in [0, 1, 2, 500, 999, 1000, 1001, 4000, 1_000_000] {
      let tau = Double(max(t, 1))
      #expect(near(schedule.factor(t, of: 7), min(tau / 1000, (1000 / tau).squareRoot())))
    }
    #expect(schedule.factor(0, of: 1) == 0.001 && schedule.factor(1000, of: 1) == 1)
    #expect(near(schedule.factor(4000, of: 1), 0.5))
  }

  @Test("lines between knots, constant outside them; a knot belongs to the line that ends there")
  func piecewise() throws {
    let json: JSON = ["kind": "piecewise", "knots": [[10, 2], [20, 4], [40, 0]]]
    let schedule = try #require(Schedule.read(json, path: "", faults: Faults()))
    for (t, wanted) in [
      (0, 2), (9, 2), (10, 2), (11, 2.2), (15, 3), (20, 4), (21, 3.8), (30, 2), (40, 0), (41, 0), (1000, 0),
    ] as [(Int, Double)] {
      #expect(near(schedule.factor(t, of: 50), wanted), "\(t)")
    }
    let single = try #require(Schedule.read(["kind": "piecewise", "knots": [[5, 0.5]]], path: "", faults: Faults()))
    #expect([0, 5, 6].allSatisfy { single.factor($0, of: 50) == 0.5 })
  }

  @Test("exponential, steps, linear, cosine, held then linear, one cycle")
  func others() {
    for t in [0, 1, 10, 99, 100, 5000] {
      let share = min(Double(t) / 100, 1)
      #expect(near(Schedule.exponential(decay: 7e-5).factor(t, of: 100), pow(1 - 7e-5, Double(t))))
      #expect(near(Schedule.step(every: 30, factor: 0.5).factor(t, of: 100), pow(0.5, Double(t / 30))))
      #expect(near(Schedule.linear(final: 0.2).factor(t, of: 100), 1 - 0.8 * share))
      #expect(near(Schedule.cosine(final: 0.2).factor(t, of: 100), 0.2 + 0.4 * (1 + cos(.pi * share))))
      #expect(Schedule.constant.factor(t, of: 100) == 1)
    }
    let hold = Schedule.hold(decayFraction: 0.2, final: 0.1)
    #expect([0, 80, 90, 100, 200].map { hold.factor($0, of: 100) }.elementsEqual([1, 1, 0.55, 0.1, 0.1], by: near))
    let cycle = Schedule.oneCycle(peakFraction: 0.25, start: 0.04, final: 1e-4)
    let middle = 1e-4 + (1 - 1e-4) * 0.5
    #expect(near(cycle.factor(0, of: 80), 0.04) && near(cycle.factor(10, of: 80), 0.52))
    #expect(near(cycle.factor(20, of: 80), 1) && near(cycle.factor(50, of: 80), middle))
    #expect(near(cycle.factor(80, of: 80), 1e-4) && near(cycle.factor(800, of: 80), 1e-4))
  }

  @Test("a warm-up begins above zero, reaches the rate, and what follows it takes the rest of the run")
  func warmup() {
    let cosine = Schedule.warmup(steps: 20, then: .cosine(final: 0.1))
    for t in 0..<20 { #expect(near(cosine.factor(t, of: 120), Double(t + 1) / 20)) }
    for t in 20...130 {
      let share = min(Double(t - 20) / 100, 1)
      #expect(near(cosine.factor(t, of: 120), 0.1 + 0.45 * (1 + cos(.pi * share))))
    }
    // Half of the way up is where a run of half the warm-up ends.
    #expect(near(cosine.factor(9, of: 10), 0.5) && near(cosine.factor(500, of: 10), 0.1))
    let held = Schedule.warmup(steps: 10, then: .hold(decayFraction: 0.5, final: 0))
    #expect([9, 10, 60, 85, 110].map { held.factor($0, of: 110) }.elementsEqual([1, 1, 1, 0.5, 0], by: near))
    let root = Schedule.warmup(steps: 4, then: .inverseSquareRoot(peakSteps: 4))
    #expect([0, 3, 4, 16].map { root.factor($0, of: 1) }.elementsEqual([0.25, 1, 1, 0.5], by: near))
    #expect(near(LearningRate(base: 0.4, schedule: cosine).at(9, of: 120), 0.2))
  }

  /// A schedule with random constants within what may be asked for.
  private func random(_ random: inout SplitMix) -> Schedule {
    func number(_ range: ClosedRange<Double>) -> Double { .random(in: range, using: &random) }
    let shape: Schedule
    switch Int.random(in: 0..<10, using: &random) {
    case 0: shape = .constant
    case 1: shape = .linear(final: number(0...2))
    case 2: shape = .cosine(final: number(0...1))
    case 3: shape = .hold(decayFraction: number(1e-6...1), final: number(0...1))
    case 4: shape = .inverseSquareRoot(peakSteps: .random(in: 1...2000, using: &random))
    case 5: shape = .exponential(decay: number(0...1))
    case 6: shape = .step(every: .random(in: 1...500, using: &random), factor: number(0...1))
    case 7:
      let knots = (0..<Int.random(in: 1...5, using: &random)).map {
        [.number(Double($0 * 100) + number(0...99)), .number(number(0...3))] as JSON
      }
      shape = Schedule.read(["kind": "piecewise", "knots": .array(knots)], path: "", faults: Faults())!
    case 8: shape = .oneCycle(peakFraction: number(0.001...1), start: number(0...1), final: number(0...1))
    default:
      shape = .heldCosine(
        .init(
          constantFraction: number(0...1), warmupFraction: number(0...1), final: number(0...1),
          warmupFillsConstant: .random(using: &random)))
    }
    return Bool.random(using: &random)
      ? shape : .warmup(steps: .random(in: 1...2000, using: &random), then: shape)
  }

  @Test("random schedules are finite and never negative, and return from their JSON text")
  func properties() throws {
    var generator = SplitMix(state: 11)
    for _ in 0..<2000 {
      let schedule = random(&generator)
      let again = Schedule.read(try JSON.parse(schedule.json.text), path: "", faults: Faults())
      #expect(again == schedule, "\(schedule.json.text)")
      for n in [0, 1, 2, 1000] {
        for t in [0, 1, n / 2, max(n - 1, 0), n, n + 1, 1_000_000_000] {
          let factor = schedule.factor(t, of: n)
          #expect(factor.isFinite && factor >= 0 && factor <= 3, "\(factor) at \(t) of \(n): \(schedule.json.text)")
        }
      }
    }
  }

  @Test("what is not given has a default")
  func defaults() throws {
    for (kind, wanted) in [
      ("constant", .constant), ("linear", .linear(final: 0)), ("cosine", .cosine(final: 0)),
      ("hold", .hold(decayFraction: 0.2, final: 0)), ("inverse_sqrt", .inverseSquareRoot(peakSteps: 1000)),
      ("exponential", .exponential(decay: 7e-5)),
      ("one_cycle", .oneCycle(peakFraction: 0.3, start: 0.04, final: 1e-4)),
      ("held_cosine", .heldCosine(.init())),
    ] as [(String, Schedule)] {
      let faults = Faults()
      #expect(Schedule.read(["kind": .string(kind)], path: "", faults: faults) == wanted && faults.isEmpty, "\(kind)")
    }
    #expect(
      Schedule.read(["kind": "step", "every": 5], path: "", faults: Faults()) == .step(every: 5, factor: 0.1))
    #expect(
      Schedule.read(["kind": "linear", "warmup_steps": 3], path: "", faults: Faults())
        == .warmup(steps: 3, then: .linear(final: 0)))
    #expect(Schedule.read(["kind": "linear", "warmup_steps": 0], path: "", faults: Faults()) == .linear(final: 0))
  }

  @Test(
    "what is wrong is told with its place",
    arguments: [
      ("7", ["/s"]), ("{}", ["/s/kind"]), ("{\"kind\":\"cubic\"}", ["/s/kind"]), ("{\"kind\":3}", ["/s/kind"]),
      ("{\"kind\":\"step\"}", ["/s/every"]), ("{\"kind\":\"step\",\"every\":0}", ["/s/every"]),
      ("{\"kind\":\"step\",\"every\":2.5}", ["/s/every"]),
      ("{\"kind\":\"linear\",\"final\":-1}", ["/s/final"]), ("{\"kind\":\"linear\",\"end\":1}", ["/s/end"]),
      ("{\"kind\":\"constant\",\"final\":1}", ["/s/final"]),
      ("{\"kind\":\"hold\",\"decay_fraction\":0}", ["/s/decay_fraction"]),
      ("{\"kind\":\"exponential\",\"decay\":1.5}", ["/s/decay"]),
      ("{\"kind\":\"cosine\",\"warmup_steps\":-1}", ["/s/warmup_steps"]),
      ("{\"kind\":\"cosine\",\"warmup_steps\":1e10}", ["/s/warmup_steps"]),
      ("{\"kind\":\"piecewise\"}", ["/s/knots"]), ("{\"kind\":\"piecewise\",\"knots\":[]}", ["/s/knots"]),
      ("{\"kind\":\"piecewise\",\"knots\":[[0,1],[0,2]]}", ["/s/knots"]),
      ("{\"kind\":\"piecewise\",\"knots\":[[5,1],[3,2]]}", ["/s/knots"]),
      ("{\"kind\":\"piecewise\",\"knots\":[[0,1],[2]]}", ["/s/knots/1"]),
      ("{\"kind\":\"piecewise\",\"knots\":[[-1,1],[2,\"a\"],7]}", ["/s/knots/0", "/s/knots/1", "/s/knots/2"]),
      ("{\"kind\":\"one_cycle\",\"start\":2,\"peak_fraction\":0}", ["/s/peak_fraction", "/s/start"]),
      (
        "{\"kind\":\"held_cosine\",\"constant_fraction\":2,\"warmup_fraction\":-1,\"warmup_fills_constant\":1}",
        ["/s/constant_fraction", "/s/warmup_fraction", "/s/warmup_fills_constant"]
      ),
    ] as [(String, [String])])
  func faults(text: String, paths: [String]) throws {
    let faults = Faults()
    #expect(Schedule.read(try JSON.parse(text), path: "/s", faults: faults) == nil)
    #expect(faults.list.map(\.path) == paths, "\(faults.list)")
  }
}
