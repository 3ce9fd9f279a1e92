// Jobs on real worker processes that are stopped past their leases or cut off from the network: nothing of it shows in
// weights, curves or events. CampaignFailureTests.swift has the same for campaigns, SurvivalTests.swift whole servers.
import Contract
import Foundation
import Glibc
import Store
import TestSupport
import Testing

@Suite(.serialized)
struct JobFailureTests {
  private static let steps = 60_000

  /// What the job comes to when nothing happens to it.
  private func undisturbed(_ fleet: CampaignFleet, _ dataset: String) throws -> TrainingOutcome {
    let id = try fleet.submit(dataset: dataset, steps: Self.steps)
    #expect(try fleet.wait(job: id) { $0.state.isTerminal }.state == .succeeded)
    let outcome = try TrainingOutcome(job: id, fleet)
    #expect(outcome.hasEveryStepOnce(Self.steps))
    return outcome
  }

  private func expectOrder(_ fleet: CampaignFleet, _ id: String) throws {
    let numbers = try fleet.store.events(job: id, limit: 1000).map(\.sequence)
    #expect(numbers == Array(1...numbers.count))
  }

  @Test("a worker that is stopped past its lease and woken again changes nothing of what another has finished")
  func sleeper() throws {
    let database = try TestDatabase()
    let fleet = try CampaignFleet(database.connection)
    let sleeper = try fleet.start()
    let dataset = try fleet.flowers()
    let expected = try undisturbed(fleet, dataset)
    let id = try fleet.submit(dataset: dataset, steps: Self.steps)
    try fleet.wait(job: id) { $0.step >= Self.steps / 8 }
    kill(sleeper.processIdentifier, SIGSTOP)
    let other = try fleet.start()
    let ended = try fleet.wait(job: id) { $0.state.isTerminal }
    #expect(ended.state == .succeeded && ended.attempt == 2, "\(ended.json.text)\n\(fleet.log)")
    let events = try fleet.store.events(job: id, limit: 1000)
    fleet.kill9(other)
    kill(sleeper.processIdentifier, SIGCONT)
    // It trains the next job, so it has been through what it had in its hands.
    let next = try fleet.submit(dataset: dataset, steps: 1000)
    #expect(try fleet.wait(job: next) { $0.state.isTerminal }.state == .succeeded, "\(fleet.log)")
    #expect(sleeper.isRunning)
    #expect(try fleet.job(id) == ended)
    #expect(try fleet.store.events(job: id, limit: 1000) == events)
    #expect(try fleet.store.attempts(job: id).map(\.state) == [.lost, .finished])
    #expect(try TrainingOutcome(job: id, fleet) == expected)
    try expectOrder(fleet, id)
  }

  @Test("a worker on another host that is cut off and comes back ends its job with the same weights")
  func cutOff() throws {
    guard let hosts = try Hosts(count: 1), let host = hosts.all.first else { return }
    let folder = try Folder()
    let (cluster, connection) = try Hosts.cluster(in: folder)
    defer { cluster.stop() }
    let fleet = try CampaignFleet(connection)
    let remote = try fleet.start(connection: host.connection, wrapper: host.wrapper)
    let dataset = try fleet.flowers()
    let expected = try undisturbed(fleet, dataset)
    let id = try fleet.submit(dataset: dataset, steps: Self.steps)
    let before = try fleet.wait(job: id) { $0.step >= Self.steps / 10 }
    try hosts.set(host, up: false)
    // Nobody else is there: what was lost waits, and nothing moves.
    let lease = try #require(try fleet.store.workHolder(of: id))
    #expect(try fleet.store.workers().contains { $0.id == lease })
    usleep(2_500_000)
    let during = try fleet.job(id)
    #expect(!during.state.isTerminal && during.step < Self.steps)
    try hosts.set(host, up: true)
    try fleet.wait(job: id) { $0.step >= max(before.step, during.step) + Self.steps / 10 }
    // The second time somebody else takes over, and the one who was cut off finds it so.
    try hosts.set(host, up: false)
    let local = try fleet.start()
    let ended = try fleet.wait(job: id) { $0.state.isTerminal }
    #expect(ended.state == .succeeded && ended.attempt >= 2, "\(ended.json.text)\n\(fleet.log)")
    try hosts.set(host, up: true)
    fleet.kill9(local)
    let next = try fleet.submit(dataset: dataset, steps: 1000)
    #expect(try fleet.wait(job: next) { $0.state.isTerminal }.state == .succeeded, "\(fleet.log)")
    #expect(remote.isRunning)
    #expect(try fleet.job(id) == ended)
    #expect(try TrainingOutcome(job: id, fleet) == expected)
    try expectOrder(fleet, id)
  }
}
