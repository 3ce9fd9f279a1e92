// Timestamp.swift, Identifier.swift, JobState.swift, Curve.swift, Dataset.swift, APIKey.swift: the smaller values.
import Contract
import Foundation
import Testing

@Suite struct ValuesTests {
  @Test("times survive being written and read, and agree with Foundation")
  func times() throws {
    var random = SplitMix(state: 1)
    let formatter = ISO8601DateFormatter()
    for _ in 0..<2000 {
      let time = Timestamp(microseconds: .random(in: -11_000_000_000_000_000...250_000_000_000_000_000, using: &random))
      #expect(Timestamp(rfc3339: time.rfc3339) == time)
      let whole = Timestamp(microseconds: time.microseconds / 1_000_000 * 1_000_000)
      #expect(
        whole.rfc3339
          == formatter.string(from: Date(timeIntervalSince1970: Double(whole.microseconds / 1_000_000))))
    }
    #expect(Timestamp(rfc3339: "2026-01-31T13:30:00.5+01:30")?.rfc3339 == "2026-01-31T12:00:00.500000Z")
    for bad in [
      "", "2026-02-30T00:00:00Z", "2026-01-31 12:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z", "now",
    ] {
      #expect(Timestamp(rfc3339: bad) == nil, "\(bad) was accepted")
    }
  }

  @Test("identifiers sort by time and carry their kind")
  func identifiers() {
    let times = (0..<200).map { Timestamp(microseconds: 1_700_000_000_000_000 + Int64($0) * 1000) }
    let ids = times.map { Identifier.make(.job, at: $0) }
    #expect(ids == ids.sorted())
    #expect(Set(ids).count == ids.count)
    #expect(ids.allSatisfy { Identifier.isValid($0, .job) && !Identifier.isValid($0, .model) })
    #expect(!Identifier.isValid("job_", .job) && !Identifier.isValid("job_" + String(repeating: "u", count: 26), .job))
  }

  @Test("terminal states have no successors and every other state reaches one")
  func states() {
    for state in JobState.allCases {
      #expect(state.isTerminal == state.successors.isEmpty)
      #expect(!state.canBecome(state))
      var reached: Set = [state]
      for _ in JobState.allCases { for known in reached { reached.formUnion(known.successors) } }
      #expect(reached.contains { $0.isTerminal })
    }
  }

  @Test("down-sampling keeps the first and last point and every bucket's extremes")
  func sampling() {
    var points = CurvePoints(steps: Array(0..<100_000), values: (0..<100_000).map { Float($0 % 97) })
    points.values[31_337] = 1e9
    points.values[77_777] = -1e9
    let few = points.sampled(pointsMax: 1000)
    #expect(few.steps.count <= 1000 && few.steps.count > 900)
    #expect(few.steps.first == 0 && few.steps.last == 99_999)
    #expect(few.values.contains(1e9) && few.values.contains(-1e9))
    #expect(few.steps == few.steps.sorted() && Set(few.steps).count == few.steps.count)
    #expect(few == points.sampled(pointsMax: 1000))
    #expect(points.sampled(pointsMax: 2).steps == [0, 99_999])
    let short = CurvePoints(steps: [1, 2, 3], values: [3, 2, 1])
    #expect(short.sampled(pointsMax: 3) == short)
  }

  @Test("a divergence stays visible in a down-sampled curve")
  func samplingNaN() {
    var points = CurvePoints(steps: Array(0..<10_000), values: [Float](repeating: 1, count: 10_000))
    points.values[5000] = .nan
    #expect(points.sampled(pointsMax: 100).values.contains { $0.isNaN })
    #expect(points.csv(series: .trainLoss).contains("\n5000,NaN\n"))
  }

  @Test("a dataset's schema survives being written and read")
  func schema() throws {
    var schema = DatasetSchema(
      shape: DataShape(input: [3], target: .values(1)), trainRows: 5, heldOutRows: 2, classNames: [],
      columns: [
        .init(name: "a", categories: ["x", "y"]), .init(name: "b", categories: nil, mean: 2.5, deviation: 0.1),
      ])
    schema.targetColumns = [.init(name: "c", categories: nil, mean: 7, deviation: 3)]
    schema.tokens = .init(kind: .characters, characters: ["a", "\n"], unknown: 2)
    #expect(DatasetSchema.decode(schema.json) == schema)
    #expect(try DatasetSchema.decode(JSON.parse(schema.json.text)) == schema)
  }

  @Test("secrets are long, distinct and recognisable")
  func secrets() {
    let secrets = (0..<100).map { _ in APIKey.makeSecret() }
    #expect(Set(secrets).count == 100)
    #expect(secrets.allSatisfy { $0.hasPrefix("ty_") && $0.count == 35 })
  }
}
