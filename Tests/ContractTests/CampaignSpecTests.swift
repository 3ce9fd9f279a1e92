// CampaignSpec.swift: campaign files, good and bad.
import Contract
import Testing

@Suite struct CampaignSpecTests {
  private let good = """
    {"name": "c", "optimizer": "celo", "seed": 3, "phases": [{"name": "p", "estimator": {"kind": "nres"},
     "lengths": [100, 1000], "outer_steps": 10, "tasks": [{"data": "d", "image_size": 8, "scales": [0.1, 10],
     "reparametrisation": "tensor"}]}]}
    """

  @Test("a campaign survives being written and read")
  func roundTrip() throws {
    let spec = try CampaignSpec.decode(JSON.parse(good))
    #expect(spec.phases[0].estimator == EstimatorSpec(kind: .nres))
    guard case .images(let task) = spec.phases[0].tasks[0].task else {
      Issue.record("expected the short form of images")
      return
    }
    #expect(task.scales == 0.1...10)
    #expect(try CampaignSpec.decode(spec.json) == spec)
  }

  @Test("every fault of a campaign has its path")
  func faults() throws {
    let bad = """
      {"name": "c", "optimizer": "adam", "phases": [{"name": "p", "estimator": {"kind": "x"}, "lengths": [5],
       "outer_steps": 0, "tasks": [{"image_size": 99}], "sigma": 1}]}
      """
    let error = #expect(throws: SpecError.self) { try CampaignSpec.decode(JSON.parse(bad)) }
    let paths = Set(error?.faults.map(\.path) ?? [])
    #expect(
      paths == [
        "/optimizer", "/phases/0/estimator/kind", "/phases/0/lengths", "/phases/0/outer_steps",
        "/phases/0/tasks/0/data", "/phases/0/tasks/0/image_size", "/phases/0/sigma",
      ])
  }

  @Test("leaves start at one value or at one for each element, and survive being written and read")
  func initial() throws {
    func spec(_ initial: JSON) throws -> CampaignSpec {
      guard case .object(var members) = try JSON.parse(good) else { throw SpecError([]) }
      members["initial"] = initial
      return try CampaignSpec.decode(.object(members))
    }
    let read = try spec(["a/b": 2.5, "a/w": [1, -2, 3]])
    #expect(read.initial == ["a/b": [2.5], "a/w": [1, -2, 3]])
    #expect(try CampaignSpec.decode(read.json) == read)
    for bad: JSON in [3, ["a": "x"], ["a": []], ["a": [1, "x"]], ["a": 1e9]] {
      let error = #expect(throws: SpecError.self) { try spec(bad) }
      #expect(error?.faults.map(\.path) == ["/initial"])
    }
  }

  @Test("lengths whose windows are log-uniform fall in each octave in inverse proportion to it")
  func windowLengths() throws {
    let lengths = LengthSchedule(kind: .logUniformWindows, low: .constant(100), high: .constant(800))
    let drawn = (0..<7000).map {
      Double(lengths.length(uniform: (Double($0) + 0.5) / 7000, normal: 0, at: 0, level: 0))
    }
    // Steps in episodes of each octave; episodes themselves are 4 : 2 : 1.
    let octaves = [100.0, 200, 400].map { low in drawn.filter { $0 >= low && $0 < 2 * low } }
    #expect(octaves.map(\.count) == [4000, 2000, 1000])
    let steps = octaves.map { $0.reduce(0, +) }
    for sum in steps { #expect(abs(sum / (steps.reduce(0, +) / 3) - 1) < 0.01) }
    #expect(abs(steps.reduce(0, +) / 7000 / lengths.mean(overOuterSteps: 1) - 1) < 0.01)
  }
}
