// DistributedCampaignRun.swift, CampaignCourse.swift: policies that do not wait for everybody, settings that change while a
// campaign runs, pairs whose losses are not finite, and other work that goes first.
import Contract
import Foundation
import MetaTraining
import Store
import TestSupport
import Testing

@testable import Worker

@Suite struct CampaignPolicyTests {
  private func change(_ json: JSON, _ id: String, _ bench: CampaignBench) throws {
    _ = try bench.store.changeCampaign(
      id: id, project: "demo", CampaignChange(changes: json), author: "key_1")
  }

  @Test("policies that do not wait for all groups end their campaigns too, and say how old results were")
  func impatient() throws {
    let policies = [
      CampaignPolicy(groupPairs: 1, share: 0.5, staleness: 3),
      CampaignPolicy(groupPairs: 1, share: 0.7, staleness: 2, runsAhead: true, discount: 1),
      CampaignPolicy(groupPairs: 1, deadlineSeconds: 0.1, quorum: 0.1),
    ]
    for policy in policies {
      var spec = CampaignSpec.quadratics(.distributed, outerSteps: [60])
      spec.phases[0].policy = policy
      let bench = try CampaignBench()
      let ended = try bench.run(spec, slots: 3)
      #expect(ended.state == .succeeded && ended.version == 60, "\(ended.json.text)")
      let used = try bench.database.texts(
        "SELECT sum(s) FROM campaign_steps, unnest(staleness) s"
      ).compactMap { Int($0) }
      #expect((used.first ?? 0) >= 60)
      let late = try bench.database.texts("SELECT max(cardinality(staleness)) FROM campaign_steps")
      #expect(late.compactMap { Int($0) }.allSatisfy { $0 <= policy.staleness + 1 })
      // Theta follows from the records alone, whatever the order in which they came about.
      let replay = try CampaignReplay(spec, data: TaskDataSets([:]), level: .best)
      for step in try bench.steps(ended.id) { try replay.apply(step, phase: 0) }
      #expect(try replay.theta().values == bench.theta(ended.id))
    }
  }

  @Test("settings changed while a campaign runs act from one outer step on, in both modes alike")
  func changes() throws {
    // Twice the same changes at the same versions, in two modes: the same bits.
    var thetas: [[Float]] = []
    for mode in [CampaignSpec.Mode.local, .distributed] {
      let bench = try CampaignBench()
      let spec = CampaignSpec.quadratics(mode, outerSteps: [40])
      let id = try bench.create(spec)
      // Before a worker is there, so that both modes take them up at the same step.
      try change(["outer": ["optimizer": ["learning_rate": 0.05]]], id, bench)
      let worker = bench.worker(slots: 2)
      defer { worker.end() }
      try bench.wait(id) { $0.state.isTerminal }
      thetas.append(try bench.theta(id))
      #expect(try bench.store.phases(campaign: id).map(\.state) == [.superseded, .done])
    }
    #expect(thetas[0] == thetas[1])
  }

  @Test(
    "a change of the outer optimizer's settings leaves pairs and optimizer where they are; one of the pairs does not",
    arguments: [CampaignSpec.Mode.local, .distributed])
  func changesInFlight(mode: CampaignSpec.Mode) throws {
    let bench = try CampaignBench()
    let worker = bench.worker(slots: 2)
    defer { worker.end() }
    let id = try bench.create(.quadratics(mode, outerSteps: [600]))
    try bench.wait(id) { $0.version >= 30 }
    try change(["outer": ["optimizer": ["learning_rate": 0.001]]], id, bench)
    let first = try bench.wait(id) { $0.phase == 1 && $0.version >= 60 }
    #expect(first.state == .running)
    try change(["estimator": ["sigma": 0.02]], id, bench)
    try bench.wait(id) { $0.phase == 2 && $0.version >= 120 }
    try change(["outer_steps": 200], id, bench)
    let ended = try bench.wait(id) { $0.state.isTerminal }
    #expect(ended.state == .succeeded, "\(ended.json.text)")
    let phases = try bench.store.phases(campaign: id)
    #expect(phases.map(\.state) == [.superseded, .superseded, .superseded, .done])
    #expect(phases.map(\.parent) == [nil, 0, 1, 2] && phases.map(\.keysFrom) == [0, 0, 2, 2])
    for (before, after) in zip(phases, phases.dropFirst()) { #expect(before.lastVersion == after.firstVersion) }
    // The outer iteration goes on over changes: the phase has its number of steps in all.
    #expect(phases[3].lastVersion == max(200, (phases[3].firstVersion ?? 0)))
    let rates = try bench.database.texts(
      "SELECT DISTINCT phase || ' ' || learning_rate FROM campaign_steps ORDER BY 1")
    #expect(rates == ["0 0.01", "1 0.001", "2 0.001"] || rates == ["0 0.01", "1 0.001", "2 0.001", "3 0.001"])
  }

  @Test("pairs whose losses are not finite are dropped, shown, and theta stays finite")
  func notFinite() throws {
    for mode in [CampaignSpec.Mode.local, .distributed] {
      let bench = try CampaignBench()
      var spec = CampaignSpec.quadratics(mode, outerSteps: [200])
      spec.phases[0].estimator.sigma = 10
      spec.phases[0].lengths = .logUniform(2000...4000)
      spec.phases[0].estimator.window = 500
      spec.phases[0].outer.optimizer = OptimizerSettings(.adam, ["learning_rate": 0.5])
      let ended = try bench.run(spec)
      let lowest = try bench.database.texts("SELECT min(surviving) FROM campaign_steps").compactMap { Double($0) }
      #expect((lowest.first ?? 1) < 1, "the task is too tame for this test")
      // Either it came to its end, or it stopped itself because no pair survived five times in a row.
      #expect(ended.state == .succeeded || (ended.state == .paused && ended.reason == "steps_refused"))
      #expect(try bench.theta(ended.id).allSatisfy(\.isFinite))
      if (lowest.first ?? 1) < 0.5 {
        #expect(try bench.events(ended.id).contains { $0.contains("pairs dropped") })
      }
    }
  }

  @Test("pairs that are lost begin anew with other noises, and theta follows from the records all the same")
  func lostPairs() throws {
    let spec = CampaignSpec.quadratics(.distributed, outerSteps: [300])
    let bench = try CampaignBench()
    let id = try bench.create(spec)
    let worker = bench.worker(slots: 2)
    defer { worker.end() }
    var lost = 0
    for target in [30, 80, 150] {
      try bench.wait(id) { $0.version >= target || $0.state.isTerminal }
      // As if one worker after the other had died with it.
      for _ in 0..<2000 where lost < target / 30 {
        try bench.database.run(
          """
          UPDATE campaign_groups g SET attempts = 9, lease_until = now() - interval '1 second' FROM (
            SELECT campaign, number FROM campaign_groups WHERE state = 'leased' LIMIT 1 FOR UPDATE SKIP LOCKED) d
          WHERE g.campaign = d.campaign AND g.number = d.number
          """)
        try bench.store.sweepExpiredGroups()
        lost = try bench.events(id).count { $0.hasPrefix("pairs lost") }
      }
    }
    let ended = try bench.wait(id) { $0.state.isTerminal }
    #expect(ended.state == .succeeded && lost > 0, "\(ended.json.text)")
    let replay = try CampaignReplay(spec, data: TaskDataSets([:]), level: .best)
    for step in try bench.steps(id) { try replay.apply(step, phase: 0) }
    #expect(try replay.theta().values == bench.theta(id))
    #expect(try bench.theta(id) != spec.alone().theta)
  }

  @Test("a campaign gives its slot to work that goes first, and goes on after it")
  func makesWay() throws {
    let bench = try CampaignBench()
    let worker = bench.worker(slots: 1)
    defer { worker.end() }
    let spec = CampaignSpec.quadratics(.local, outerSteps: [1_000_000])
    let id = try bench.create(spec)
    try bench.wait(id) { $0.version >= 50 }
    let blob = try bench.store.putBlob(Array("a,b\n1,2\n3,4\n".utf8))
    let dataset = try bench.store.createDataset(
      name: "d", options: DatasetOptions(format: .csv), blob: blob, project: "demo"
    ).dataset
    let deadline = Date(timeIntervalSinceNow: 60)
    while Date() < deadline, try bench.store.dataset(id: dataset.id, project: "demo")?.state.isTerminal != true {
      usleep(10_000)
    }
    #expect(try bench.store.dataset(id: dataset.id, project: "demo")?.state.isTerminal == true)
    let version = try bench.campaign(id).version
    try bench.wait(id) { $0.state == .running && $0.version > version + 100 }
    _ = try bench.store.cancelCampaign(id: id, project: "demo", author: "key_1")
    try bench.wait(id) { $0.state == .cancelled }
  }

  @Test("a learner that sleeps past its lease changes nothing when it wakes")
  func sleeper() throws {
    let spec = CampaignSpec.quadratics(.distributed, outerSteps: [400])
    let expected = try spec.alone()
    let bench = try CampaignBench()
    let worker = bench.worker(slots: 2)
    defer { worker.end() }
    let id = try bench.create(spec)
    for target in [50, 120, 200] {
      try bench.wait(id) { $0.version >= target || $0.state.isTerminal }
      // As if it had slept: the lease is over, and somebody else takes the campaign. Its next commit is refused.
      try bench.database.run(
        "UPDATE work SET lease_until = now() - interval '1 second' WHERE kind = 'distributed_campaign'")
      try bench.store.sweepExpiredLeases()
    }
    let ended = try bench.wait(id) { $0.state.isTerminal }
    #expect(ended.state == .succeeded)
    #expect(try bench.steps(id) == expected.steps)
    #expect(try bench.theta(id) == expected.theta)
    #expect(try bench.events(id).count { $0.hasPrefix("running: attempt") } >= 3)
  }
}
