// A whole service under kills: its server, its workers, its database and single backends die at random while clients
// submit, upload and read streams. Nothing acknowledged is lost, nothing is doubled, and no bit of any result differs.
import Client
import Contract
import Foundation
import Glibc
import Learning
import Store
import TestSupport
import Testing

@Suite(.serialized)
struct SurvivalTests {
  /// Numbers that say what dies when; the same ones in every run.
  private struct Dice {
    var state: UInt64
    mutating func roll(_ count: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int((state >> 33) % UInt64(count))
    }
  }

  private enum Victim: CaseIterable { case server, worker, database, backend }

  /// What clients were told, and so must find at the end.
  private struct Acknowledged {
    /// Jobs by their idempotency keys.
    var jobs: [String: String] = [:]
    /// Datasets by id, with the hash of what was sent.
    var datasets: [String: String] = [:]
    var failures: [String] = []
    var isDone = 0
  }

  private static let steps = 12_000
  private static let environment = ["TRAINYARD_LEASE_SECONDS": "2", "TRAINYARD_CHECKPOINT_SECONDS": "0.3"]

  /// The trainings: several models and optimizers.
  private static func specs(_ dataset: String) -> [JSON] {
    let kinds: [(model: JSON, optimizer: JSON)] = [
      (["preset": "mlp", "hidden": [32]], ["name": "adam"]), (["preset": "mlp", "hidden": [16]], ["name": "auto"]),
      (["preset": "mlp", "hidden": [16, 8], "activation": "tanh"], ["name": "lion"]),
      (["layers": [["type": "dense", "units": 3]]], ["name": "sgd", "learning_rate": 0.05]),
    ]
    return kinds.enumerated().map { number, kind in
      [
        "dataset": .string(dataset), "model": kind.model, "optimizer": kind.optimizer, "steps": .integer(steps),
        "seed": .integer(number), "tags": ["kind": .string(String(number))],
      ]
    }
  }

  @Test("whatever dies, nothing acknowledged is lost or doubled and no bit differs; TRAINYARD_KILLS says how often")
  func survives() throws {
    let kills = ProcessInfo.processInfo.environment["TRAINYARD_KILLS"].flatMap(Int.init) ?? 20
    var server = try TestServer(workers: 2, environment: Self.environment)
    let address = try server.url
    let patient = APIClient(
      server: address, key: try server.adminKey, retry: RetryPolicy(delaySecondsMax: 0.5, deadlineSeconds: 120))
    let added = try server.command(
      "dataset", "add", try server.folder.write("flowers.csv", SampleData.csv(rows: 600)), "--json")
    let dataset = try #require(added.json()["id"]?.string, "\(added)")
    let specs = Self.specs(dataset)
    let expected = try undisturbed(specs, patient, server.folder)
    let campaignSpec = CampaignSpec.short(.distributed, outerSteps: 120)
    let expectedTheta = try campaignSpec.undisturbed().theta

    let campaign = try #require(try patient.createCampaign(campaignSpec.json)["id"]?.string)
    let acknowledged = Guarded(Acknowledged())
    beginSubmitting(kills, specs, patient, acknowledged)
    beginUploading(max(4, kills / 2), patient, server.folder, acknowledged)
    let readers = Readers(patient)
    readers.follow(campaign: campaign)

    var dice = Dice(state: 3)
    var killed: [Victim: Int] = [:]
    for _ in 0..<kills {
      usleep(UInt32(50_000 + dice.roll(500_000)))
      for job in acknowledged.current.jobs.values { readers.follow(job: job) }
      let victim = [Victim.server, .server, .worker, .worker, .database, .backend][dice.roll(6)]
      guard strike(victim, server, &dice) else { continue }
      killed[victim, default: 0] += 1
      if victim == .server {
        server = try TestServer(
          folder: server.folder, workers: 2, listen: "127.0.0.1:\(try #require(address.port))",
          environment: Self.environment)
      }
    }
    #expect(acknowledged.wait(seconds: 180) { $0.isDone == 2 }, "\(acknowledged.current)\n\(server.log.suffix(4000))")
    let told = acknowledged.current
    #expect(told.failures.isEmpty, "\(told.failures)")
    #expect(told.jobs.count == kills && Set(told.jobs.values).count == kills)
    print("killed: \(killed), jobs \(told.jobs.count), datasets \(told.datasets.count)")
    for victim in Victim.allCases where kills >= 20 { #expect(killed[victim, default: 0] > 0, "\(victim)") }

    // Every job is there once, has ended well, and is what it would have been.
    for job in told.jobs.values { readers.follow(job: job) }
    for (key, id) in told.jobs {
      let job = try ended(id, patient, server)
      #expect(job["state"] == "succeeded", "\(job.text)")
      let kind = try #require(job["tags"]?["kind"]?.string.flatMap(Int.init))
      #expect(try TrainingOutcome(job: id, patient, folder: server.folder) == expected[kind], "\(id) of kind \(kind)")
      // The same request again is the same job.
      #expect(try patient.createJob(specs[kind], idempotencyKey: key)["id"]?.string == id)
    }
    #expect(try Set(patient.jobs(limit: 10_000).compactMap { $0["id"]?.string }).count == kills + specs.count)
    // Every dataset is there with what was sent.
    for (id, sha256) in told.datasets {
      let found = try patient.dataset(id, waitSeconds: 60)
      #expect(found["state"] == "ready" && found["sha256"]?.string == sha256, "\(found.text)")
    }
    #expect(try patient.datasets(limit: 10_000).count == told.datasets.count + 1)
    // The campaign's theta.
    let deadline = ContinuousClock.now + .seconds(120)
    while try patient.campaign(campaign, waitSeconds: 10)["state"] != "succeeded" {
      try #require(
        ContinuousClock.now < deadline, "\((try? patient.campaign(campaign))?.text ?? "")\n\(server.log.suffix(4000))")
    }
    let newest = try #require(try patient.campaignThetas(campaign).first)
    let file = server.folder.file("theta")
    _ = try patient.downloadTheta(
      campaign: campaign, version: try #require(newest["version"]?.integer), to: file,
      sha256: try #require(newest["sha256"]?.string))
    #expect(newest["version"] == 120)
    #expect(try Theta(safetensors: Data(contentsOf: file)).values == expectedTheta)
    // Events have neither gaps nor doubles, as stored and as streamed over all breaks.
    for (id, streamed) in try readers.all() {
      let numbers = try numbers { after in
        try id == campaign
          ? patient.events(campaign: id, after: after) : patient.events(job: id, after: after)
      }
      #expect(numbers == Array(1...numbers.count), "\(id)")
      #expect(streamed == numbers, "\(id)")
    }
  }

  /// The numbers of all stored events, page by page.
  private func numbers(_ page: (_ after: Int) throws -> [JSON]) throws -> [Int] {
    var all: [Int] = []
    while true {
      let more = try page(all.last ?? 0).compactMap { $0["seq"]?.integer }
      if more.isEmpty { return all }
      all += more
    }
  }

  /// What the trainings come to when nothing happens to them.
  private func undisturbed(_ specs: [JSON], _ client: APIClient, _ folder: Folder) throws -> [TrainingOutcome] {
    let ids = try specs.map { try #require(try client.createJob($0)["id"]?.string) }
    return try ids.map { id in
      let deadline = ContinuousClock.now + .seconds(120)
      var job = try client.job(id)
      while job["state"] != "succeeded" {
        try #require(ContinuousClock.now < deadline && job["state"] != "failed", "\(job.text)")
        job = try client.job(id, waitSeconds: 10)
      }
      #expect(job["attempt"] == 1)
      let outcome = try TrainingOutcome(job: id, client, folder: folder)
      #expect(outcome.hasEveryStepOnce(Self.steps))
      return outcome
    }
  }

  /// A job once it has ended.
  private func ended(_ id: String, _ client: APIClient, _ server: TestServer) throws -> JSON {
    let deadline = ContinuousClock.now + .seconds(180)
    while true {
      let job = try client.job(id, waitSeconds: 10)
      if job["state"]?.string.flatMap(JobState.init)?.isTerminal == true { return job }
      try #require(ContinuousClock.now < deadline, "\(job.text)\n\(server.log.suffix(4000))")
    }
  }

  // MARK: Clients

  /// Submits a job for each kill from a thread of its own, each until it is acknowledged.
  private func beginSubmitting(
    _ count: Int, _ specs: [JSON], _ client: APIClient, _ acknowledged: Guarded<Acknowledged>
  ) {
    Thread {
      for number in 0..<count {
        let key = "job-\(number)"
        do {
          let job = try client.createJob(specs[number % specs.count], idempotencyKey: key)
          acknowledged.withLock { $0.jobs[key] = job["id"]?.string }
        } catch {
          acknowledged.withLock { $0.failures.append("\(key): \(error)") }
        }
        // Spread over the kills.
        usleep(200_000)
      }
      acknowledged.withLock { $0.isDone += 1 }
    }.start()
  }

  /// Uploads tables, each another one.
  private func beginUploading(
    _ count: Int, _ client: APIClient, _ folder: Folder, _ acknowledged: Guarded<Acknowledged>
  ) {
    Thread {
      for number in 0..<count {
        do {
          // Larger than what stays in memory, so that it is on its way for a while.
          let path = try folder.write("table-\(number).csv", SampleData.csv(rows: 35_000 + number))
          let made = try client.createDataset(
            name: "table \(number)", options: DatasetOptions(format: .csv), files: [path])
          let sha256 = SHA256.hexadecimal(try Data(contentsOf: URL(fileURLWithPath: path)))
          if let id = made["id"]?.string { acknowledged.withLock { $0.datasets[id] = sha256 } }
        } catch {
          acknowledged.withLock { $0.failures.append("table \(number): \(error)") }
        }
        usleep(200_000)
      }
      acknowledged.withLock { $0.isDone += 1 }
    }.start()
  }

  // MARK: Kills

  /// Kills one of a kind; false if there is none at the moment.
  private func strike(_ victim: Victim, _ server: TestServer, _ dice: inout Dice) -> Bool {
    switch victim {
    case .server:
      server.kill9()
      return true
    case .worker:
      let workers = server.workers.sorted()
      guard !workers.isEmpty else { return false }
      return kill(workers[dice.roll(workers.count)], SIGKILL) == 0
    case .database:
      guard let postmaster = Self.postmaster(server) else { return false }
      return kill(postmaster, SIGKILL) == 0
    case .backend:
      guard let postmaster = Self.postmaster(server) else { return false }
      let backends = Self.children(of: postmaster)
      guard !backends.isEmpty else { return false }
      return kill(backends[dice.roll(backends.count)], SIGKILL) == 0
    }
  }

  private static func postmaster(_ server: TestServer) -> pid_t? {
    let file = server.data.appendingPathComponent("postgres/data/postmaster.pid")
    guard let text = try? String(contentsOf: file, encoding: .utf8),
      let id = text.split(separator: "\n").first.flatMap({ pid_t($0) }),
      (try? String(contentsOfFile: "/proc/\(id)/comm", encoding: .utf8)) == "postgres\n"
    else { return nil }
    return id
  }

  private static func children(of parent: pid_t) -> [pid_t] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
    return names.compactMap(pid_t.init).sorted().filter { id in
      // "123 (postgres) S 99 ...": the parent comes after the state.
      guard let stat = try? String(contentsOfFile: "/proc/\(id)/stat", encoding: .utf8),
        let end = stat.lastIndex(of: ")")
      else { return false }
      return stat[end...].split(separator: " ").dropFirst(2).first.flatMap { pid_t($0) } == parent
    }
  }
}

/// Streams of events that are read over all breaks, with the numbers that they brought.
private final class Readers {
  private let client: APIClient
  private var followers: [String: EventFollower] = [:]

  init(_ client: APIClient) { self.client = client }

  deinit {
    for follower in followers.values { follower.stop() }
  }

  func follow(job id: String) {
    if followers[id] == nil { followers[id] = EventFollower(client, job: id) }
  }

  func follow(campaign id: String) { followers[id] = EventFollower(client, campaign: id) }

  /// Waits for the end of each stream; the numbers of its events in the order in which they came.
  func all() throws -> [String: [Int]] {
    try followers.mapValues { follower in
      let deadline = ContinuousClock.now + .seconds(60)
      var events: [EventFollower.Event] = []
      while events.last?.name != "end" {
        try #require(ContinuousClock.now < deadline, "\(events.suffix(3)) \(follower.trouble.map { "\($0)" } ?? "")")
        events += try follower.take(seconds: 1)
      }
      return events.compactMap(\.sequence)
    }
  }
}
