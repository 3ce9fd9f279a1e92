// One slot: lease a piece of work, run it, report how it ended. Runs on its own thread; its compute never touches
// Swift's cooperative pool.
import Compute
import Contract
import Foundation
import Learning
import Logging
import Store

/// A thread's loop over leased work.
struct Slot: Sendable {
  let worker: String
  let store: Store
  let configuration: WorkerConfiguration
  let cache: DatasetCache
  let evaluations: EvaluationRunner
  let memory: GroupMemory
  let level: CPULevel
  let surroundings: CampaignSurroundings
  var logger: Logger { surroundings.logger }
  var stop: StopSignal { surroundings.stop }

  /// How long a slot asks for no work after its disk failed it.
  private static let storagePauseSeconds = 5.0

  func run() {
    let groups = GroupRunner(
      worker: worker, store: store, memory: memory, configuration: configuration, engine: surroundings.engine,
      logger: logger, stop: stop)
    // Windows of groups may take a moment each: the queue is not asked after every one, unless something is new there.
    var asked: (count: Int, at: ContinuousClock.Instant)?
    while !stop.isRaised {
      let seen = stop.count()
      do {
        let work = stop.count([.work])
        if asked.map({ $0.count != work || ContinuousClock.now - $0.at >= .seconds(Self.queueSeconds) }) ?? true {
          if try runQueued() { continue }
          asked = (work, .now)
        }
        if try groups.runSome() { continue }
      } catch {
        logger.warning("cannot ask for work; will try again", metadata: ["error": "\(error)"])
        stop.pause(seconds: min(1, configuration.pollSeconds))
      }
      let began = ContinuousClock.now
      stop.sleep(seconds: configuration.pollSeconds, since: seen)
      groups.idled(seconds: (ContinuousClock.now - began) / .seconds(1))
    }
  }

  /// How often a slot that runs groups looks for other work.
  private static let queueSeconds = 0.5

  /// Does a piece of the queue's work; false if there is none. Campaigns come after everything else.
  private func runQueued() throws -> Bool {
    let claim = try store.claim(
      worker: worker, kinds: WorkKind.forSlots, cpuLevel: level.rawValue, leaseSeconds: configuration.leaseSeconds)
    if let claim {
      run(claim)
      return true
    }
    let campaign = try store.claimCampaign(
      worker: worker, kind: .campaign, engine: surroundings.engine, leaseSeconds: configuration.leaseSeconds)
    guard let campaign else { return false }
    CampaignFaults.handle(campaign, surroundings) { try LocalCampaignRun(campaign, surroundings).run() }
    return true
  }

  private func run(_ claim: Claim) {
    do {
      switch claim.work {
      case .validation(let dataset): try validate(dataset, claim.lease)
      case .modelValidation(let model): try validate(model, claim.lease)
      case .optimizerValidation(let optimizer): try validate(optimizer, claim.lease)
      case .evaluation: try evaluations.advance(claim.lease)
      case .evaluationRun: try evaluations.train(claim.lease)
      case .job(let job, let dataset, let optimizer, let resume):
        try TrainingRun(
          job: job, dataset: dataset, optimizer: optimizer, lease: claim.lease, store: store, cache: cache,
          configuration: configuration, level: level, logger: logger, stop: stop
        ).run(from: resume)
      }
    } catch StoreError.staleLease {
      // Somebody else has the work by now; whatever we had is superseded.
      logger.notice("lost the lease; left the work to its new owner", metadata: claim.lease.metadata)
    } catch let fault as StorageError {
      // This machine's disk is at fault, not the work: it waits for a better moment, or another machine, uncounted.
      logger.error("cannot work here now", metadata: claim.lease.metadata.merging(["error": "\(fault)"]) { $1 })
      do { try store.release(lease: claim.lease) } catch {
        logger.warning(
          "cannot give the lease back; it will expire",
          metadata: claim.lease.metadata.merging(["error": "\(error)"]) { $1 })
      }
      stop.pause(seconds: Self.storagePauseSeconds)
    } catch {
      logger.error("work failed", metadata: claim.lease.metadata.merging(["error": "\(error)"]) { $1 })
      // Given back at once, so that another worker tries; the store bounds the attempts.
      do { try store.abandon(lease: claim.lease, message: "\(error)") } catch {
        logger.warning(
          "cannot give the lease back; it will expire",
          metadata: claim.lease.metadata.merging(["error": "\(error)"]) { $1 })
      }
    }
  }

  private func validate(_ dataset: Dataset, _ lease: Lease) throws {
    do {
      let keeper = LeaseKeeper(store: store, lease: lease, seconds: configuration.leaseSeconds / 3)
      defer { keeper.stop() }
      let built = try cache.build(dataset)
      try store.finishValidation(lease: lease, outcome: .ready(schema: built.schema, preview: built.preview))
    } catch let fault as DataFault {
      let problems = fault.problems.prefix(DatasetProblem.countMax).map {
        DatasetProblem(row: $0.row, column: $0.column, reason: $0.reason)
      }
      try store.finishValidation(lease: lease, outcome: .rejected(Array(problems)))
    }
  }
}

extension Slot {
  private func validate(_ model: ModelDefinition, _ lease: Lease) throws {
    guard case .file(let file) = model.source else { preconditionFailure("only files are validated") }
    let keeper = LeaseKeeper(store: store, lease: lease, seconds: configuration.leaseSeconds / 3)
    defer { keeper.stop() }
    let outcome: ModelOutcome
    do {
      outcome = .ready(try cache.withFile(sha256: file.sha256) { try ONNXImport($0, level: level) }.summary)
    } catch let fault as FormatError { outcome = .rejected(fault.description) }
    try store.finishModelValidation(lease: lease, outcome: outcome)
  }
}

extension Slot {
  private func validate(_ optimizer: LearnedOptimizerRecord, _ lease: Lease) throws {
    let outcome: OptimizerOutcome
    do {
      let data = try cache.withFile(sha256: optimizer.sha256) { $0 }
      var theta = try Theta(file: data, as: optimizer.name)
      theta = try theta.with(constants: optimizer.constants)
      let isFlax = Theta.isFlax(data)
      theta.provenance.merge(optimizer.provenanceTexts) { $1 }
      if let horizon = theta.provenance["horizon_steps"], LearnedOptimizerRecord.horizonSteps(horizon) == nil {
        throw FormatError(
          format: "theta", place: "metadata horizon_steps",
          reason: "expected a number from 1 to 1000000000, got \"\(horizon.prefix(64))\"")
      }
      theta.provenance["source_format"] = isFlax ? "flax" : "safetensors"
      let own = try store.putBlob(Array(theta.safetensors()))
      // A file of the reference implementations is given back as it came.
      let flax = try isFlax ? store.putBlob(Array(data)) : store.putBlob(Array(theta.flax()))
      outcome = .ready(
        theta: own, flax: flax, parameterCount: theta.schema.layout.elements,
        provenance: .object(theta.provenance.mapValues(JSON.string)))
    } catch let fault as FormatError {
      outcome = .rejected(fault.description)
    } catch let faults as SpecError {
      outcome = .rejected("config: \(faults)")
    }
    try store.finishOptimizerValidation(lease: lease, outcome: outcome)
  }
}

extension LearnedOptimizerRecord {
  /// The texts of its provenance, as a file of weights keeps them.
  fileprivate var provenanceTexts: [String: String] {
    guard case .object(let members) = provenance else { return [:] }
    return members.compactMapValues(\.string)
  }
}

/// Renews a lease from a thread of its own while work that reports no progress goes on.
// @unchecked: `isStopped` and `wasLost` are guarded by the condition.
final class LeaseKeeper: @unchecked Sendable {
  private let condition = NSCondition()
  private var isStopped = false
  private var wasLost = false

  /// Whether the lease was found to be held no more: the work was cancelled, or somebody else has it.
  var isLost: Bool {
    condition.lock()
    defer { condition.unlock() }
    return wasLost
  }

  init(store: Store, lease: Lease, seconds: Double) {
    let thread = Thread { [self] in
      condition.lock()
      while !isStopped {
        if condition.wait(until: Date(timeIntervalSinceNow: seconds)) || isStopped { continue }
        condition.unlock()
        var isGone = false
        do { try store.renew(lease: lease) } catch StoreError.staleLease { isGone = true } catch {
          // The database is away for now; the next renewal may reach it.
        }
        condition.lock()
        if isGone {
          wasLost = true
          break
        }
      }
      condition.unlock()
    }
    thread.name = "lease"
    thread.start()
  }

  func stop() {
    condition.lock()
    isStopped = true
    condition.signal()
    condition.unlock()
  }
}

extension Lease {
  /// What a log line says of the work: its id under its kind, and the attempt.
  var metadata: Logger.Metadata { [kind.rawValue: "\(subject)", "attempt": .stringConvertible(attempt)] }
}
