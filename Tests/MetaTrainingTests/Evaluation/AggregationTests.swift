// Aggregates against closed forms and brute force, and the envelope's properties on random curves.
import Compute
import Foundation
import Testing

@testable import MetaTraining

struct AggregationTests {
  @Test("the interquartile mean trims a quarter on each side, by shares where the count asks for it")
  func interquartileMean() {
    #expect(Aggregation.interquartileMean([1, 2, 3, 4]) == 2.5)
    #expect(Aggregation.interquartileMean([100, 2, -50, 3]) == 2.5)
    // Of five, 1.25 are trimmed on each side: the outer two of the middle three count three quarters.
    #expect(abs(Aggregation.interquartileMean([0, 1, 2, 4, 100]) - (0.75 * 1 + 2 + 0.75 * 4) / 2.5) < 1e-12)
    #expect(Aggregation.interquartileMean([7]) == 7)
    #expect(Aggregation.interquartileMean([]).isNaN)
  }

  @Test("the interquartile mean is the integral of the middle half of the quantile function", arguments: 1...23)
  func integral(count: Int) {
    let scores = (0..<count).map { place in
      Double(RandomKey(seed: UInt64(count)).words(block: UInt32(place)).0 % 1000)
    }
    // Every score four times over: then whole scores are trimmed.
    let repeated = scores.flatMap { [$0, $0, $0, $0] }.sorted()
    let middle = repeated[count..<3 * count]
    #expect(abs(Aggregation.interquartileMean(scores) - middle.reduce(0, +) / Double(middle.count)) < 1e-9)
  }

  @Test("quantiles are linear between scores, the gap counts what is lacking")
  func quantiles() {
    #expect(Aggregation.quantile([3, 1, 2], 0.5) == 2)
    #expect(Aggregation.quantile([0, 10], 0.25) == 2.5)
    #expect(Aggregation.quantile([5], 0.95) == 5)
    #expect(Aggregation.optimalityGap([0, 0.5, 2]) == 0.5)
    #expect(abs(Aggregation.deviation([1, 2, 3]) - 1) < 1e-12)
  }

  @Test("intervals hang on the key alone, hold the estimate, and shrink with the spread")
  func interval() {
    let tasks = (0..<12).map { task in
      (0..<5).map { seed in Double(task) + RandomKey.uniform(RandomKey(seed: 9).words(block: UInt32(task * 5 + seed)).0)
      }
    }
    let key = RandomKey(seed: 3)
    let wide = Aggregation.interval(tasks, key: key)
    #expect(wide == Aggregation.interval(tasks, key: key) && !wide.isOverTasks)
    let estimate = Aggregation.interquartileMean(tasks.flatMap(\.self))
    #expect(wide.low < estimate && estimate < wide.high)
    let narrow = Aggregation.interval(tasks.map { scores in scores.map { $0.rounded(.down) } }, key: key)
    // Without any spread within tasks the resampling can only give the same scores again.
    #expect(narrow.low == narrow.high)
  }

  @Test("the interval of a mean of many equal tasks is that of the normal law")
  func coverage() {
    // One task of many scores: the bootstrap's IQM spreads as the IQM's own error, about 1.19 deviations / sqrt(n) for a
    // normal law (the IQM is a trimmed mean at 25 %).
    var normals = [Float](repeating: 0, count: 400)
    RandomKey(seed: 5).fillNormals(&normals)
    let interval = Aggregation.interval([normals.map(Double.init)], key: RandomKey(seed: 6))
    let expected = 2 * 1.96 * 1.19.squareRoot() / 20
    #expect(abs((interval.high - interval.low) / expected - 1) < 0.2, "\(interval.high - interval.low) \(expected)")
  }

  @Test("with one training a task, tasks are resampled, and it says so")
  func overTasks() {
    let interval = Aggregation.interval([[1], [2], [3], [4]], key: RandomKey(seed: 1))
    #expect(interval.isOverTasks && interval.low < interval.high)
  }

  @Test("the probability of improvement is the share of pairs, ties half, as brute force counts them")
  func improvement() {
    #expect(Aggregation.probabilityOfImprovement([[1, 2]], over: [[1, 1]]) == 0.75)
    #expect(Aggregation.probabilityOfImprovement([[1], [5]], over: [[2], [2]]) == 0.5)
    #expect(Aggregation.probabilityOfImprovement([[]], over: [[1]]) == nil)
    let x = [[3.0, 1, 4], [1, 5]], y = [[2.0, 7], [1, 8, 2]]
    var mean = 0.0
    for (own, others) in zip(x, y) {
      var wins = 0.0
      for a in own { for b in others { wins += a > b ? 1 : a == b ? 0.5 : 0 } }
      mean += wins / Double(own.count * others.count) / 2
    }
    #expect(Aggregation.probabilityOfImprovement(x, over: y) == mean)
  }

  @Test("profiles fall from one to nothing and lie within their bands")
  func profile() {
    let tasks = [[0.5, 1], [2, 3], [0, 8]]
    let thresholds = [-1, 0, 0.5, 1, 2.5, 8]
    let profile = Aggregation.profile(tasks, thresholds: thresholds, key: RandomKey(seed: 2))
    let expected: [Double] = [6, 5, 4, 3, 2, 0]
    #expect(profile.map(\.share) == expected.map { $0 / 6 })
    for point in profile { #expect(point.low <= point.share && point.share <= point.high) }
  }

  @Test("the fastest entrant of a task counts from one, a missed target never")
  func timeProfile() {
    let times = [[10, 40, .infinity], [20, 10, .infinity]]
    let shares = Aggregation.timeProfile(times, ratios: [1, 2, 4])
    let third = 1.0 / 3
    #expect(shares[0] == [third, third, 2 * third] && shares[1] == [third, 2 * third, 2 * third])
  }
}

struct EnvelopeTests {
  @Test("the envelope is the running minimum over all curves")
  func minimum() throws {
    let envelope = try #require(Envelope([[0: 4, 10: 3, 20: .nan, 30: 5], [0: 5, 10: 2.5, 20: 2.75, 30: 1]]))
    #expect(envelope.steps == [0, 10, 20, 30] && envelope.losses == [4, 2.5, 2.5, 1])
    #expect(Envelope([]) == nil && Envelope([[0: .nan]]) == nil)
  }

  @Test("the inverse is the earliest step, linear in between, and says what it does not know")
  func inverse() throws {
    let envelope = try #require(Envelope([[0: 4, 10: 2, 20: 2, 30: 1]]))
    #expect(envelope.read(5).steps == 0 && envelope.read(.nan).steps == 0)
    #expect(envelope.read(4).steps == 0)
    #expect(envelope.read(3).steps == 5)
    // On the flat stretch the earliest.
    #expect(envelope.read(2) == Envelope.Reading(steps: 10, isCensored: false))
    #expect(envelope.read(1.5).steps == 25)
    #expect(envelope.read(1) == Envelope.Reading(steps: 30, isCensored: false))
    #expect(envelope.read(0.5) == Envelope.Reading(steps: 30, isCensored: true))
  }

  @Test("on random curves the inverse falls with the loss and hits the envelope", arguments: 0..<20)
  func properties(seed: Int) throws {
    let key = RandomKey(seed: UInt64(seed))
    let curves = (0..<3).map { curve -> [Int: Double] in
      var values: [Int: Double] = [:]
      for step in 0..<30 {
        let noise = RandomKey.uniform(key.words(block: UInt32(curve * 30 + step)).0)
        values[step * 10] = 3 / (1 + Double(step)) + noise
      }
      return values
    }
    let envelope = try #require(Envelope(curves))
    #expect(zip(envelope.losses, envelope.losses.dropFirst()).allSatisfy { $0 >= $1 })
    var last = -1.0
    for loss in stride(from: 4.5, through: 0.1, by: -0.05) {
      let reading = envelope.read(loss)
      #expect(reading.steps >= last)
      last = reading.steps
      guard !reading.isCensored, reading.steps > 0 else { continue }
      // No curve was at or below the loss at any measured step before.
      var before = Double.infinity
      for curve in curves {
        for (step, value) in curve where Double(step) < reading.steps - 1e-9 { before = min(before, value) }
      }
      #expect(before >= loss - 1e-12, "\(loss) at \(reading.steps): \(before)")
    }
  }
}
