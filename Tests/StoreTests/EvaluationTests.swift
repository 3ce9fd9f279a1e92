// Evaluations in the store: created with their weights, planned, trained by whoever leases them, reported once, cancelled.
import Contract
import Foundation
import TestSupport
import Testing

@testable import Store

@Suite struct EvaluationTests {
  let database: TestDatabase
  let store: Store

  init() throws {
    database = try TestDatabase()
    store = try database.store(connectionsMax: 8)
    try store.makeProject()
  }

  private func spec(_ text: String = #"["adam"]"#, _ more: String = "") throws -> EvaluationSpec {
    try EvaluationSpec.decode(JSON.parse(#"{"optimizers": \#(text), "tasks": ["Valley"], "steps": 10\#(more)}"#))
  }

  private func create(_ spec: EvaluationSpec) throws -> EvaluationRecord {
    try store.createEvaluation(spec, project: "demo").evaluation
  }

  private func lease(_ kind: WorkKind, seconds: Double = 60) throws -> Lease {
    try #require(try store.claim(worker: "w", kinds: [kind], leaseSeconds: seconds)).lease
  }

  /// An evaluation with `count` trainings waiting.
  private func planned(_ count: Int) throws -> EvaluationRecord {
    let made = try create(spec())
    let plan = EvaluationPlan(tasks: 1, runs: count, innerSteps: 10 * count, coreSeconds: 0.5)
    try store.planEvaluation(lease: lease(.evaluation), plan: plan, runs: (0..<count).map { ["number": .integer($0)] })
    return try #require(try store.evaluation(id: made.id, project: "demo"))
  }

  private func key(_ number: Int) -> String { SHA256.hexadecimal([UInt8(number)]) }

  @Test func `an evaluation goes from queued over its trainings to a report`() throws {
    let made = try create(spec())
    #expect(made.state == .queued && made.plan == nil && made.reports.isEmpty)
    let planning = try lease(.evaluation)
    let work = try store.evaluationWork(lease: planning)
    #expect(work.evaluation == made && !work.isReportDue)
    let plan = EvaluationPlan(tasks: 1, runs: 3, innerSteps: 30, coreSeconds: 0.5)
    let runs: [JSON] = [["number": 0], ["number": 1], ["number": 2]]
    try store.planEvaluation(lease: planning, plan: plan, runs: runs)
    // Said twice, since the first answer may be lost.
    try store.planEvaluation(lease: planning, plan: plan, runs: runs)
    var record = try #require(try store.evaluation(id: made.id, project: "demo"))
    #expect(record.state == .running && record.plan == plan && record.progress == EvaluationProgress(queued: 3))

    for number in 0..<3 {
      let lease = try lease(.evaluationRun)
      let work = try store.evaluationRunWork(lease: lease)
      #expect(work.evaluation == made.id && work.run == ["number": .integer(number)])
      #expect(try store.evaluation(id: made.id, project: "demo")?.progress.running == 1)
      #expect(try store.claim(worker: "w", kinds: [.evaluation], leaseSeconds: 60) == nil, "not all have ended")
      if number == 1 {
        try store.failEvaluationRun(lease: lease, reason: "no such task")
      } else {
        try store.finishEvaluationRun(lease: lease, key: key(number), content: [UInt8(number), 7])
        try store.finishEvaluationRun(lease: lease, key: key(number), content: [UInt8(number), 7])
      }
    }
    let report = try lease(.evaluation)
    #expect(try store.evaluationWork(lease: report).isReportDue)
    let ends =
      try store.evaluationRunEnds(evaluation: made.id, from: 0, limit: 2)
      + store.evaluationRunEnds(evaluation: made.id, from: 2)
    #expect(ends.map(\.position) == [0, 1, 2] && ends.map(\.content) == [[0, 7], nil, [2, 7]])
    #expect(ends[1].reason == "no such task")
    let json = try store.putBlob(Array("{}".utf8)), html = try store.putBlob(Array("<p>".utf8))
    try store.finishEvaluation(lease: report, json: json, html: html, summary: ["headlines": []])
    try store.finishEvaluation(lease: report, json: json, html: html, summary: ["headlines": []])
    record = try #require(try store.evaluation(id: made.id, project: "demo"))
    #expect(record.state == .succeeded && record.progress == EvaluationProgress(done: 2, failed: 1))
    #expect(record.summary == ["headlines": []] && record.finishedAt != nil)
    let content = try #require(try store.evaluationReport(id: made.id, project: "demo", format: .html))
    #expect(try store.readBlob(sha256: content.sha256) == Array("<p>".utf8))
    #expect(try store.keepHouse(blobGraceSeconds: 0).contents == 0, "reports are kept")
    #expect(try store.claim(worker: "w", kinds: [.evaluation, .evaluationRun], leaseSeconds: 60) == nil)
  }

  @Test func `equal trainings share one result, and the first stays`() throws {
    _ = try planned(2)
    let first = try lease(.evaluationRun), second = try lease(.evaluationRun)
    #expect(try store.evaluationResult(key: key(1)) == nil)
    try store.finishEvaluationRun(lease: first, key: key(1), content: [1])
    #expect(try store.evaluationResult(key: key(1)) == [1])
    try store.finishEvaluationRun(lease: second, key: key(1), content: [2])
    #expect(try store.evaluationResult(key: key(1)) == [1])
  }

  @Test func `four workers share the trainings and the report is due once`() throws {
    let made = try planned(40)
    let store = store
    let counts = try concurrently(4) { _ in
      var count = 0
      while let claim = try store.claim(worker: "w", kinds: [.evaluationRun], leaseSeconds: 60) {
        _ = try store.evaluationRunWork(lease: claim.lease)
        try store.finishEvaluationRun(lease: claim.lease, key: SHA256.hexadecimal([9]), content: [9])
        count += 1
      }
      return count
    }
    #expect(counts.reduce(0, +) == 40)
    #expect(try store.evaluation(id: made.id, project: "demo")?.progress == EvaluationProgress(done: 40))
    _ = try lease(.evaluation)
    #expect(try store.claim(worker: "w", kinds: [.evaluation], leaseSeconds: 60) == nil)
  }

  @Test func `a training whose workers are lost three times is a failure, and the evaluation goes on`() throws {
    let made = try planned(1)
    for attempt in 1...3 {
      let lease = try lease(.evaluationRun, seconds: 0.001)
      #expect(lease.attempt == attempt)
      _ = try? store.evaluationRunWork(lease: lease)
      while try store.sweepExpiredLeases() == 0 { usleep(1000) }
      #expect(throws: StoreError.self) { try store.finishEvaluationRun(lease: lease, key: key(1), content: [1]) }
      if attempt < 3 {
        #expect(try store.evaluation(id: made.id, project: "demo")?.progress == EvaluationProgress(queued: 1))
      }
    }
    #expect(try store.evaluation(id: made.id, project: "demo")?.progress == EvaluationProgress(failed: 1))
    let end = try #require(try store.evaluationRunEnds(evaluation: made.id, from: 0).first)
    #expect(end.content == nil && end.reason?.contains("3 attempts") == true)
    #expect(try store.evaluationWork(lease: lease(.evaluation)).isReportDue)
  }

  @Test func `cancelling ends the leases of its trainings and leaves other evaluations alone`() throws {
    let made = try planned(3), other = try planned(2)
    let lease = try lease(.evaluationRun)
    _ = try store.evaluationRunWork(lease: lease)
    let cancelled = try #require(try store.cancelEvaluation(id: made.id, project: "demo"))
    #expect(cancelled.state == .cancelled && cancelled.progress == EvaluationProgress())
    #expect(throws: StoreError.staleLease(subject: lease.subject)) { try store.renew(lease: lease) }
    #expect(throws: StoreError.self) { try store.finishEvaluationRun(lease: lease, key: key(1), content: [1]) }
    #expect(try store.cancelEvaluation(id: made.id, project: "demo") == cancelled, "nothing changes any more")
    #expect(try store.evaluation(id: other.id, project: "demo")?.progress == EvaluationProgress(queued: 2))
    #expect(try store.cancelEvaluation(id: made.id, project: "elsewhere") == nil)
    // One that waits is cancelled as well.
    let waiting = try create(spec())
    #expect(try store.cancelEvaluation(id: waiting.id, project: "demo")?.state == .cancelled)
    #expect(try store.claim(worker: "w", kinds: [.evaluation], leaseSeconds: 60) == nil)
  }

  @Test func `learned optimizers are resolved once, and their weights are kept`() throws {
    func install(_ version: Int, _ bytes: [UInt8]) throws {
      _ = try store.installOptimizer(
        name: .celo, version: version, state: .released, blob: store.putBlob(bytes), parameterCount: 1, provenance: [:])
    }
    try install(1, [1])
    let made = try create(
      spec(
        #"["celo", "auto", {"name": "adam"}]"#.replacingOccurrences(
          of: #""auto""#, with: #"{"name": "auto", "label": "newest"}"#)))
    try install(2, [2])
    let work = try store.evaluationWork(lease: lease(.evaluation))
    #expect(work.inputs.weights.mapValues(\.sha256) == [0: SHA256.hexadecimal([1]), 1: SHA256.hexadecimal([1])])
    #expect(work.evaluation.spec.optimizers[0].source == .setting(OptimizerSpec(name: .celo, version: 1)))
    #expect(made.spec.optimizers[1].label == "newest")
    #expect(throws: StoreError.self) { try create(spec(#"["velo"]"#)) }
    #expect(throws: StoreError.self) { try create(spec(#"[{"name": "celo", "version": 9}]"#)) }
    #expect(throws: StoreError.self) { try create(spec(#"[{"theta": "/etc/passwd"}]"#)) }
    #expect(throws: StoreError.self) {
      try create(spec(#"[{"campaign": "cmp_01jd3kq5v8m2n4p6r8t0w2y4a6", "version": 3}]"#))
    }
  }

  @Test func `datasets must be there and ready, and come with the work`() throws {
    let dataset = try store.makeReadyDataset()
    let made = try create(spec(#"["adam"]"#, #", "data": {"mnist": "\#(dataset.id)"}"#))
    #expect(made.spec.data == ["mnist": dataset.id])
    #expect(try store.evaluationWork(lease: lease(.evaluation)).inputs.datasets == ["mnist": dataset])
    let missing = Identifier.make(.dataset)
    #expect(throws: StoreError.self) { try create(spec(#"["adam"]"#, #", "data": {"mnist": "\#(missing)"}"#)) }
  }

  @Test func `a repeated request under one key is one evaluation`() throws {
    let key = Idempotency(key: "k", route: "POST /v1/evaluations", requestSHA256: SHA256.hexadecimal([9]))
    let first = try store.createEvaluation(spec(), project: "demo", idempotency: key)
    let second = try store.createEvaluation(spec(), project: "demo", idempotency: key)
    #expect(!first.replayed && second.replayed && first.evaluation == second.evaluation)
    #expect(try store.evaluations(project: "demo").items.count == 1)
  }

  @Test func `lists go by state and by campaign, and a campaign evaluates one version at a time`() throws {
    let campaign = Identifier.make(.campaign)
    let plain = try create(spec())
    let first = try store.evaluateCampaign(campaign, version: 100, spec(), project: "demo")
    #expect(first?.campaign == campaign && first?.campaignVersion == 100)
    #expect(try store.evaluateCampaign(campaign, version: 200, spec(), project: "demo") == nil, "the first goes on")
    _ = try store.cancelEvaluation(id: #require(first).id, project: "demo")
    let second = try #require(try store.evaluateCampaign(campaign, version: 200, spec(), project: "demo"))
    #expect(try store.evaluateCampaign(campaign, version: 200, spec(), project: "demo") == nil)
    #expect(try store.evaluations(project: "demo", campaign: campaign).items.map(\.id) == [second.id, first!.id])
    #expect(try store.evaluations(project: "demo", state: .queued).items.map(\.id) == [second.id, plain.id])
    #expect(
      try store.evaluations(project: "demo", state: .cancelled, campaign: campaign).items.map(\.id) == [first!.id])
    #expect(try store.evaluations(project: "other").items.isEmpty)
    let page = try store.evaluations(project: "demo", limit: 2)
    #expect(page.items.count == 2 && page.nextCursor == first!.id)
    #expect(try store.evaluations(project: "demo", cursor: page.nextCursor).items.map(\.id) == [plain.id])
  }

  @Test func `campaigns are evaluated at the outer steps they ask for, with their data, as long as thetas are there`()
    throws
  {
    let dataset = try store.makeReadyDataset()
    var spec = CampaignSpec.sample
    spec.data["mnist"] = dataset.id
    spec.evaluation = CampaignSpec.Evaluation(
      everyOuterSteps: 10, spec: ["optimizers": ["adam"], "tasks": ["Valley"], "steps": 10])
    let campaign = try store.createCampaign(spec, project: "demo", author: "key_1").campaign.id
    func keep(_ version: Int) throws {
      try database.run(
        "INSERT INTO campaign_thetas (campaign, version, content, sha256, kept) "
          + "VALUES ('\(campaign)', \(version), 'theta \(version)', sha256('x'), 'spaced')")
    }
    #expect(try store.evaluateCampaigns().isEmpty, "there is no theta yet")
    try keep(5)
    #expect(try store.evaluateCampaigns().isEmpty, "5 is not among the outer steps asked for")
    try keep(10)
    try keep(20)
    let first = try #require(try store.evaluateCampaigns().first)
    #expect(first.campaign == campaign && first.campaignVersion == 20 && first.spec.data["mnist"] == dataset.id)
    #expect(first.spec.optimizers.map(\.label) == ["adam 0.001", "theta 20"])
    let work = try store.evaluationWork(lease: lease(.evaluation))
    let theta = try #require(work.inputs.weights[1])
    #expect(try store.readBlob(sha256: theta.sha256) == Array("theta 20".utf8))
    try keep(30)
    #expect(try store.evaluateCampaigns().isEmpty, "the first goes on still")
    _ = try store.cancelEvaluation(id: first.id, project: "demo")
    let store = store
    let queued = try concurrently(3) { _ in try store.evaluateCampaigns().map(\.campaignVersion) }
    #expect(queued.flatMap(\.self) == [30])
    #expect(try store.evaluateCampaigns().isEmpty)
  }

  @Test func `an evaluation that cannot be planned fails with the reason`() throws {
    let made = try create(spec())
    let lease = try lease(.evaluation)
    try store.failEvaluation(lease: lease, message: "/tasks/0: there is no task")
    try store.failEvaluation(lease: lease, message: "/tasks/0: there is no task")
    let record = try #require(try store.evaluation(id: made.id, project: "demo"))
    #expect(record.state == .failed && record.message == "/tasks/0: there is no task")
  }
}
