// Horizon: how many updates a run was planned for, and what an optimizer that plans is told once the run goes on beyond
// that. Learned optimizers shape their steps by t/n; none of the three ways is as good as the right n from the start
// (Metz et al. 2022, arXiv 2211.09760, compare them for VeLO).
import Compute

/// A plan of updates and how a longer run continues.
public struct Horizon: Sendable, Hashable {
  /// What follows the last planned update.
  public enum Continuation: String, Sendable, CaseIterable {
    /// t runs on past n: the plan stays as it was.
    case naive
    /// n becomes the run's full length from there on; t and the state stay.
    case increase
    /// t starts at 0 again with a fresh state of the optimizer; the parameters stay. So after each n updates.
    case reset
  }

  /// Updates planned for at first, n; at least 1.
  public let planned: Int
  /// Steps that the run takes in truth.
  public let steps: Int
  public let continuation: Continuation

  /// - Parameter planned: nil plans for the whole run, the usual case.
  public init(steps: Int, planned: Int? = nil, continuation: Continuation = .increase) {
    precondition(planned ?? 1 >= 1, "Horizon: a plan for \(planned ?? 0) updates; expected at least 1")
    self.planned = planned ?? max(steps, 1)
    self.steps = steps
    self.continuation = continuation
  }

  /// What the optimizer is told at a step of the run, from 0.
  public func at(_ step: Int) -> (iteration: Int, totalSteps: Int) {
    guard step >= planned else { return (step, planned) }
    switch continuation {
    case .naive: return (step, planned)
    case .increase: return (step, max(steps, planned))
    case .reset: return (step % planned, planned)
    }
  }

  /// Whether the optimizer's state is made anew before this step.
  public func restarts(at step: Int) -> Bool { continuation == .reset && step > 0 && step % planned == 0 }
}
