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
}
