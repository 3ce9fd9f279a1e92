// Tests for Client/RetryPolicy.swift.
import Testing

@testable import Client

struct RetryPolicyTests {
  @Test("pauses double up to the longest one")
  func doubling() {
    let policy = RetryPolicy(firstDelaySeconds: 0.5, delaySecondsMax: 3, deadlineSeconds: 100)
    #expect((1...5).map { policy.delaySeconds(failures: $0, elapsedSeconds: 0) } == [0.5, 1, 2, 3, 3])
  }

  @Test("no try is begun after the deadline")
  func deadline() {
    let policy = RetryPolicy(firstDelaySeconds: 1, delaySecondsMax: 1, deadlineSeconds: 10)
    #expect(policy.delaySeconds(failures: 3, elapsedSeconds: 9) == 1)
    #expect(policy.delaySeconds(failures: 3, elapsedSeconds: 9.1) == nil)
    #expect(RetryPolicy.never.delaySeconds(failures: 1, elapsedSeconds: 0) == nil)
  }

  @Test("a server's Retry-After lengthens the pause but not the deadline")
  func retryAfter() {
    let policy = RetryPolicy(firstDelaySeconds: 0.1, delaySecondsMax: 2, deadlineSeconds: 10)
    #expect(policy.delaySeconds(failures: 1, elapsedSeconds: 1, wishedSeconds: 5) == 5)
    #expect(policy.delaySeconds(failures: 1, elapsedSeconds: 1, wishedSeconds: 30) == nil)
  }
}
