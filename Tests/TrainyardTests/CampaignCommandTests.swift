// What the campaign commands make of files and arguments before any server is asked, and what people read of the answers.
import ArgumentParser
import Contract
import Foundation
import Testing

@testable import trainyard

struct CampaignCommandTests {
  /// `scripts/campaigns`.
  private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("scripts/campaigns")
  static let files = ((try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? [])
    .filter { $0.hasSuffix(".yaml") }.sorted()

  @Test("every campaign file of the project is read without a fault, and says what it is", arguments: files)
  func file(name: String) throws {
    let path = Self.folder.appendingPathComponent(name).path
    let spec = try SpecFile.read(path, CampaignSpec.decode)
    #expect(spec.name == String(name.dropLast(5)))
    #expect(try CampaignSpec.decode(spec.json) == spec)
    #expect(try String(contentsOfFile: path, encoding: .utf8).hasPrefix("# "))
    let readme = try String(contentsOf: Self.folder.appendingPathComponent("README.md"), encoding: .utf8)
    #expect(readme.contains("`\(name)`"))
  }

  @Test("the project has its campaign files")
  func names() {
    let expected = ["celo-1", "celo-2", "smoke", "tiny-mlp", "tsac", "velo-curriculum", "velo-s"].map { "\($0).yaml" }
    #expect(Set(Self.files).isSuperset(of: expected))
  }

  @Test("settings on the command line are paths into the phase")
  func settings() throws {
    #expect(
      try PhaseSettings.changes([
        "outer.clip=1", "outer.optimizer.learning_rate=1e-3", "estimator.sigma=0.02", "lengths=[200, 4000]",
        "uses_scheduler=false", "policy.deadline_seconds=null", "name=a=b",
      ]) == [
        "outer": ["clip": 1, "optimizer": ["learning_rate": 0.001]], "estimator": ["sigma": 0.02],
        "lengths": [200, 4000], "uses_scheduler": false, "policy": ["deadline_seconds": .null], "name": "a=b",
      ])
    for wrong in [["clip"], ["outer..clip=1"], ["=1"], ["a=1", "a=2"], ["a=1", "a.b=2"], ["a=[1"]] {
      let failure = #expect(throws: CommandFailure.self, "\(wrong)") { try PhaseSettings.changes(wrong) }
      #expect(failure?.status == .usage)
    }
  }

  @Test("a campaign's file takes datasets, mode, name and start from the command line")
  func options() throws {
    let file = Self.folder.appendingPathComponent("celo-2.yaml").path
    let id = "ds_01jd3kq5v8m2n4p6r8t0w2y4a6", other = "cmp_01jd3kq5v8m2n4p6r8t0w2y4a6"
    let spec = try CampaignFileOptions.parse([
      "-f", file, "--dataset", "mnist=\(id)", "--mode", "distributed", "--name", "mine", "--start", "\(other):70",
    ]).load()
    #expect(spec.data == ["mnist": id] && spec.mode == .distributed && spec.name == "mine")
    #expect(spec.start == .campaign(id: other, version: 70))
    #expect(try CampaignFileOptions.parse(["-f", file, "--start", "3"]).load().start == .optimizer(version: 3))
    for wrong in [["--dataset", "mnist"], ["--dataset", "mnist=3"], ["--start", "x"], ["--start", "x:1"]] {
      #expect(throws: CommandFailure.self, "\(wrong)") { try CampaignFileOptions.parse(["-f", file] + wrong).load() }
    }
  }

  @Test("a branch's file and options make its request")
  func branch() throws {
    let options = try BranchOptions.parse(["--version", "5", "--seed", "2", "--mode", "local"])
    #expect(try options.body() == ["version": 5, "seed": 2, "mode": "local"])
  }

  @Test("people read the lineage of phases with what changed")
  func lineage() throws {
    let phase = CampaignPhase(
      name: "main", estimator: EstimatorSpec(kind: .pes), lengths: .logUniform(100...200), outerSteps: 30,
      tasks: [CampaignTask(.named("Quadratic", draws: 1))])
    var changed = phase
    changed.outer.clip = 1
    func record(_ number: Int, _ parent: Int?, _ phase: CampaignPhase, _ first: Int?) -> JSON {
      CampaignPhaseRecord(
        number: number, position: 0, parent: parent, phase: phase, keysFrom: 0, state: .active, firstVersion: first,
        lastVersion: nil, author: "key_1", createdAt: Timestamp(microseconds: 0)
      ).json
    }
    let lines = CampaignPhases.text([record(0, nil, phase, 0), record(1, 0, changed, 12)]).split(separator: "\n")
    #expect(lines.count == 3 && lines[2].hasPrefix("└ 1") && lines[2].contains("outer.clip=1"))
  }

  @Test("people read of a campaign where it stands and what went wrong")
  func text() {
    let campaign: JSON = [
      "id": "cmp_1", "name": "first", "state": "paused", "reason": "steps_refused", "version": 12, "outer_steps": 50,
      "phase": 1, "loss": 0.25, "inner_steps": 960, "optimizer": "celo", "mode": "local", "revision": 4,
      "message": "no pair survived", "parent": ["campaign": "cmp_0", "version": 3],
    ]
    let text = CampaignGet.text(campaign)
    #expect(text.contains("cmp_1  first  paused (steps_refused)") && text.contains("outer step 12 of 50"))
    #expect(text.contains("branched from cmp_0 at 3") && text.contains("no pair survived"))
  }

  @Test("a plan is told in a table with its sums")
  func plan() throws {
    let file = Self.folder.appendingPathComponent("smoke.yaml").path
    let spec = try SpecFile.read(file, CampaignSpec.decode)
    let plan = CampaignPlan(of: spec, cores: 2, thetaParameters: 197) { _, _, _ in
      [CampaignPlan.TaskCost(secondsPerStep: 1e-5, parameters: 10)]
    }
    // 16 pairs of 2 members, 20 steps in each of 200 outer steps.
    #expect(plan.phases[0].innerSteps == 128_000 && plan.phases[0].entries[0].groups == 4)
    let core = try #require(plan.coreSeconds), wall = try #require(plan.wallSeconds)
    #expect(abs(core - 1.28) < 1e-9 && abs(wall - 0.64) < 1e-9)
    let text = CampaignPlanCommand.text(plan)
    #expect(text.contains("quadratics") && text.contains("1s on 2 cores") && text.contains("theta has 197 parameters"))
  }
}
