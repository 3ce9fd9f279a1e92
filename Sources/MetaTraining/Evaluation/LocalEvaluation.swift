// Runs an evaluation in one process: trainings are handed out to threads in the order of the schedule, results go to the
// archive as they come. The number of threads changes the time, not the outcome.
import Compute
import Contract
import Foundation
import Learning
import Synchronization

/// All trainings of an evaluation on this machine.
public final class LocalEvaluation: Sendable {
  /// A learned optimizer's weights with the hash of their file.
  public struct Weights: Sendable {
    public let theta: Theta
    public let sha256: String

    public init(theta: Theta, sha256: String) {
      self.theta = theta
      self.sha256 = sha256
    }
  }

  /// How far it is.
  public struct Progress: Sendable {
    public let ended: Int
    public let runs: Int
    /// How many of them came from the archive, and how many failed or diverged.
    public let archived: Int
    public let failed: Int
    public let latest: PlannedRun
  }

  public let schedule: EvaluationSchedule
  private let weights: [Int: Weights]
  private let tasks: TaskCache
  private let dataHashes: [String: String]
  private let archive: EvaluationArchive?
  private let threads: Int
  private let level: CPULevel

  /// - Parameters:
  ///   - weights: by place in the spec's optimizers; each learned one needs its own.
  ///   - dataHashes: a hash of the content of each data set given.
  public init(
    _ schedule: EvaluationSchedule, weights: [Int: Weights], data: TaskDataSets, dataHashes: [String: String] = [:],
    archive: EvaluationArchive? = nil, threads: Int, level: CPULevel
  ) {
    self.schedule = schedule
    self.weights = weights
    tasks = TaskCache(data: data, level: level)
    self.dataHashes = dataHashes
    self.archive = archive
    self.threads = threads
    self.level = level
  }

  /// What the threads of one run share.
  private final class Board: Sendable {
    struct State {
      var outcomes: [RunOutcome?]
      var ended = 0, archived = 0, failed = 0
      var error: (any Error)?
    }
    let state: Mutex<State>
    let isStopped = Atomic<Bool>(false)

    init(_ count: Int) { state = Mutex(State(outcomes: [RunOutcome?](repeating: nil, count: count))) }

    var stopped: Bool { isStopped.load(ordering: .relaxed) }
    func stop() { isStopped.store(true, ordering: .relaxed) }
  }

  /// Trains all that the archive does not have.
  ///
  /// - Parameter progress: called after each training, by one thread at a time; false stops soon.
  /// - Returns: an outcome for each training of the schedule; nil where it was stopped.
  /// - Throws: what the archive's folder says.
  public func run(progress: @escaping @Sendable (Progress) -> Bool) throws -> [RunOutcome]? {
    let runs = schedule.runs
    let board = Board(runs.count)
    let lanes = LaneGroup(count: threads)
    defer { lanes.stop() }
    lanes.run(runs.count) { [self] _, index in
      if board.stopped { return }
      do {
        let (outcome, isArchived) = try outcome(runs[index]) { board.stopped }
        guard let outcome else { return }
        board.state.withLock { state in
          state.outcomes[index] = outcome
          state.ended += 1
          state.archived += isArchived ? 1 : 0
          if case .measured(let result) = outcome, result.ending == .finished {} else { state.failed += 1 }
          let now = Progress(
            ended: state.ended, runs: runs.count, archived: state.archived, failed: state.failed, latest: runs[index])
          if !progress(now) { board.stop() }
        }
      } catch {
        board.state.withLock { $0.error = $0.error ?? error }
        board.stop()
      }
    }
    return try board.state.withLock { state in
      if let error = state.error { throw error }
      let outcomes = state.outcomes.compactMap { $0 }
      return outcomes.count == runs.count ? outcomes : nil
    }
  }

  /// The outcome of one training, and whether it was in the archive; nil where it was cancelled.
  private func outcome(
    _ planned: PlannedRun, isCancelled: () -> Bool
  ) throws -> (outcome: RunOutcome?, isArchived: Bool) {
    let weights = planned.weights.flatMap { self.weights[$0] }
    let key = planned.key(weights: weights?.sha256, data: dataHashes, level: level)
    if let known = archive?[key] { return (.measured(known), true) }
    switch tasks.measure(planned, theta: weights?.theta, isCancelled: isCancelled) {
    case .measured(let result)?:
      try archive?.add(result, key: key)
      return (.measured(result), false)
    case let outcome: return (outcome, false)
    }
  }
}

/// The tasks built last, so that the trainings of one do not build it again.
public final class TaskCache: Sendable {
  private let builder: TaskBuilder
  private let level: CPULevel
  private let built = Mutex<[(id: String, task: TrainingTask)]>([])

  /// Tasks are small beside their data, which the data sets keep.
  private static let countMax = 8

  public init(data: TaskDataSets, level: CPULevel) {
    builder = TaskBuilder(data: data, level: level)
    self.level = level
  }

  /// One training; a task that cannot be built or trained is a failure with its reason.
  ///
  /// - Returns: nil where it was cancelled.
  public func measure(_ planned: PlannedRun, theta: Theta?, isCancelled: () -> Bool) -> RunOutcome? {
    do {
      let task = try planned.join(task(planned.config), theta: theta, level: level)
      return .measured(try planned.run.measure(task, theta: theta, isCancelled: isCancelled))
    } catch EvaluationRun.Failure.cancelled {
      return nil
    } catch {
      return .failed("\(error)")
    }
  }

  private func task(_ config: TaskConfig) throws -> TrainingTask {
    let id = config.id
    return try built.withLock { built in
      if let place = built.firstIndex(where: { $0.id == id }) {
        let entry = built.remove(at: place)
        built.append(entry)
        return entry.task
      }
      let task = try builder.build(config)
      built.append((id, task))
      if built.count > Self.countMax { built.removeFirst() }
      return task
    }
  }
}
