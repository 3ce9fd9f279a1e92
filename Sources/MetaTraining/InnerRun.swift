// Plain inner trainings without perturbation: what a theta, or a hand-designed optimizer, does on a task.
import Compute
import Learning

/// Unperturbed runs of inner tasks, for judging.
public enum InnerRun {
  /// The raw loss of every step, before its update.
  ///
  /// - Parameter horizon: what the optimizer is told of the time; nil plans for all steps.
  public static func curve(
    _ task: InnerTask, theta: Theta?, steps: Int, seed: Int, horizon: Horizon? = nil
  ) -> [Float] {
    let horizon = horizon ?? Horizon(steps: steps)
    let lane = InnerLane(task)
    let member = Member(lane)
    let buffer = theta?.aligned()
    let pointer = buffer.map { UnsafePointer($0.pointer) }
    // Tags of their own keep these runs apart from everything that trains a theta.
    let key = RandomKey(seed: UInt64(seed)).derive(11, 0, 0)
    lane.select(variant: seed % task.variants.count)
    lane.reset(member, initial: key.derive(4, 0, 0), episode: key.derive(6, 0, 0), theta: pointer)
    let batches = key.derive(7, 0, 0)
    return (0..<steps).map { step in
      lane.drawBatch(batches.derive(8, UInt32(step), 0))
      if horizon.restarts(at: step) { lane.restart(member, theta: pointer) }
      let told = horizon.at(step)
      return lane.step(member, theta: pointer, iteration: told.iteration, totalSteps: told.totalSteps, at: step)
    }
  }

  /// The mean of ``curve(_:theta:steps:seed:horizon:)`` over seeds 0 ..< seeds.
  public static func meanCurve(_ task: InnerTask, theta: Theta?, steps: Int, seeds: Int) -> [Float] {
    var mean = [Float](repeating: 0, count: steps)
    for seed in 0..<seeds {
      for (step, loss) in curve(task, theta: theta, steps: steps, seed: seed).enumerated() {
        mean[step] += loss / Float(seeds)
      }
    }
    return mean
  }
}
