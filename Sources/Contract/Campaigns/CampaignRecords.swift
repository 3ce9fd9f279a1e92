// What a campaign leaves behind beside its phases: events, stored versions of theta, and its outer steps as curves.
import Foundation

/// Something that happened to a campaign.
public struct CampaignEvent: Sendable, Hashable {
  public enum Kind: String, Sendable, CaseIterable {
    case state, attempt, phase, evaluation, checkpoint, warning
  }
  /// From 1, without gaps.
  public var sequence: Int
  public var at: Timestamp
  public var kind: Kind
  public var message: String
  public var data: JSON

  public init(sequence: Int, at: Timestamp, kind: Kind, message: String, data: JSON) {
    self.sequence = sequence
    self.at = at
    self.kind = kind
    self.message = message
    self.data = data
  }

  public var json: JSON {
    [
      "seq": .integer(sequence), "at": .time(at), "type": .string(kind.rawValue), "message": .string(message),
      "data": data,
    ]
  }
}

/// A version of theta that is stored.
public struct CampaignTheta: Sendable, Hashable {
  /// Outer steps that made it.
  public var version: Int
  /// Of its file.
  public var sha256: String
  public var bytes: Int
  /// Why it stays, such as `phase`; nil where it may be deleted later.
  public var kept: String?
  public var createdAt: Timestamp

  public init(version: Int, sha256: String, bytes: Int, kept: String?, createdAt: Timestamp) {
    self.version = version
    self.sha256 = sha256
    self.bytes = bytes
    self.kept = kept
    self.createdAt = createdAt
  }

  public var json: JSON {
    [
      "version": .integer(version), "sha256": .string(sha256), "bytes": .integer(bytes), "kept": .optional(kept),
      "created_at": .time(createdAt),
    ]
  }
}

/// Outer steps of a campaign, several in one row where there are many.
public struct CampaignSteps: Sendable, Hashable {
  /// Consecutive outer steps.
  public struct Row: Sendable, Hashable {
    /// Of the theta that the last of them made.
    public var version: Int
    /// The phase of the last.
    public var phase: Int
    /// Means over the steps that have the value; nil where none has.
    public var meanLoss: Double?
    public var surviving: Double
    public var gradientNorm: Double?
    public var updateNorm: Double?
    public var clipShare: Double?
    /// Of the last step.
    public var learningRate: Double?
    /// Outer steps that theta had moved on since a result's window began, on average.
    public var staleness: Double?
    /// Sums.
    public var discarded: Int
    public var innerSteps: Int
    public var wallMilliseconds: Int

    public init(
      version: Int, phase: Int, meanLoss: Double?, surviving: Double, gradientNorm: Double?, updateNorm: Double?,
      clipShare: Double?, learningRate: Double?, staleness: Double?, discarded: Int, innerSteps: Int,
      wallMilliseconds: Int
    ) {
      self.version = version
      self.phase = phase
      self.meanLoss = meanLoss
      self.surviving = surviving
      self.gradientNorm = gradientNorm
      self.updateNorm = updateNorm
      self.clipShare = clipShare
      self.learningRate = learningRate
      self.staleness = staleness
      self.discarded = discarded
      self.innerSteps = innerSteps
      self.wallMilliseconds = wallMilliseconds
    }
  }
  public var rows: [Row]
  /// Outer steps in each row but perhaps the first and the last: a power of two.
  public var stride: Int
  /// Outer steps in the range that was asked for.
  public var total: Int

  /// How many rows may be asked for.
  public static let rowsMaxRange = 1...10_000

  public init(rows: [Row], stride: Int, total: Int) {
    self.rows = rows
    self.stride = stride
    self.total = total
  }

  /// The rows as columns.
  public var json: JSON {
    func numbers(_ value: (Row) -> Double?) -> JSON { .array(rows.map { value($0).map(JSON.finite) ?? .null }) }
    func integers(_ value: (Row) -> Int) -> JSON { .array(rows.map { .integer(value($0)) }) }
    return [
      "object": "campaign_steps", "stride": .integer(stride), "total": .integer(total),
      "version": integers(\.version), "phase": integers(\.phase), "mean_loss": numbers(\.meanLoss),
      "surviving": numbers(\.surviving), "gradient_norm": numbers(\.gradientNorm),
      "update_norm": numbers(\.updateNorm), "clip_share": numbers(\.clipShare),
      "learning_rate": numbers(\.learningRate), "staleness": numbers(\.staleness),
      "discarded": integers(\.discarded), "inner_steps": integers(\.innerSteps),
      "wall_ms": integers(\.wallMilliseconds),
    ]
  }
}
