// What a run has to tell since its last commit. TrainingRun fills it.
import Contract
import Learning
import Store

/// States that were stored and become part of the next commit.
struct SavedState {
  /// To go on from, after the steps that the commit tells of.
  var resume: BlobReference?
  /// To go back to, after that many steps.
  var anchor: (blob: BlobReference, step: Int)?
}

/// What happened since the last commit.
struct ProgressReport {
  private var sequence = 0
  private var firstStep = 0
  private var losses: [Float] = []
  private var chunks: [CurveChunk] = []
  private var events: [ProgressEvent] = []
  private(set) var lastMetrics: Metrics?

  init() { losses.reserveCapacity(Self.lossesMax) }

  /// Points in one commit at most; a full report is committed before its second is over.
  private static let lossesMax = 1 << 16
  /// Chunks and events in one commit at most; an evaluation adds a chunk for each measure.
  private static let chunksMax = 200
  var isFull: Bool { losses.count >= Self.lossesMax || chunks.count >= Self.chunksMax }

  mutating func add(loss: Float, step: Int) {
    if losses.isEmpty { firstStep = step }
    losses.append(loss)
    lastMetrics = nil
  }

  mutating func add(_ metrics: Metrics, step: Int) {
    for (metric, value) in metrics.ordered {
      chunks.append(CurveChunk(series: .heldOut(metric), firstStep: step, stride: 1, values: [Float(value)]))
    }
    var data = metrics.heldOutMembers
    data["step"] = .integer(step)
    events.append(
      ProgressEvent(kind: .evaluation, message: "step \(step): held-out \(metrics.text)", data: .object(data)))
    lastMetrics = metrics
  }

  mutating func add(warning: String) {
    events.append(ProgressEvent(kind: .warning, message: warning, data: [:]))
  }

  /// Everything since the last call, numbered.
  mutating func take(_ step: Int, saved: SavedState = SavedState()) -> JobProgress {
    sequence += 1
    var all = chunks
    if !losses.isEmpty {
      all.append(CurveChunk(series: .trainLoss, firstStep: firstStep, stride: 1, values: losses))
    }
    let progress = JobProgress(
      sequence: sequence, step: step, loss: losses.last, chunks: all,
      checkpoint: saved.resume.map { (blob: $0, step: step) }, anchor: saved.anchor, events: events)
    losses.removeAll(keepingCapacity: true)
    chunks.removeAll(keepingCapacity: true)
    events.removeAll(keepingCapacity: true)
    return progress
  }
}
