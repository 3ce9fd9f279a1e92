// What becomes of campaigns: changes of their phases, branches, rollbacks, and what they leave behind.
import Contract
import Foundation
import TestSupport
import Testing

@testable import Store

@Suite struct CampaignLineageTests {
  let database: TestDatabase
  let store: Store
  let id: String

  init() throws {
    database = try TestDatabase()
    store = try database.store(connectionsMax: 8)
    try store.makeProject()
    id = try store.createCampaign(.sample, project: "demo", author: "key_1").campaign.id
  }

  /// Puts the campaign where a learner would have it after so many outer steps of its first phase.
  private func run(to version: Int) throws {
    try database.run(
      """
      UPDATE campaigns SET state = 'running', version = \(version), outer_iteration = \(version) WHERE id = '\(id)';
      UPDATE campaign_phases SET state = 'active', first_version = 0 WHERE campaign = '\(id)' AND number = 0;
      INSERT INTO campaign_thetas (campaign, version, content, sha256)
      SELECT '\(id)', v, convert_to('theta ' || v, 'UTF8'), sha256(convert_to('theta ' || v, 'UTF8'))
      FROM generate_series(0, \(version), 5) v;
      INSERT INTO campaign_steps (campaign, version, phase, outer_iteration, mean_loss, surviving, learning_rate,
        inner_steps, staleness, discarded, wall_ms, results)
      SELECT '\(id)', v, 0, v, CASE WHEN v = 3 THEN NULL ELSE 1.0 / v END, 0.5, 0.001, 80, ARRAY[3, 1], 2, 10, ''
      FROM generate_series(1, \(version)) v
      """)
  }

  private func set(
    _ changes: JSON, phase: Int? = nil, append: [CampaignPhase] = [], revision: Int? = nil
  ) throws -> [CampaignPhaseRecord] {
    try #require(
      try store.changeCampaign(
        id: id, project: "demo", CampaignChange(phase: phase, changes: changes, append: append), author: "key_2",
        revision: revision)
    ).made
  }

  private func faults(_ body: () throws -> Void) throws -> [String] {
    do {
      try body()
      return []
    } catch StoreError.invalid(let faults) { return faults.map(\.path) }
  }

  // MARK: Changes

  @Test func `a change of an active phase waits beside it, keeps its pairs and its outer optimizer`() throws {
    try run(to: 10)
    let made = try #require(try set(["outer": ["clip": 1]]).first)
    #expect(made.number == 2 && made.position == 0 && made.parent == 0 && made.state == .planned)
    #expect(made.keysFrom == 0 && made.author == "key_2" && made.phase.outer.clip == 1)
    #expect(!made.phase.resetsOuterOptimizer && made.phase.estimator == CampaignSpec.sample.phases[0].estimator)
    #expect(try store.phases(campaign: id).map(\.state) == [.active, .planned, .planned])
    // Another sigma needs other pairs; the change before it, not taken up yet, is in it.
    let second = try #require(try set(["estimator": ["sigma": 0.02]]).first)
    #expect(second.parent == 2 && second.keysFrom == 3 && second.phase.outer.clip == 1)
    #expect(second.phase.estimator.sigma == 0.02)
    #expect(try store.phases(campaign: id).map(\.state) == [.active, .planned, .superseded, .planned])
    #expect(try set(["outer": ["optimizer": ["name": "sgd", "learning_rate": 0.1]]])[0].phase.resetsOuterOptimizer)
    let events = try store.events(campaign: id).filter { $0.kind == .phase }
    #expect(events.count == 3)
    #expect(events[0].data["changes"]?.array?.first == ["path": "/outer/clip", "from": .number(3), "to": .number(1)])
    #expect(events[0].data["author"] == "key_2")
  }

  @Test func `null in a change means what it means in a phase`() throws {
    #expect(try set(["outer": ["clip": .null]])[0].phase.outer.clip == nil)
    #expect(try set(["lengths": [100, 200]])[0].phase.lengths == .logUniform(100...200))
  }

  @Test func `a planned phase is replaced at once, and phases are added at the end`() throws {
    try run(to: 10)
    var third = CampaignSpec.sample.phases[0]
    third.name = "third"
    let made = try set(["outer_steps": 70], phase: 1, append: [third])
    #expect(made.map(\.number) == [2, 3] && made.map(\.position) == [1, 2] && made.map(\.parent) == [1, nil])
    #expect(made[0].keysFrom == 1 && made[0].phase.resetsOuterOptimizer)
    #expect(try store.phases(campaign: id).map(\.state) == [.active, .superseded, .planned, .planned])
    let campaign = try #require(try store.campaign(id: id, project: "demo"))
    #expect(campaign.outerSteps == 30 + 70 + 30 && campaign.revision > 1)
  }

  @Test func `what cannot be changed says why`() throws {
    try run(to: 10)
    #expect(try faults { _ = try set(["outer_steps": 0, "sigma": 1]) } == ["/changes/outer_steps", "/changes/sigma"])
    #expect(try faults { _ = try set(["estimator": ["sigma": 1000]]) } == ["/changes/estimator/sigma"])
    #expect(try faults { _ = try set(["outer": ["clip": 3]]) } == ["/changes"])
    #expect(try faults { _ = try set(["outer_steps": 5], phase: 9) } == ["/phase"])
    _ = try set(["outer_steps": 5], phase: 1)
    #expect(try faults { _ = try set(["outer_steps": 6], phase: 1) } == ["/phase"])
    try database.run(
      "UPDATE campaign_phases SET state = 'done', last_version = 30 WHERE campaign = '\(id)' AND number = 0")
    #expect(try faults { _ = try set(["outer_steps": 6], phase: 0) } == ["/phase"])
    let tasks: JSON = [["data": "mnist"]]
    #expect(try faults { _ = try set(["tasks": tasks], phase: 2) } == ["/changes/tasks/0/data"])
    #expect(throws: StoreError.self) { try set(["outer_steps": 7], phase: 2, revision: 1) }
    _ = try store.cancelCampaign(id: id, project: "demo", author: "k")
    #expect(throws: StoreError.self) { try set(["outer_steps": 7], phase: 2) }
    let change = CampaignChange(changes: ["outer_steps": 7])
    #expect(try store.changeCampaign(id: id, project: "other", change, author: "k") == nil)
  }

  @Test func `changes at one time all count`() throws {
    try run(to: 10)
    _ = try concurrently(6) { [store, id] index in
      try store.changeCampaign(
        id: id, project: "demo", CampaignChange(changes: ["outer_steps": .integer(100 + index)]), author: "k")
    }
    let phases = try store.phases(campaign: id)
    #expect(phases.map(\.number) == Array(0..<8))
    #expect(phases.filter { $0.state == .planned }.map(\.number) == [1, 7])
    #expect(try store.campaign(id: id, project: "demo")?.outerSteps == phases[7].phase.outerSteps + 20)
  }

  // MARK: Branches

  private func branch(
    _ version: Int, _ changes: [String: JSON] = [:], ends: Bool = false, key: Idempotency? = nil
  ) throws -> (campaign: Campaign, parent: Campaign, replayed: Bool) {
    try #require(
      try store.branchCampaign(
        id: id, project: "demo", CampaignBranch(version: version, changes: changes), endsParent: ends,
        author: "key_2", idempotency: key))
  }

  @Test func `a branch runs what was left at its version, from a copy of that theta`() throws {
    try run(to: 10)
    let (made, parent, _) = try branch(5)
    #expect(made.parent == ThetaReference(campaign: id, version: 5) && made.state == .queued)
    #expect(made.spec.phases.map(\.outerSteps) == [25, 20] && made.outerSteps == 45)
    #expect(made.spec.optimizer == .smallFC && made.spec.seed == 3)
    #expect(parent.id == id && parent.state == .running)
    let theta = try store.theta(campaign: made.id)
    #expect(theta.version == 0 && theta.kept == "start")
    #expect(
      try store.readTheta(campaign: made.id, version: 0, offset: 0, count: theta.bytes) == Array("theta 5".utf8))
    let events = try store.events(campaign: id)
    #expect(events.last?.data["campaign"] == .string(made.id))
    #expect(try database.texts("SELECT subject FROM work ORDER BY id").contains(made.id))
  }

  @Test func `a branch takes the settings of that time, and what is given in place of them`() throws {
    try run(to: 10)
    let change = try #require(try set(["outer": ["clip": 1]]).first)
    try database.run(
      """
      UPDATE campaign_phases SET state = 'superseded', last_version = 8 WHERE campaign = '\(id)' AND number = 0;
      UPDATE campaign_phases SET state = 'active', first_version = 8
        WHERE campaign = '\(id)' AND number = \(change.number);
      """)
    #expect(try branch(5).campaign.spec.phases.map(\.outer.clip) == [3, 3])
    let late = try branch(10, ["name": "late", "seed": 9]).campaign.spec
    #expect(late.phases.map(\.outer.clip) == [1, 3] && late.phases[0].outerSteps == 20)
    #expect(late.name == "late" && late.seed == 9)
    let own = try branch(10, ["phases": [CampaignSpec.sample.phases[1].json]]).campaign.spec
    #expect(own.phases == [CampaignSpec.sample.phases[1]])
    #expect(try faults { _ = try branch(10, ["seed": -1, "phases": []]) } == ["/seed", "/phases"])
  }

  @Test func `a version that is not stored, or is the end, is refused with what to do`() throws {
    try run(to: 10)
    #expect(try faults { _ = try branch(7) } == ["/version"])
    #expect(try faults { _ = try branch(11) } == ["/version"])
    try database.run(
      """
      UPDATE campaigns SET state = 'succeeded', version = 50, finished_at = now() WHERE id = '\(id)';
      UPDATE campaign_phases SET state = 'done', first_version = number * 30, last_version = 30 + number * 20
        WHERE campaign = '\(id)';
      INSERT INTO campaign_thetas (campaign, version, content, sha256)
      SELECT '\(id)', v, '\\x01', sha256('\\x01') FROM unnest(ARRAY[30, 50]) v
      """)
    #expect(try faults { _ = try branch(50) } == ["/phases"])
    #expect(try branch(30).campaign.spec.phases.map(\.name) == ["second"])
    #expect(
      try store.branchCampaign(id: id, project: "other", CampaignBranch(version: 5), author: "k") == nil)
  }

  @Test func `a rollback ends the campaign in the same transaction, once`() throws {
    try run(to: 10)
    let key = Idempotency(key: "k", route: "POST rollback", requestSHA256: SHA256.hexadecimal([9]))
    let (made, parent, replayed) = try branch(5, ends: true, key: key)
    #expect(parent.state == .cancelling && parent.reason == "rolled_back" && !replayed)
    let again = try branch(5, ends: true, key: key)
    #expect(again.campaign == made && again.replayed)
    #expect(try store.campaigns(project: "demo").items.count == 2)
    // One that is refused ends nothing.
    let other = try store.createCampaign(.sample, project: "demo", author: "k").campaign.id
    #expect(throws: StoreError.self) {
      try store.branchCampaign(
        id: other, project: "demo", CampaignBranch(version: 0), endsParent: true, author: "k")
    }
    #expect(try store.campaign(id: other, project: "demo")?.state == .queued)
  }

  // MARK: What is left behind

  @Test func `thetas are listed newest first and read in parts`() throws {
    try run(to: 20)
    let page = try store.thetas(campaign: id, limit: 3)
    #expect(page.items.map(\.version) == [20, 15, 10] && page.nextCursor == "10")
    #expect(try store.thetas(campaign: id, cursor: "10").items.map(\.version) == [5, 0])
    #expect(throws: StoreError.invalidCursor("x")) { try store.thetas(campaign: id, cursor: "x") }
    #expect(try store.readTheta(campaign: id, version: 15, offset: 6, count: 2) == Array("15".utf8))
    #expect(throws: StoreError.self) { try store.readTheta(campaign: id, version: 15, offset: 6, count: 3) }
    let error = #expect(throws: StoreError.self) { try store.theta(campaign: id, version: 13) }
    #expect(error?.description.contains("0, 5, 10, 15, 20") == true)
    #expect(try store.theta(campaign: id).version == 20)
  }

  @Test func `a promoted theta becomes an optimizer to be validated, and stays`() throws {
    try run(to: 20)
    let campaign = try #require(try store.campaign(id: id, project: "demo"))
    let (optimizer, theta, _) = try store.promote(campaign, version: 10, state: .released, author: "key_2")
    #expect(optimizer.name == .smallFC && optimizer.version == 1 && optimizer.state == .validating)
    #expect(optimizer.wanted == .released && optimizer.sha256 == theta.sha256)
    #expect(optimizer.provenance["campaign"] == .string(id) && optimizer.provenance["campaign_version"] == "10")
    #expect(try optimizer.provenance["campaign_spec"]?.string.map { try JSON.parse($0) } == campaign.spec.json)
    #expect(try store.theta(campaign: id, version: 10).kept == "promoted")
    #expect(try store.readBlob(sha256: optimizer.sha256) == Array("theta 10".utf8))
    let key = Idempotency(key: "k", route: "POST promote", requestSHA256: SHA256.hexadecimal([9]))
    let newest = try store.promote(campaign, version: nil, state: .candidate, author: "k", idempotency: key)
    #expect(newest.optimizer.version == 2 && newest.theta.version == 20)
    let again = try store.promote(campaign, version: nil, state: .candidate, author: "k", idempotency: key)
    #expect(again.replayed && again.optimizer == newest.optimizer)
    #expect(throws: StoreError.self) { try store.promote(campaign, version: 11, state: .candidate, author: "k") }
  }

  @Test func `steps come as rows, and as means over equal ranges where they are many`() throws {
    try run(to: 20)
    let all = try store.steps(campaign: id)
    #expect(all.stride == 1 && all.total == 20 && all.rows.map(\.version) == Array(1...20))
    #expect(all.rows[2].meanLoss == nil && all.rows[3].meanLoss == 0.25)
    #expect(all.rows[0].staleness == 0.25 && all.rows[0].innerSteps == 80)
    let few = try store.steps(campaign: id, rowsMax: 6)
    #expect(few.stride == 4 && few.rows.map(\.version) == [4, 8, 12, 16, 20])
    // The step without a loss counts in the sums alone.
    #expect(abs(few.rows[0].meanLoss! - (1 + 0.5 + 0.25) / 3) < 1e-7)
    #expect(few.rows[0].innerSteps == 320 && few.rows[0].discarded == 8 && few.rows[0].wallMilliseconds == 40)
    #expect(few.rows[0].surviving == 0.5 && few.rows[0].staleness == 0.25)
    let part = try store.steps(campaign: id, from: 6, to: 11, rowsMax: 2)
    #expect(part.stride == 4 && part.total == 6 && part.rows.map(\.version) == [8, 11])
    #expect(try store.steps(campaign: id, from: 100).rows.isEmpty)
    #expect(throws: StoreError.self) { try store.steps(campaign: id, rowsMax: 0) }
  }

  @Test func `thinned steps stay the same while a campaign goes on`() throws {
    try run(to: 13)
    let before = try store.steps(campaign: id, rowsMax: 4)
    try database.run("DELETE FROM campaign_thetas; DELETE FROM campaign_steps")
    try run(to: 16)
    let after = try store.steps(campaign: id, rowsMax: 4)
    #expect(before.stride == 4 && after.stride == 4 && Array(after.rows.prefix(3)) == Array(before.rows.prefix(3)))
  }

  @Test func `events come in order after a number`() throws {
    _ = try store.pauseCampaign(id: id, project: "demo", author: "k")
    _ = try store.resumeCampaign(id: id, project: "demo", author: "k")
    let all = try store.events(campaign: id)
    #expect(all.map(\.sequence) == [1, 2, 3] && all.map(\.message) == ["queued", "paused", "queued"])
    #expect(try store.events(campaign: id, after: 2).map(\.sequence) == [3])
    #expect(throws: StoreError.self) { try store.events(campaign: id, limit: 0) }
  }
}
