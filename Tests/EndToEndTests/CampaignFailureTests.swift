// Campaigns on real worker processes that are killed, stopped, cut off from the network, and whose database goes away: none
// of it may show in theta, nor in the record of a single outer step.
import Contract
import Foundation
import Glibc
import TestSupport
import Testing

@testable import Store

@Suite(.serialized)
struct CampaignFailureTests {
  /// Numbers that say whom to kill when; the same ones in every run.
  private struct Dice {
    var state: UInt64
    mutating func roll(_ count: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int((state >> 33) % UInt64(count))
    }
  }

  @Test("kills of learners and workers at random change no bit; TRAINYARD_KILLS says how many")
  func kills() throws {
    let kills = ProcessInfo.processInfo.environment["TRAINYARD_KILLS"].flatMap(Int.init) ?? 12
    let database = try TestDatabase()
    let fleet = try CampaignFleet(database.connection)
    let spec = CampaignSpec.short(.distributed, outerSteps: 30 * kills + 60)
    let expected = try spec.undisturbed()
    for _ in 0..<3 { try fleet.start() }
    let id = try fleet.create(spec)
    var dice = Dice(state: 1)
    var learners = 0
    for _ in 0..<kills {
      let version = try fleet.campaign(id).version
      let wanted = version + 5 + dice.roll(20)
      let now = try fleet.wait(id) { $0.version >= wanted || $0.state.isTerminal }
      if now.state.isTerminal { break }
      let learner = try dice.roll(2) == 0 ? fleet.learner(id) : nil
      if learner != nil { learners += 1 }
      fleet.kill9(learner ?? fleet.processes[dice.roll(fleet.processes.count)])
      try fleet.start()
    }
    let ended = try fleet.wait(id, seconds: 120) { $0.state.isTerminal }
    #expect(ended.state == .succeeded, "\(ended.json.text)\n\(fleet.log)")
    #expect(learners > 0)
    #expect(try fleet.outcome(id) == expected, "after \(kills) kills, \(learners) of learners\n\(fleet.log)")
    print("kills: \(kills), of learners \(learners), attempts \(try database.texts("SELECT attempt FROM campaigns"))")
  }

  @Test("kills change no bit of a campaign of local mode")
  func localKills() throws {
    let database = try TestDatabase()
    let fleet = try CampaignFleet(database.connection)
    let spec = CampaignSpec.short(.local, outerSteps: 6000)
    let expected = try spec.undisturbed()
    try fleet.start()
    let id = try fleet.create(spec)
    for target in [600, 2000, 3500] {
      let now = try fleet.wait(id) { $0.version >= target || $0.state.isTerminal }
      if now.state.isTerminal { break }
      if let learner = try fleet.learner(id) { fleet.kill9(learner) }
      try fleet.start()
    }
    let ended = try fleet.wait(id, seconds: 120) { $0.state.isTerminal }
    #expect(ended.state == .succeeded, "\(ended.json.text)\n\(fleet.log)")
    #expect(try fleet.outcome(id) == expected)
    #expect(try database.texts("SELECT attempt > 1 FROM campaigns") == ["t"])
  }

  @Test("a learner and a worker that are stopped past their leases and go on again change nothing")
  func sleepers() throws {
    let database = try TestDatabase()
    let fleet = try CampaignFleet(database.connection)
    let spec = CampaignSpec.short(.distributed, outerSteps: 400)
    let expected = try spec.undisturbed()
    for _ in 0..<2 { try fleet.start() }
    let id = try fleet.create(spec)
    try fleet.wait(id) { $0.version >= 30 }
    let sleeper = try #require(try fleet.learner(id))
    kill(sleeper.processIdentifier, SIGSTOP)
    let before = try fleet.campaign(id).version
    // Somebody else leads, and runs what the sleeper had in its hands.
    try fleet.wait(id) { $0.version >= before + 60 }
    #expect(try fleet.learner(id) !== sleeper)
    kill(sleeper.processIdentifier, SIGCONT)
    let ended = try fleet.wait(id) { $0.state.isTerminal }
    #expect(ended.state == .succeeded, "\(ended.json.text)\n\(fleet.log)")
    #expect(sleeper.isRunning, "it goes on as a worker")
    #expect(try fleet.outcome(id) == expected)
  }

  @Test("a database that is killed, and one that is restarted, lose nothing and double nothing")
  func databaseAway() throws {
    let folder = try Folder()
    let cluster = PrivateCluster(dataFolder: folder.file("data"))
    let connection = try cluster.start()
    defer { cluster.stop() }
    try Store(connection: connection, connectionsMax: 1, applicationName: "test").migrate()
    let fleet = try CampaignFleet(connection, environment: ["TRAINYARD_LEASE_SECONDS": "5"])
    let spec = CampaignSpec.short(.distributed, outerSteps: 300)
    let expected = try spec.undisturbed()
    for _ in 0..<2 { try fleet.start() }
    let id = try fleet.create(spec)
    for (target, signal) in [(40, SIGKILL), (120, SIGINT)] {
      try fleet.wait(id) { $0.version >= target }
      let postmaster = try #require(cluster.postmasterID)
      kill(postmaster, signal)
      #expect(eventually(seconds: 30) { cluster.postmasterID.map { $0 != postmaster } ?? false })
    }
    let ended = try fleet.wait(id, seconds: 120) { $0.state.isTerminal }
    #expect(ended.state == .succeeded, "\(ended.json.text)\n\(fleet.log)")
    #expect(try fleet.outcome(id) == expected)
  }

  @Test("a worker at another level of kernels takes no part in a campaign that has begun")
  func mixed() throws {
    let database = try TestDatabase()
    let fleet = try CampaignFleet(database.connection)
    let spec = CampaignSpec.short(.distributed, outerSteps: 200)
    let expected = try spec.undisturbed()
    let first = try fleet.start()
    let id = try fleet.create(spec)
    try fleet.wait(id) { $0.version >= 20 }
    fleet.kill9(first)
    guard try fleet.campaign(id).cpuLevel != "scalar" else {
      print("skipped: this machine has one level alone")
      return
    }
    let version = try fleet.campaign(id).version
    let other = try fleet.start(["TRAINYARD_CPU": "scalar"])
    // It is there, finds the lease expired, and leaves the campaign to its own kind.
    #expect(eventually(seconds: 30) { (try? fleet.campaign(id).state) == .queued })
    #expect(try eventually(seconds: 30) { try fleet.store.workers().contains { $0.cpuLevel == "scalar" } })
    #expect(try fleet.campaign(id).version == version)
    try fleet.start()
    let ended = try fleet.wait(id) { $0.state.isTerminal }
    #expect(ended.state == .succeeded, "\(ended.json.text)\n\(fleet.log)")
    #expect(other.isRunning)
    #expect(try fleet.outcome(id) == expected)
  }

  @Test("half of the hosts cut off from the network: the others go on, and nothing of it shows afterwards")
  func partition() throws {
    guard let hosts = try Hosts(count: 2) else { return }
    let folder = try Folder()
    let (cluster, connection) = try Hosts.cluster(in: folder)
    defer { cluster.stop() }
    let fleet = try CampaignFleet(connection)
    let spec = CampaignSpec.short(.distributed, outerSteps: 500)
    let expected = try spec.undisturbed()
    for host in hosts.all {
      try fleet.start(
        connection: host.connection, wrapper: host.wrapper)
    }
    let id = try fleet.create(spec)
    try fleet.wait(id) { $0.version >= 30 }
    for (index, host) in hosts.all.enumerated() {
      // Each in turn, so that the learner is among them.
      try hosts.set(host, up: false)
      let version = try fleet.campaign(id).version
      try fleet.wait(id) { $0.version >= version + 60 || $0.state.isTerminal }
      try hosts.set(host, up: true)
      if index == 0 { try fleet.wait(id) { $0.version >= version + 80 || $0.state.isTerminal } }
    }
    let ended = try fleet.wait(id) { $0.state.isTerminal }
    #expect(ended.state == .succeeded, "\(ended.json.text)\n\(fleet.log)")
    #expect(try fleet.outcome(id) == expected)
  }
}
