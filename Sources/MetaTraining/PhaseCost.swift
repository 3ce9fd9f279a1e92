// What the inner tasks of a phase cost on this machine: a few steps of each are run and timed, with the optimizer that the
// campaign trains. Contract's CampaignPlan makes a plan of it.
import Compute
import Contract
import Foundation
import Learning

extension PhaseProblem {
  /// The median seconds of an inner step of each task, on one core, by the entries of the phase.
  ///
  /// - Parameters:
  ///   - seconds: how long each task is run, about.
  ///   - measuredMax: of each entry at most so many tasks are run; the others are taken to cost their mean.
  public func taskCosts(within seconds: Double = 0.05, measuredMax: Int = 8) throws -> [[CampaignPlan.TaskCost]] {
    let theta = try Self.initialTheta(of: campaign).aligned()
    var first = 0
    return try phase.tasks.enumerated().map { place, entry in
      // How many tasks an entry stands for does not hang on what is drawn.
      let count = try TaskRegistry.standard.configs(
        of: entry.task, path: "/tasks/\(place)", key: RandomKey(seed: 0)
      ).count
      let own = tasks[first..<first + count]
      first += count
      let measured = own.prefix(measuredMax).map { Self.stepSeconds($0, theta: theta, within: seconds) }
      let mean = measured.reduce(0, +) / Double(max(1, measured.count))
      return own.enumerated().map { index, task in
        CampaignPlan.TaskCost(
          secondsPerStep: index < measured.count ? measured[index] : mean, parameters: task.layout.elements)
      }
    }
  }

  private static func stepSeconds(_ task: InnerTask, theta: AlignedBuffer, within seconds: Double) -> Double {
    let lane = InnerLane(task)
    let member = Member(lane)
    let key = RandomKey(seed: 3)
    let pointer = UnsafePointer(theta.pointer)
    lane.select(variant: 0)
    lane.reset(member, initial: key, episode: key, theta: pointer)
    let clock = ContinuousClock()
    let end = clock.now + .seconds(seconds)
    var times: [Double] = []
    var step = 0
    repeat {
      let elapsed = clock.measure {
        lane.drawBatch(key.derive(8, UInt32(step), 0))
        _ = lane.step(member, theta: pointer, iteration: step, totalSteps: 1 << 20)
      }
      // The first one touches its memory for the first time.
      if step > 0 || elapsed > .seconds(seconds) { times.append(elapsed / .seconds(1)) }
      step += 1
    } while clock.now < end && step < 10_000 || times.isEmpty
    times.sort()
    return times[times.count / 2]
  }
}
