// Campaigns in the database: created with their phases and work, what they name, and how their state changes.
import Contract
import Foundation
import TestSupport
import Testing

@testable import Store

@Suite struct CampaignTests {
  let database: TestDatabase
  let store: Store

  init() throws {
    database = try TestDatabase()
    store = try database.store(connectionsMax: 8)
    try store.makeProject()
  }

  private func create(_ spec: CampaignSpec = .sample, key: Idempotency? = nil) throws -> Campaign {
    try store.createCampaign(spec, project: "demo", author: "key_1", idempotency: key).campaign
  }

  private func faults(_ spec: CampaignSpec, project: String = "demo") throws -> [String] {
    do {
      _ = try store.createCampaign(spec, project: project, author: "key_1")
      return []
    } catch StoreError.invalid(let faults) { return faults.map(\.path) }
  }

  private func setState(_ id: String, _ state: CampaignState) throws {
    try database.run("UPDATE campaigns SET state = '\(state.rawValue)' WHERE id = '\(id)'")
  }

  @Test func `a campaign is created with planned phases, an event, and work below all jobs`() throws {
    let made = try create()
    #expect(made.state == .queued && made.reason == "submitted" && made.outerSteps == 50 && made.revision == 1)
    #expect(made.spec == .sample && made.version == 0 && made.phase == 0 && made.parent == nil)
    #expect(try store.campaign(id: made.id, project: "demo") == made)
    #expect(try store.campaign(id: made.id, project: "other") == nil)
    let phases = try store.phases(campaign: made.id)
    #expect(phases.map(\.number) == [0, 1] && phases.map(\.position) == [0, 1] && phases.map(\.keysFrom) == [0, 1])
    #expect(phases.allSatisfy { $0.state == .planned && $0.author == "key_1" && $0.parent == nil })
    #expect(phases.map(\.phase) == CampaignSpec.sample.phases)
    #expect(try database.texts("SELECT kind, priority FROM work") == ["campaign,10"])
    #expect(try database.texts("SELECT kind, message FROM campaign_events") == ["state,queued"])
    var wide = CampaignSpec.sample
    wide.mode = .distributed
    _ = try create(wide)
    #expect(try database.texts("SELECT kind FROM work ORDER BY id") == ["campaign", "distributed_campaign"])
    #expect(try store.figures().work.contains(Figures.Work(kind: "distributed_campaign", state: "queued", count: 1)))
  }

  @Test func `campaigns are listed newest first, by state, for their project alone`() throws {
    let ids = try (0..<3).map { _ in try create().id }
    _ = try store.pauseCampaign(id: ids[1], project: "demo", author: "key_1")
    #expect(try store.campaigns(project: "demo").items.map(\.id) == ids.reversed())
    #expect(try store.campaigns(project: "demo", state: .paused).items.map(\.id) == [ids[1]])
    #expect(try store.campaigns(project: "other").items.isEmpty)
    let page = try store.campaigns(project: "demo", limit: 2)
    #expect(try store.campaigns(project: "demo", cursor: page.nextCursor, limit: 2).items.map(\.id) == [ids[0]])
    #expect(try store.project(id: "demo")?.usage.unfinishedCampaigns == 3)
  }

  @Test func `a repeated request under one key is one campaign, as it was created`() throws {
    let key = Idempotency(key: "k", route: "POST /v1/campaigns", requestSHA256: SHA256.hexadecimal([9]))
    let made = try create(key: key)
    _ = try store.cancelCampaign(id: made.id, project: "demo", author: "key_1")
    #expect(try create(key: key) == made)
    #expect(try store.replayedCampaign(key, project: "demo") == made)
    #expect(try store.campaigns(project: "demo").items.count == 1)
    let made8 = try concurrently(8) { [store] _ in
      try store.createCampaign(
        .sample, project: "demo", author: "key_1",
        idempotency: Idempotency(key: "l", route: "POST /v1/campaigns", requestSHA256: SHA256.hexadecimal([8]))
      ).campaign.id
    }
    #expect(Set(made8).count == 1)
  }

  @Test func `what a campaign names must be there and belong to its project`() throws {
    let dataset = try store.makeReadyDataset()
    let strange = try store.makeReadyDataset(project: "other")
    var spec = CampaignSpec.sample
    spec.data = ["mnist": dataset.id]
    #expect(try faults(spec) == [])
    spec.data = ["mnist": strange.id, "a/b": Identifier.make(.dataset)]
    #expect(try faults(spec) == ["/data/a~1b", "/data/mnist"])
    spec.data = [:]
    let image = ImageTaskSpec(
      data: "mnist", imageSize: 8, hidden: [4], activation: .relu, batchSize: 8, reparametrisation: .none,
      scales: 1...1)
    spec.phases[1].tasks.append(CampaignTask(.images(image)))
    #expect(try faults(spec) == ["/phases/1/tasks/1/data"])
    spec.data = ["mnist": dataset.id]
    #expect(try faults(spec) == [])
    spec.phases[0].outer.source = .version(7)
    spec.phases[0].outer.optimizer = OptimizerSettings(.celo, [:])
    spec.start = .optimizer(version: 2)
    #expect(try faults(spec) == ["/start/version", "/phases/0/outer/optimizer/version"])
    for (name, version) in [(OptimizerName.smallFC, 2), (.celo, 7)] {
      _ = try store.installOptimizer(
        name: name, version: version, state: .candidate, blob: store.putBlob([UInt8(version)]), parameterCount: 3,
        provenance: [:])
    }
    let made = try create(spec)
    #expect(
      try database.texts("SELECT o.name, o.version FROM campaigns c JOIN optimizers o ON o.id = c.start") == [
        "small_fc,2"
      ])
    #expect(made.parent == nil)
    spec.start = .campaign(id: made.id, version: 5)
    #expect(try faults(spec) == ["/start/version"])
    #expect(try faults(spec, project: "other") == ["/start/campaign", "/data/mnist"])
    spec.evaluation = CampaignSpec.Evaluation(everyOuterSteps: 10, spec: ["tasks": ["quick"], "steps": -1])
    #expect(try faults(spec) == ["/start/version", "/evaluation/spec/steps"])
  }

  @Test func `a dataset stays for as long as an unfinished campaign needs it`() throws {
    let dataset = try store.makeReadyDataset()
    var spec = CampaignSpec.sample
    spec.data = ["mnist": dataset.id]
    let id = try create(spec).id
    let error = #expect(throws: StoreError.self) { try store.deleteDataset(id: dataset.id, project: "demo") }
    #expect(error?.description.contains(id) == true)
    _ = try store.cancelCampaign(id: id, project: "demo", author: "k")
    #expect(try store.deleteDataset(id: dataset.id, project: "demo"))
  }

  @Test func `a dataset that is validating is waited for`() throws {
    let waiting = try store.createDataset(
      name: "next", options: DatasetOptions(format: .csv), blob: store.putBlob([1]), project: "demo"
    ).dataset
    var spec = CampaignSpec.sample
    spec.data = ["mnist": waiting.id]
    #expect(
      throws: StoreError.conflict(
        .datasetNotReady, "dataset \(waiting.id) is validating; wait until it is ready")
    ) { try create(spec) }
    #expect(try store.campaigns(project: "demo").items.isEmpty)
  }

  @Test func `a campaign from another's version gets a copy of its theta`() throws {
    let parent = try create()
    try database.run(
      """
      INSERT INTO campaign_thetas (campaign, version, content, sha256)
      SELECT '\(parent.id)', v, '\\x0102', sha256('\\x0102') FROM unnest(ARRAY[0, 10, 20, 30, 40, 50]) v
      """)
    var spec = CampaignSpec.sample
    spec.start = .campaign(id: parent.id, version: 20)
    let made = try create(spec)
    #expect(made.parent == ThetaReference(campaign: parent.id, version: 20))
    try database.run("DELETE FROM campaigns WHERE id = '\(parent.id)'")
    #expect(
      try database.texts("SELECT version, kept, octet_length(content) FROM campaign_thetas") == ["0,start,2"])
  }

  @Test func `a start names the nearest versions when it misses, and what does not fit`() throws {
    let parent = try create()
    try database.run(
      """
      INSERT INTO campaign_thetas (campaign, version, content, sha256)
      SELECT '\(parent.id)', v, '\\x01', sha256('\\x01') FROM unnest(ARRAY[0, 10, 20, 30, 40, 50]) v
      """)
    var spec = CampaignSpec.sample
    spec.start = .campaign(id: parent.id, version: 31)
    let error = #expect(throws: StoreError.self) { try create(spec) }
    #expect(error?.description.contains("nearest that are: 10, 20, 30, 40, 50") == true)
    spec.start = .campaign(id: parent.id, version: 30)
    spec.optimizer = .celo
    #expect(try faults(spec) == ["/optimizer"])
    spec.optimizer = .smallFC
    spec.constants = ["hidden": 8]
    #expect(try faults(spec) == ["/constants"])
  }

  @Test func `the database allows the changes of state that the contract allows, and no others`() throws {
    for from in CampaignState.allCases {
      for to in CampaignState.allCases where to != from {
        let allowed = try database.texts("SELECT campaign_may_become('\(from.rawValue)', '\(to.rawValue)')")
        #expect(allowed == [from.canBecome(to) ? "t" : "f"], "\(from) to \(to)")
      }
    }
    let id = try create().id
    #expect(throws: (any Error).self) { try setState(id, .succeeded) }
  }

  @Test func `a campaign that waits is paused, resumed and cancelled at once`() throws {
    let id = try create().id
    let paused = try #require(try store.pauseCampaign(id: id, project: "demo", author: "key_2"))
    #expect(paused.state == .paused && paused.reason == "pause_requested" && paused.revision == 2)
    #expect(try database.texts("SELECT id FROM work").isEmpty)
    #expect(try store.pauseCampaign(id: id, project: "demo", author: "key_2") == paused)
    let resumed = try #require(try store.resumeCampaign(id: id, project: "demo", author: "key_2"))
    #expect(resumed.state == .queued)
    #expect(try database.texts("SELECT kind, priority FROM work") == ["campaign,10"])
    #expect(try store.resumeCampaign(id: id, project: "demo", author: "key_2") == resumed)
    let cancelled = try #require(try store.cancelCampaign(id: id, project: "demo", author: "key_2"))
    #expect(cancelled.state == .cancelled && cancelled.finishedAt != nil)
    #expect(try database.texts("SELECT id FROM work").isEmpty)
    #expect(try store.cancelCampaign(id: id, project: "demo", author: "key_2") == cancelled)
    #expect(throws: StoreError.self) { try store.pauseCampaign(id: id, project: "demo", author: "key_2") }
    #expect(throws: StoreError.self) { try store.resumeCampaign(id: id, project: "demo", author: "key_2") }
    #expect(
      try database.texts("SELECT sequence, data ->> 'author' FROM campaign_events ORDER BY sequence") == [
        "1,key_1", "2,key_2", "3,key_2", "4,key_2",
      ])
    #expect(try store.pauseCampaign(id: id, project: "other", author: "key_3") == nil)
  }

  @Test func `a campaign that runs is asked, and its learner decides when`() throws {
    let id = try create().id
    try setState(id, .running)
    #expect(try store.pauseCampaign(id: id, project: "demo", author: "k")?.state == .pausing)
    #expect(throws: StoreError.self) { try store.resumeCampaign(id: id, project: "demo", author: "k") }
    #expect(try store.cancelCampaign(id: id, project: "demo", author: "k")?.state == .cancelling)
    #expect(throws: StoreError.self) { try store.pauseCampaign(id: id, project: "demo", author: "k") }
    #expect(try store.cancelCampaign(id: id, project: "demo", author: "k")?.state == .cancelling)
    // Its work is the learner's until then.
    #expect(try database.texts("SELECT kind FROM work") == ["campaign"])
  }

  @Test func `a change for another revision changes nothing`() throws {
    let id = try create().id
    #expect(throws: StoreError.self) {
      try store.pauseCampaign(id: id, project: "demo", author: "k", revision: 7)
    }
    #expect(try store.campaign(id: id, project: "demo")?.state == .queued)
    #expect(try store.pauseCampaign(id: id, project: "demo", author: "k", revision: 1)?.state == .paused)
  }
}
