// What an optimizer is told of time when a run is longer, or shorter, than it was planned.
import Learning
import Testing

struct HorizonTests {
  private func told(_ horizon: Horizon) -> [[Int]] {
    (0..<horizon.steps).map { [horizon.at($0).iteration, horizon.at($0).totalSteps, horizon.restarts(at: $0) ? 1 : 0] }
  }

  @Test("a run as long as its plan, or shorter, is told the plan", arguments: Horizon.Continuation.allCases)
  func within(continuation: Horizon.Continuation) {
    #expect(told(Horizon(steps: 3, continuation: continuation)) == [[0, 3, 0], [1, 3, 0], [2, 3, 0]])
    #expect(told(Horizon(steps: 2, planned: 5, continuation: continuation)) == [[0, 5, 0], [1, 5, 0]])
  }

  @Test("beyond the plan, naive counts on, increase plans for the whole, reset starts anew each time")
  func beyond() {
    #expect(
      told(Horizon(steps: 5, planned: 2, continuation: .naive))
        == [[0, 2, 0], [1, 2, 0], [2, 2, 0], [3, 2, 0], [4, 2, 0]])
    #expect(
      told(Horizon(steps: 5, planned: 2, continuation: .increase))
        == [[0, 2, 0], [1, 2, 0], [2, 5, 0], [3, 5, 0], [4, 5, 0]])
    #expect(
      told(Horizon(steps: 5, planned: 2, continuation: .reset))
        == [[0, 2, 0], [1, 2, 0], [0, 2, 1], [1, 2, 0], [0, 2, 1]])
  }
}
