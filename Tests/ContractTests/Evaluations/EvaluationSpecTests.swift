// Evaluations as clients write them: what is read, what is refused and why, and that nothing is lost on the way back.
import Contract
import Foundation
import Testing

struct EvaluationSpecTests {
  private func decode(_ text: String) throws -> EvaluationSpec { try EvaluationSpec.decode(JSON.parse(text)) }

  private func faults(_ text: String) -> [String] {
    do {
      _ = try decode(text)
      return []
    } catch let error as SpecError {
      return error.faults.map { "\($0.path): \($0.reason)" }
    } catch { return ["\(error)"] }
  }

  @Test("the shortest evaluation gets Adam over fifteen rates, three seeds, and everything kept")
  func defaults() throws {
    let spec = try decode(#"{"optimizers": ["celo"], "tasks": ["quick"], "steps": 2000}"#)
    #expect(spec.baseline == .tunedAdam && spec.baseline.trials == 15 && spec.baseline.label == "adam tuned")
    #expect(spec.seeds == [0, 1, 2] && spec.steps == [2000] && spec.baselineSteps == 2000)
    #expect(spec.measurement == EvaluationMeasurement() && spec.details == Set(EvaluationDetail.allCases))
    #expect(spec.optimizers == [EvaluatedOptimizer(.setting(OptimizerSpec(name: .celo)))])
    #expect(spec.tasks == [.set(.quick)])
  }

  @Test(
    "everything that is written is read back",
    arguments: [
      #"{"optimizers": ["celo", {"name": "velo", "version": 3, "label": "big", "keep_horizon": true}], "tasks": ["quick"], "steps": [500, 2000]}"#,
      #"{"name": "n", "optimizers": ["nadamw_search", "optlist_10", "lion_lr", {"name": "sgd", "learning_rate": 0.5}], "baseline": "sgd_lr", "tasks": ["Valley", {"task": "NoisyQuadraticModels", "draws": 3}, {"config": {"obj": "Quadratic", "args": {"dimensions": 4}}}], "steps": [10, 20], "baseline_steps": 100, "seeds": [5, 9], "measurement": {"every": 5, "batches": 1, "last_batches": 2, "smoothing": 0.5, "time_limit_seconds": 10}, "details": ["updates"]}"#,
      #"{"optimizers": [{"campaign": "cmp_01jd3kq5v8m2n4p6r8t0w2y4a6", "version": 12}, {"theta": "a/b.safetensors"}], "tasks": ["cpu-drome"], "data": {"mnist": "ds_01jd3kq5v8m2n4p6r8t0w2y4a6"}, "steps": 10}"#,
      #"{"optimizers": [{"name": "nadamw", "tune": "search", "trials": 7}, {"name": "optlist", "tune": "list", "trials": 3}, {"name": "momentum", "decay": 0.95, "tune": "rates"}], "tasks": ["quick"], "steps": 10}"#,
    ])
  func roundTrip(text: String) throws {
    let spec = try decode(text)
    #expect(try EvaluationSpec.decode(spec.json) == spec)
    #expect(try EvaluationSpec.decode(JSON.parse(Data(spec.json.bytes))) == spec)
  }

  @Test("words stand for tuned optimizers")
  func words() throws {
    let spec = try decode(
      #"{"optimizers": ["lion_lr", "nadamw_search", "optlist_10", "adam"], "tasks": ["quick"], "steps": 10}"#)
    #expect(spec.optimizers.map(\.trials) == [15, 100, 10, 1])
    #expect(spec.optimizers.map(\.plansAhead) == [false, true, true, false])
    #expect(spec.optimizers.map(\.label) == ["lion tuned", "nadamw best of 100", "optlist best of 10", "adam 0.001"])
  }

  @Test("learned optimizers and schedules plan ahead, constant rates do not")
  func planning() throws {
    func plans(_ json: String) throws -> Bool {
      try decode(#"{"optimizers": [\#(json)], "tasks": ["quick"], "steps": 10}"#).optimizers[0].plansAhead
    }
    #expect(try plans(#""celo""#) && plans(#"{"theta": "x"}"#))
    #expect(try plans(#"{"name": "adam", "schedule": {"kind": "cosine"}}"#))
    #expect(try plans(#"{"name": "adam", "updates_max": 5}"#))
    #expect(try !plans(#"{"name": "adam", "schedule": {"kind": "constant"}}"#))
    #expect(try !plans(#"{"name": "muon"}"#))
  }

  @Test(
    "what is wrong is named with its place",
    arguments: [
      (#"{}"#, ["/optimizers: is required", "/tasks: is required", "/steps: is required"]),
      (#"{"optimizers": [], "tasks": ["quick"], "steps": 10}"#, ["/optimizers: expected 1 to 32 elements, got 0"]),
      (
        #"{"optimizers": ["celo", "celo"], "tasks": ["quick"], "steps": 10}"#,
        [#"/optimizers/1: "celo" is there already"#]
      ),
      (#"{"optimizers": ["adam_lr"], "tasks": ["quick"], "steps": 10}"#, [#"/optimizers/0: "adam tuned" is there"#]),
      (
        #"{"optimizers": ["celo_lr"], "tasks": ["quick"], "steps": 10}"#,
        ["/optimizers/0/tune: celo has no learning rate"]
      ),
      (
        #"{"optimizers": [{"name": "adam", "lr": 1, "tune": "rates"}], "tasks": ["quick"], "steps": 10}"#,
        ["/optimizers/0/learning_rate: is what is tuned"]
      ),
      (
        #"{"optimizers": [{"name": "sgd", "tune": "search"}], "tasks": ["quick"], "steps": 10}"#,
        ["/optimizers/0/tune: a search draws"]
      ),
      (
        #"{"optimizers": [{"name": "optlist", "tune": "list", "trials": 11}], "tasks": ["quick"], "steps": 10}"#,
        ["/optimizers/0/trials: expected an integer from 1 to 10"]
      ),
      (
        #"{"optimizers": [{"name": "sgd", "keep_horizon": true}], "tasks": ["quick"], "steps": 10}"#,
        ["/optimizers/0/keep_horizon: only learned"]
      ),
      (
        #"{"optimizers": [{"theta": "x", "tune": "rates"}], "tasks": ["quick"], "steps": 10}"#,
        ["/optimizers/0/tune: a theta has no settings"]
      ),
      (
        #"{"optimizers": [{"campaign": "cmp", "version": -1}], "tasks": ["quick"], "steps": 10}"#,
        ["/optimizers/0/campaign: expected an id", "/optimizers/0/version: expected"]
      ),
      (
        #"{"optimizers": ["celo"], "baseline": "velo", "tasks": ["quick"], "steps": 10}"#,
        ["/baseline: expected a hand-designed"]
      ),
      (#"{"optimizers": ["celo"], "tasks": ["quick"], "steps": [20, 10]}"#, ["/steps: expected rising budgets"]),
      (#"{"optimizers": ["celo"], "tasks": ["quick"], "steps": 9}"#, ["/steps: expected an integer from 10"]),
      (
        #"{"optimizers": ["celo"], "tasks": ["quick"], "steps": 100, "baseline_steps": 50}"#,
        ["/baseline_steps: expected an integer from 100"]
      ),
      (
        #"{"optimizers": ["celo"], "tasks": ["quick"], "steps": 10, "seeds": [1, 1]}"#,
        ["/seeds: expected each seed once"]
      ),
      (
        #"{"optimizers": ["celo"], "tasks": ["quick"], "steps": 10, "seeds": 0}"#,
        ["/seeds: expected an integer from 1"]
      ),
      (#"{"optimizers": ["celo"], "tasks": [3], "steps": 10}"#, ["/tasks/0: expected an object"]),
      (
        #"{"optimizers": ["celo"], "tasks": ["quick"], "steps": 10, "data": {"mnist": "job_1"}}"#,
        [#"/data: "mnist": expected a dataset's id"#]
      ),
      (
        #"{"optimizers": ["celo"], "tasks": ["quick"], "steps": 10, "details": ["all"]}"#,
        ["/details/0: expected one of"]
      ),
      (
        #"{"optimizers": ["celo"], "tasks": ["quick"], "steps": 10, "measurement": {"smoothing": 1}}"#,
        ["/measurement/smoothing: expected a number"]
      ),
      (#"{"optimizers": ["celo"], "tasks": ["quick"], "steps": 10, "seed": 1}"#, ["/seed: unknown field"]),
      (
        #"{"optimizers": ["nadamw_search"], "tasks": [{"task": "x", "draws": 64}], "steps": [10, 20, 30, 40], "seeds": 100}"#,
        [": expected at most 100000 trainings, got 2656000"]
      ),
    ])
  func refusals(text: String, expected: [String]) {
    let found = faults(text)
    #expect(found.count == expected.count, "\(found)")
    for (fault, start) in zip(found, expected) { #expect(fault.hasPrefix(start), "\(fault)") }
  }

  @Test("hostile documents end in faults, never in a trap")
  func hostile() throws {
    // Every member of a good document is replaced by values of every kind, one place at a time.
    let good = try JSON.parse(
      #"{"name": "n", "optimizers": [{"name": "adam", "tune": "rates", "label": "x"}, {"theta": "f"}], "tasks": ["quick", {"task": "Valley", "draws": 2}, {"config": {"obj": "Bowl", "args": {}}}], "data": {}, "steps": [10, 20], "baseline_steps": 30, "seeds": [1], "measurement": {"every": 1}, "details": []}"#
    )
    let values: [JSON] = [
      nil, 9_223_372_036_854_775_807, "\u{1}", .string(String(repeating: "x", count: 5000)), [[]], [:],
    ]
    func replaced(_ json: JSON, _ visit: (JSON) -> Void, _ rebuild: (JSON) -> JSON) {
      for value in values { visit(rebuild(value)) }
      switch json {
      case .object(let members):
        for (key, member) in members {
          replaced(member, visit) { changed in rebuild(.object(members.merging([key: changed]) { $1 })) }
        }
      case .array(let elements):
        for (index, element) in elements.enumerated() {
          replaced(element, visit) { changed in
            var copy = elements
            copy[index] = changed
            return rebuild(.array(copy))
          }
        }
      default: break
      }
    }
    var tried = 0, refused = 0
    replaced(
      good,
      { document in
        tried += 1
        do {
          let spec = try EvaluationSpec.decode(document)
          #expect((try? EvaluationSpec.decode(spec.json)) == spec, "\(document.text)")
        } catch { refused += 1 }
      }, { $0 })
    #expect(tried > 150 && refused > tried / 2, "\(refused) of \(tried)")
  }

  @Test("a record shows its state, plan, progress and reports")
  func record() throws {
    let spec = try decode(#"{"optimizers": ["celo"], "tasks": ["quick"], "steps": 10}"#)
    let now = Timestamp(microseconds: 0)
    let plan = EvaluationPlan(tasks: 5, runs: 80, innerSteps: 800, coreSeconds: 1.5)
    let record = EvaluationRecord(
      id: "eval_1", project: "p", spec: spec, state: .running, plan: plan,
      progress: EvaluationProgress(queued: 1, running: 2, done: 3, failed: 4),
      reports: [.html: StoredContent(sha256: "ab", bytes: 7)], createdAt: now)
    let json = record.json
    #expect(json["progress"] == ["queued": 1, "running": 2, "done": 3, "failed": 4])
    #expect(json["reports"]?["html"]?["bytes"] == 7 && json["reports"]?["json"] == nil)
    #expect(EvaluationPlan.decode(plan.json) == plan && EvaluationPlan.decode(["tasks": 1]) == nil)
  }
}
