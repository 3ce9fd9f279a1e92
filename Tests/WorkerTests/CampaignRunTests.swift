// LocalCampaignRun.swift, DistributedCampaignRun.swift, GroupRunner.swift: campaigns on real workers and a real database,
// held against the same campaign without either.
import Contract
import Foundation
import Store
import TestSupport
import Testing

@testable import Worker

@Suite struct CampaignRunTests {
  @Test("a campaign ends with the bits of its specification, in both modes and on any number of slots")
  func bits() throws {
    let expected = try CampaignSpec.quadratics(.local).alone()
    for (mode, slots) in [(CampaignSpec.Mode.local, 1), (.distributed, 1), (.distributed, 3)] {
      let bench = try CampaignBench()
      let ended = try bench.run(.quadratics(mode), slots: slots)
      #expect(ended.state == .succeeded && ended.version == 50 && ended.phase == 1, "\(ended.json.text)")
      #expect(try bench.steps(ended.id) == expected.steps, "\(mode) on \(slots)")
      #expect(try bench.theta(ended.id) == expected.theta, "\(mode) on \(slots)")
      let phases = try bench.store.phases(campaign: ended.id)
      #expect(phases.map(\.state) == [.done, .done])
      #expect(phases.map(\.firstVersion) == [0, 30] && phases.map(\.lastVersion) == [30, 50])
      #expect(try bench.database.texts("SELECT count(*) FROM work") == ["0"])
      #expect(try bench.database.texts("SELECT count(*) FROM campaign_groups") == ["0"])
      let kept = try bench.database.texts("SELECT version FROM campaign_thetas WHERE kept IS NOT NULL ORDER BY version")
      #expect(kept == ["0", "10", "20", "30", "40", "50"])
      #expect(ended.innerSteps > 0 && ended.loss?.isFinite == true)
    }
  }

  @Test("workers that stop at any moment change no bit", arguments: [CampaignSpec.Mode.local, .distributed])
  func stops(mode: CampaignSpec.Mode) throws {
    let spec = CampaignSpec.quadratics(mode, outerSteps: [120, 80])
    let expected = try spec.alone()
    let bench = try CampaignBench()
    let id = try bench.create(spec)
    var starts = 0
    while try !bench.campaign(id).state.isTerminal {
      let worker = bench.worker(slots: 2)
      let version = try bench.campaign(id).version
      try bench.wait(id) { $0.state.isTerminal || $0.version >= version + 37 }
      worker.end()
      starts += 1
    }
    #expect(starts > 2)
    #expect(try bench.campaign(id).state == .succeeded)
    #expect(try bench.steps(id) == expected.steps)
    #expect(try bench.theta(id) == expected.theta)
  }

  @Test("a campaign pauses with its state kept, goes on when resumed, and stops for good when cancelled")
  func pauses() throws {
    for mode in [CampaignSpec.Mode.local, .distributed] {
      let spec = CampaignSpec.quadratics(mode, outerSteps: [300])
      let expected = try spec.alone()
      let bench = try CampaignBench()
      let worker = bench.worker(slots: 2)
      let id = try bench.create(spec)
      try bench.wait(id) { $0.version >= 40 }
      _ = try bench.store.pauseCampaign(id: id, project: "demo", author: "key_1")
      let paused = try bench.wait(id) { $0.state == .paused }
      #expect(paused.version < 300)
      _ = try bench.store.resumeCampaign(id: id, project: "demo", author: "key_1")
      try bench.wait(id) { $0.state.isTerminal }
      #expect(try bench.theta(id) == expected.theta, "\(mode)")
      let other = try bench.create(spec)
      try bench.wait(other) { $0.version >= 20 }
      _ = try bench.store.cancelCampaign(id: other, project: "demo", author: "key_1")
      let cancelled = try bench.wait(other) { $0.state.isTerminal }
      #expect(cancelled.state == .cancelled && cancelled.version < 300)
      worker.end()
    }
  }
}
