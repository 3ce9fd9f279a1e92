// When a failed call is made again. APIClient.swift asks; time comes from the caller, so tests need no clock.

/// How long a call is tried: exponential back-off up to a deadline.
public struct RetryPolicy: Sendable, Hashable {
  /// Pause before the second try, in seconds.
  public var firstDelaySeconds: Double
  /// Longest pause between tries, in seconds.
  public var delaySecondsMax: Double
  /// Time from the first try after which no further one is begun, in seconds; 0 means one try.
  public var deadlineSeconds: Double

  /// - Parameters:
  ///   - firstDelaySeconds: default 0.1.
  ///   - delaySecondsMax: default 2.
  ///   - deadlineSeconds: default 10.
  public init(firstDelaySeconds: Double = 0.1, delaySecondsMax: Double = 2, deadlineSeconds: Double = 10) {
    precondition(firstDelaySeconds > 0 && delaySecondsMax >= firstDelaySeconds, "delays must be positive and rising")
    self.firstDelaySeconds = firstDelaySeconds
    self.delaySecondsMax = delaySecondsMax
    self.deadlineSeconds = deadlineSeconds
  }

  /// One try, no more.
  public static let never = RetryPolicy(deadlineSeconds: 0)

  /// The pause before the next try, or nil when the call has failed for good.
  ///
  /// - Parameters:
  ///   - failures: tries that failed so far, at least 1.
  ///   - elapsedSeconds: time since the first try began.
  ///   - wishedSeconds: what the server asked for by `Retry-After`; a wish beyond the deadline ends the tries.
  public func delaySeconds(failures: Int, elapsedSeconds: Double, wishedSeconds: Double? = nil) -> Double? {
    var delay = firstDelaySeconds
    for _ in 1..<max(1, min(failures, 64)) { delay = min(delay * 2, delaySecondsMax) }
    delay = max(delay, wishedSeconds ?? 0)
    return elapsedSeconds + delay <= deadlineSeconds ? delay : nil
  }
}
