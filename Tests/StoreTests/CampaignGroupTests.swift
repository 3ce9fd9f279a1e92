// Store+CampaignGroups.swift, Store+CampaignGroupLeases.swift, Store+CampaignCommits.swift: windows that are run once, outer
// steps that are taken once, and what becomes of both when workers and learners are gone.
import Contract
import Foundation
import TestSupport
import Testing

@testable import Store

private let engine = CampaignEngine(levels: ["avx2"], level: "avx2", name: "test 1")

/// A distributed campaign with its learner's lease.
private struct Course {
  let store: Store
  let id: String
  let lease: Lease
  /// Sums of what steps took, by group: window numbers in their order.
  var taken: [Int: [Int]] = [:]
  var version = 0

  init(_ store: Store, groups: Int, ahead: Int = 0, leaseSeconds: Double = 60) throws {
    self.store = store
    var spec = CampaignSpec.sample
    spec.mode = .distributed
    id = try store.createCampaign(spec, project: "demo", author: "key_1").campaign.id
    lease = try #require(
      try store.claimCampaign(
        worker: "learner", kind: .distributedCampaign, engine: engine, leaseSeconds: leaseSeconds))
    _ = try store.openCampaign(lease: lease, engine: engine)
    let turn = PhaseTurn(
      from: nil, isChange: false, to: 0, outerIteration: 0, growthLevel: 0, groups: groups, ahead: ahead)
    _ = try store.enterPhase(
      turn, version: 0, thetas: [NewTheta(version: 0, content: [0], kept: .start)], snapshot: store.putBlob([0]),
      event: NewCampaignEvent(.phase, "begins"), lease: lease)
  }

  func claim(
    _ worker: String, own: Int = 4, others: Int = 2, engine: CampaignEngine = engine, leaseSeconds: Double = 60
  ) throws -> [GroupLease] {
    try store.claimGroups(worker: worker, own: own, others: others, engine: engine, leaseSeconds: leaseSeconds)
  }

  /// What a window measures here: its own name.
  static func result(_ lease: GroupLease) -> [UInt8] {
    Array("\(lease.number) \(lease.window) \(lease.setting.version)".utf8)
  }

  static func delivery(_ lease: GroupLease, state: [UInt8]? = nil) -> GroupDelivery {
    GroupDelivery(lease: lease, result: result(lease), milliseconds: 1, state: state)
  }

  /// What a step with all results that are there writes.
  func progress(_ rows: [GroupResults], issues: Bool = true) -> CampaignProgress {
    let next = version + 1
    let head = CampaignHead(version: next, phase: 0, outerIteration: next, growthLevel: 0, innerSteps: 10 * next)
    let step = CampaignStep(
      version: next, phase: 0, outerIteration: next, meanLoss: 1, surviving: 1, gradientNorm: .nan, updateNorm: 1,
      clippedShare: 0, learningRate: nil, innerSteps: 10, staleness: [rows.count], discarded: 0, wallMilliseconds: 1,
      results: rows.flatMap { $0.results.flatMap(\.bytes) + [10] })
    var progress = CampaignProgress(
      steps: [step], head: head, loss: 1, thetas: [NewTheta(version: next, content: [UInt8(next % 251)], kept: nil)])
    progress.turn = GroupTurn(
      taken: rows, phase: 0,
      next: issues ? WindowSetting(version: next, outerIteration: next, growthLevel: 0) : nil, renewsWaiting: false)
    return progress
  }

  /// Takes a step from what is there.
  mutating func step() throws {
    let rows = try store.groupResults(campaign: id)
    _ = try store.commit(progress: progress(rows), lease: lease)
    version += 1
    for row in rows {
      for result in row.results {
        let words = String(decoding: result.bytes, as: UTF8.self).split(separator: " ").compactMap { Int($0) }
        #expect(words[0] == row.group)
        taken[row.group, default: []].append(words[1])
      }
    }
  }
}

@Suite struct CampaignGroupTests {
  let database: TestDatabase
  let store: Store

  init() throws {
    database = try TestDatabase()
    store = try database.store(connectionsMax: 12)
    try store.makeProject()
  }

  // Rows that others hold are passed over, so that neither waits for the other.
  private func update(_ change: String, where condition: String) throws {
    try database.run(
      """
      UPDATE campaign_groups g SET \(change) FROM (
        SELECT campaign, number FROM campaign_groups WHERE \(condition) FOR UPDATE SKIP LOCKED) d
      WHERE g.campaign = d.campaign AND g.number = d.number
      """)
  }

  private func expire() throws { try update("lease_until = now() - interval '1 second'", where: "state = 'leased'") }

  private func free() throws { try update("free_at = now()", where: "state = 'ready'") }

  @Test func `many workers run every window of every group once, and every result is used once`() throws {
    for ahead in [0, 2] {
      var course = try Course(store, groups: 24, ahead: ahead)
      let steps = 25
      let isOver = Guarded(false)
      let stored = store
      let id = course.id
      let workers = Thread {
        _ = try? concurrently(8) { index in
          var random = SystemRandomNumberGenerator()
          while !isOver.current {
            let leases = try stored.claimGroups(
              worker: "w\(index)", own: 4, others: 3, steals: false, engine: engine, leaseSeconds: 60)
            if leases.isEmpty { usleep(500) }
            // One worker in so many dies here; the sweep below finds its windows.
            if Int.random(in: 0..<25, using: &random) == 0 { continue }
            _ = try stored.deliver(
              leases.map { Course.delivery($0, state: $0.window % 5 == 4 ? [1] : nil) }, worker: "w\(index)")
            // Some answers get lost, and what was delivered is delivered again.
            if Int.random(in: 0..<5, using: &random) == 0 {
              let again = try stored.deliver(leases.map { Course.delivery($0) }, worker: "w\(index)")
              if !again.isEmpty { throw StoreError.conflict(.inUse, "taken twice: \(again)") }
            }
          }
        }
        isOver.withLock { $0 = true }
      }
      workers.start()
      let deadline = Date(timeIntervalSinceNow: 60)
      while course.version < steps, Date() < deadline {
        let wanted = ahead == 0 ? 24 : 12
        if try store.groupsWithResults(campaign: id) >= wanted {
          try course.step()
        } else {
          try expire()
          try store.sweepExpiredGroups()
          try free()
          usleep(1000)
        }
      }
      isOver.withLock { $0 = true }
      #expect(course.version == steps)
      for (group, windows) in course.taken {
        #expect(windows == Array(0..<windows.count), "group \(group) of \(id): \(windows)")
        if ahead == 0 { #expect(windows.count == steps) }
      }
      #expect(
        try database.texts("SELECT count(*) FROM campaign_events WHERE campaign = '\(id)' AND kind = 'warning'") == [
          "0"
        ])
      try store.endCampaign(lease: course.lease, .succeeded)
    }
  }

  @Test func `a learner that lost its lease changes nothing`() throws {
    var course = try Course(store, groups: 2)
    _ = try store.deliver(try course.claim("w").map { Course.delivery($0) }, worker: "w")
    let rows = try store.groupResults(campaign: course.id)
    try database.run("UPDATE work SET lease_until = now() - interval '1 second'")
    #expect(try store.sweepExpiredLeases() == 1)
    let other = try #require(
      try store.claimCampaign(worker: "new", kind: .distributedCampaign, engine: engine, leaseSeconds: 60))
    let work = try store.openCampaign(lease: other, engine: engine)
    #expect(work.head.version == 0 && work.snapshot?.version == 0 && work.start == [0])
    let tables = ["campaigns", "campaign_steps", "campaign_thetas", "campaign_groups", "campaign_phases", "work"]
    func everything() throws -> [[String]] { try tables.map { try database.texts("SELECT t.*::text FROM \($0) t") } }
    let before = try everything()
    let stale = StoreError.staleLease(subject: course.id)
    #expect(throws: stale) { _ = try store.commit(progress: course.progress(rows), lease: course.lease) }
    #expect(throws: stale) { try store.endCampaign(lease: course.lease, .succeeded) }
    #expect(throws: stale) { try store.release(lease: course.lease) }
    #expect(throws: stale) {
      let turn = PhaseTurn(
        from: 0, isChange: false, to: 1, outerIteration: 0, growthLevel: 0, groups: 1, ahead: 0)
      _ = try store.enterPhase(
        turn, version: 0, thetas: [], snapshot: store.putBlob([0]), event: NewCampaignEvent(.phase, ""),
        lease: course.lease)
    }
    #expect(try everything() == before)
    let wishes = try store.commit(progress: course.progress(rows), lease: other)
    #expect(!wishes.pause && !wishes.cancel && !wishes.change && !wishes.makeWay)
    course.version = 1
    #expect(try store.campaign(id: course.id, project: "demo")?.version == 1)
  }

  @Test func `a commit whose answer was lost may be sent again, one from another head may not`() throws {
    let course = try Course(store, groups: 2)
    _ = try store.deliver(try course.claim("w").map { Course.delivery($0) }, worker: "w")
    let progress = course.progress(try store.groupResults(campaign: course.id))
    _ = try store.commit(progress: progress, lease: course.lease)
    let rows = try database.texts("SELECT g.*::text FROM campaign_groups g ORDER BY number")
    _ = try store.commit(progress: progress, lease: course.lease)
    #expect(try database.texts("SELECT g.*::text FROM campaign_groups g ORDER BY number") == rows)
    #expect(try database.texts("SELECT version FROM campaign_steps") == ["1"])
    var otherwise = progress
    otherwise.steps[0].results = [1]
    #expect(throws: StoreError.self) { _ = try store.commit(progress: otherwise, lease: course.lease) }
    var ahead = progress
    ahead.steps[0].version = 3
    ahead.head.version = 3
    #expect(throws: StoreError.staleLease(subject: course.id)) {
      _ = try store.commit(progress: ahead, lease: course.lease)
    }
  }

  @Test func `results of expired leases count when they come first, and are held against what came before them`() throws
  {
    let course = try Course(store, groups: 1)
    let first = try #require(try course.claim("slow").first)
    #expect(try course.claim("fast").isEmpty)
    try expire()
    #expect(try store.sweepExpiredGroups() == 1)
    let second = try #require(try course.claim("fast").first)
    #expect(second.window == first.window && second.fence > first.fence)
    #expect(try store.renewGroups(worker: "slow", leaseSeconds: 60).isEmpty)
    #expect(try store.renewGroups(worker: "fast", leaseSeconds: 60) == [second.fence])
    #expect(try store.deliver([Course.delivery(first)], worker: "slow") == [first])
    #expect(try store.deliver([Course.delivery(second)], worker: "fast").isEmpty)
    #expect(try database.texts("SELECT count(*) FROM campaign_events WHERE kind = 'warning'") == ["0"])
    let wrong = GroupDelivery(lease: second, result: [1, 2, 3], milliseconds: 1, state: nil)
    #expect(try store.deliver([wrong], worker: "fast").isEmpty)
    #expect(
      try database.texts("SELECT message FROM campaign_events WHERE kind = 'warning'")
        == ["window 0 of group 0 came out in two ways; the first result counts"])
    #expect(try store.groupResults(campaign: course.id).first?.results.first?.bytes == Course.result(first))
  }

  @Test func `a group that no worker brings back begins anew, and what comes of the old one is refused`() throws {
    let course = try Course(store, groups: 1)
    var last: GroupLease?
    for _ in 0...Store.groupAttemptsMax {
      last = try #require(try course.claim("w").first)
      #expect(last?.generation == 0)
      try expire()
      try store.sweepExpiredGroups()
    }
    let anew = try #require(try course.claim("w").first)
    #expect(anew.generation == 1 && anew.window == 0 && anew.history.isEmpty)
    #expect(try store.deliver([Course.delivery(#require(last))], worker: "w").isEmpty)
    #expect(try store.deliver([Course.delivery(anew)], worker: "w") == [anew])
    let told = try database.texts("SELECT message FROM campaign_events WHERE kind = 'warning'")
    #expect(told.count == 1 && told[0].hasPrefix("pairs lost: group 0 begins anew"))
    #expect(try store.groupResults(campaign: course.id)[0].results[0].generation == 1)
  }

  @Test func `a group goes to the worker that has it in memory, with all that others need to take it over`() throws {
    var course = try Course(store, groups: 2)
    let leases = try course.claim("home")
    #expect(leases.count == 2)
    _ = try store.deliver(leases.map { Course.delivery($0, state: [7]) }, worker: "home")
    try course.step()
    #expect(try course.claim("away").isEmpty, "it was taken before the one that has it in memory had its time")
    _ = try store.deliver(try course.claim("home").map { Course.delivery($0) }, worker: "home")
    try course.step()
    try free()
    let taken = try course.claim("away", others: 1)
    #expect(taken.count == 1 && taken[0].window == 2 && taken[0].snapshotWindow == 1)
    #expect(taken[0].history == [WindowSetting(version: 1, outerIteration: 1, growthLevel: 0)])
    #expect(taken[0].setting == WindowSetting(version: 2, outerIteration: 2, growthLevel: 0))
    let state = try #require(try store.groupState(taken[0]))
    #expect(state.window == 1 && state.content == [7])
    try store.release(groups: taken)
    #expect(try course.claim("third", others: 8).count == 2)
  }

  @Test func `machines and programs of another kind get nothing of a campaign that has begun`() throws {
    let course = try Course(store, groups: 2)
    let others = [
      CampaignEngine(levels: ["scalar"], level: "scalar", name: "test 1"),
      CampaignEngine(levels: ["avx2"], level: "avx2", name: "test 2"),
    ]
    for other in others { #expect(try course.claim("w", engine: other).isEmpty) }
    try store.release(lease: course.lease)
    for other in others {
      #expect(
        try store.claimCampaign(worker: "w", kind: .distributedCampaign, engine: other, leaseSeconds: 60) == nil)
    }
    #expect(
      try store.claimCampaign(worker: "w", kind: .distributedCampaign, engine: engine, leaseSeconds: 60) != nil)
  }

  @Test func `a campaign that waits for another kind of machine says so, and goes on with this one once it is resumed`()
    throws
  {
    let course = try Course(store, groups: 1)
    try store.release(lease: course.lease)
    let other = CampaignEngine(levels: ["avx512"], level: "avx512", name: "test 2")
    #expect(try store.noteStrandedCampaigns(engine: other) == 0, "it has not waited for a minute")
    try database.run("UPDATE campaign_events SET at = at - interval '2 minutes'")
    #expect(try store.noteStrandedCampaigns(engine: engine) == 0)
    #expect(try store.noteStrandedCampaigns(engine: other) == 1)
    #expect(try store.noteStrandedCampaigns(engine: other) == 0)
    #expect(try store.campaign(id: course.id, project: "demo")?.reason == "other_engine")
    let told = try database.texts("SELECT message FROM campaign_events WHERE kind = 'warning'")
    #expect(told.count == 1 && told[0].contains("no worker of test 1 at level avx2"))
    _ = try store.pauseCampaign(id: course.id, project: "demo", author: "key_1")
    _ = try store.resumeCampaign(id: course.id, project: "demo", author: "key_1")
    let lease = try #require(
      try store.claimCampaign(worker: "w", kind: .distributedCampaign, engine: other, leaseSeconds: 60))
    #expect(try store.openCampaign(lease: lease, engine: other).cpuLevel == "avx512")
    #expect(try course.claim("w", engine: other).count == 1)
  }

  @Test func `an idle worker takes one over from a worker that has two more in memory`() throws {
    let now = Timestamp(microseconds: 0)
    for id in ["rich", "poor"] {
      try store.registerWorker(
        WorkerRecord(
          id: id, host: "h", processID: 1, slots: 1, cpuLevel: "avx2", speed: .sample, startedAt: now, seenAt: now))
    }
    var course = try Course(store, groups: 4)
    func steal() throws -> [GroupLease] {
      try store.claimGroups(worker: "poor", own: 4, others: 2, steals: true, engine: engine, leaseSeconds: 60)
    }
    for _ in 0..<2 {
      _ = try store.deliver(try course.claim("rich", others: 8).map { Course.delivery($0) }, worker: "rich")
      try course.step()
    }
    let taken = try steal()
    #expect(taken.count == 1 && taken[0].history.count == 2)
    _ = try store.deliver(taken.map { Course.delivery($0) }, worker: "poor")
    #expect(try steal().isEmpty == false, "three to one is two more")
  }

  @Test func `a paused campaign hands nothing out, and its results stay for when it goes on`() throws {
    let course = try Course(store, groups: 2)
    let leases = try course.claim("w", others: 1)
    _ = try store.pauseCampaign(id: course.id, project: "demo", author: "key_1")
    #expect(try course.claim("v").isEmpty)
    #expect(try store.renewGroups(worker: "w", leaseSeconds: 60).isEmpty)
    let progress = CampaignProgress(
      steps: [], head: CampaignHead(version: 0, phase: 0, outerIteration: 0, growthLevel: 0, innerSteps: 0), loss: nil)
    #expect(try store.commit(progress: progress, lease: course.lease).pause)
    try store.endCampaign(lease: course.lease, .paused)
    #expect(try store.deliver(leases.map { Course.delivery($0) }, worker: "w").count == 1)
    _ = try store.resumeCampaign(id: course.id, project: "demo", author: "key_1")
    let again = try #require(
      try store.claimCampaign(worker: "l", kind: .distributedCampaign, engine: engine, leaseSeconds: 60))
    _ = try store.openCampaign(lease: again, engine: engine)
    #expect(try store.groupsWithResults(campaign: course.id) == 1)
    #expect(try course.claim("v", others: 8).count == 1)
  }

  @Test func `thetas are kept for as long as a group needs them, the spaced ones for good`() throws {
    var course = try Course(store, groups: 2)
    // Group 1 is run by nobody: it needs the theta of its window for as long as it waits.
    let lazy = try course.claim("lazy", others: 1)
    for _ in 0..<64 {
      try free()
      let leases = try course.claim("w", others: 8)
      _ = try store.deliver(leases.map { Course.delivery($0, state: [1]) }, worker: "w")
      try course.step()
    }
    let held = try database.texts("SELECT version FROM campaign_thetas ORDER BY version").compactMap { Int($0) }
    #expect(held == Array(0...64))
    _ = try store.deliver(lazy.map { Course.delivery($0, state: [1]) }, worker: "lazy")
    for _ in 0..<8 {
      try free()
      _ = try store.deliver(try course.claim("w", others: 8).map { Course.delivery($0, state: [1]) }, worker: "w")
      try course.step()
    }
    let left = try database.texts("SELECT version FROM campaign_thetas ORDER BY version").compactMap { Int($0) }
    #expect(left.first == 0 && left.dropFirst().first == 72 - 20 && left.last == 72)
  }
}
