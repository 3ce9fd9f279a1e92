// `trainyard bench queue`: how many jobs a second the queue hands out and takes back from workers that train nothing.
// Every job is claimed and finished by the calls that workers make, and counted: none may be lost or run twice.
import ArgumentParser
import Contract
import Foundation
import Store

extension BenchCommand {
  struct Queue: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Jobs a second that are claimed and finished by workers that train nothing.",
      discussion: "Needs a database that it may fill; without one it makes a cluster of its own and deletes it.")

    @OptionGroup var database: DatabaseOptions
    @Option(help: "Jobs in the queue at the beginning.") var jobs = 20_000
    @Option(help: "Workers, each a thread with a connection.") var workers = 8
    @Flag(help: "Print one JSON object.") var json = false

    func validate() throws {
      guard (1...10_000_000).contains(jobs), (1...1000).contains(workers) else {
        throw ValidationError("--jobs must be from 1 to 10000000, --workers to 1000")
      }
    }

    func run() throws {
      try BenchCommand.withStore(database, connections: workers) { store in
        let bench = try QueueBenchmark(store)
        let submitSeconds = try bench.submit(jobs, threads: workers)
        let runSeconds = try bench.drain(workers: workers)
        let (lost, doubled) = try bench.faults()
        let rate = { (seconds: Double) in (Double(jobs) / seconds * 10).rounded() / 10 }
        let (claims, finishes) = (bench.claimSeconds, bench.finishSeconds)
        Console().show(
          [
            "command": "queue", "jobs": .integer(jobs), "workers": .integer(workers),
            "jobs_per_s": .number(rate(runSeconds)), "submits_per_s": .number(rate(submitSeconds)),
            "claim_p50_ms": .number(BenchCommand.milliseconds(claims, 0.5)),
            "claim_p99_ms": .number(BenchCommand.milliseconds(claims, 0.99)),
            "finish_p50_ms": .number(BenchCommand.milliseconds(finishes, 0.5)),
            "finish_p99_ms": .number(BenchCommand.milliseconds(finishes, 0.99)), "lost": .integer(lost),
            "doubled": .integer(doubled),
          ], asJSON: json
        ) {
          "\(Int(rate(runSeconds))) jobs/s claimed and finished by \(workers) workers, \(Int(rate(submitSeconds))) "
            + "submitted; claims p99 \(BenchCommand.milliseconds(claims, 0.99)) ms; lost \(lost), doubled \(doubled)"
        }
        guard lost == 0, doubled == 0 else {
          throw CommandFailure(.failure, "jobs were lost or run twice: that is a fault of the program")
        }
      }
    }
  }
}

/// Jobs that take no time.
// @unchecked: what changes is guarded by the lock.
private final class QueueBenchmark: @unchecked Sendable {
  private let store: Store
  private let dataset: Dataset
  private let model: BlobReference
  private let lock = NSLock()
  private var failure: (any Error)?
  private var submitted: Set<String> = []
  private var finished: [String: Int] = [:]
  private(set) var claimSeconds: [Double] = []
  private(set) var finishSeconds: [Double] = []

  private static let project = "bench"
  private static let result = TrainingResult(
    trainLoss: 1, heldOut: Metrics([.loss: 1]), steps: 1, cpuLevel: "bench")

  init(_ store: Store) throws {
    self.store = store
    dataset = try BenchCommand.makeDataset(in: store, project: Self.project)
    model = try store.putBlob(Array("no weights".utf8))
  }

  /// Queues so many jobs; returns the seconds it took.
  func submit(_ count: Int, threads: Int) throws -> Double {
    let model = ModelSpec.mlp(hidden: [4], activation: .relu)
    let spec = TrainingSpec(
      dataset: dataset.id, model: model, steps: 1, optimizer: OptimizerSpec(name: .adam))
    return try onThreads(threads) { [self] index in
      var ids: [String] = []
      for _ in stride(from: index, to: count, by: threads) {
        ids.append(
          try store.createJob(spec: spec, model: model, optimizerID: nil, project: Self.project).job.id)
      }
      lock.withLock { submitted.formUnion(ids) }
    }
  }

  /// Claims and finishes until the queue is empty; returns the seconds it took.
  func drain(workers: Int) throws -> Double {
    try onThreads(workers) { [self] index in
      let clock = ContinuousClock()
      var (ids, claims, finishes): ([String], [Double], [Double]) = ([], [], [])
      while true {
        let asked = clock.now
        guard let claim = try store.claim(worker: "bench-\(index)", kinds: [.job], leaseSeconds: 60) else { break }
        let claimed = clock.now
        try store.finishJob(lease: claim.lease, outcome: .succeeded(Self.result, model: model), last: nil)
        claims.append((claimed - asked) / .seconds(1))
        finishes.append((clock.now - claimed) / .seconds(1))
        ids.append(claim.lease.subject)
      }
      lock.withLock {
        for id in ids { finished[id, default: 0] += 1 }
        claimSeconds += claims
        finishSeconds += finishes
      }
    }
  }

  /// Jobs that were queued and are not done, and jobs that were done more than once.
  func faults() throws -> (lost: Int, doubled: Int) {
    let waiting = try store.unfinishedJobCounts(project: Self.project).values.reduce(0, +)
    return lock.withLock {
      let lost = submitted.subtracting(finished.keys).count
      return (max(lost, waiting), finished.values.reduce(0) { $0 + $1 - 1 })
    }
  }

  /// Runs `body` on so many threads at once; returns the seconds until the last has ended.
  private func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) throws -> Void) throws -> Double {
    let began = ContinuousClock.now
    let group = DispatchGroup()
    for index in 0..<count {
      group.enter()
      let thread = Thread { [self] in
        do { try body(index) } catch { lock.withLock { failure = failure ?? error } }
        group.leave()
      }
      thread.stackSize = 512 << 10
      thread.start()
    }
    group.wait()
    if let failure = lock.withLock({ failure }) { throw failure }
    return (ContinuousClock.now - began) / .seconds(1)
  }
}
