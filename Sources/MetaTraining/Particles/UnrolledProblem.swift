// UnrolledProblem: what a particle unrolls. Trainings of inner tasks are one kind (InnerLane); systems whose gradients are
// known in closed form are others. Particles know no more of either than this.
import Compute
import Contract

/// One thread's memory for unrolling something that has a state, parameters theta and a loss at every step.
///
/// A lane keeps nothing from one call to the next but the variant and the batch chosen last, so that which lane runs a
/// particle changes no bit.
protocol UnrolledProblem: AnyObject {
  /// The state of one unroll.
  associatedtype Training: AnyObject

  /// How many kinds of episodes there are; one is drawn for each.
  var variantCount: Int { get }
  /// Memory for a state.
  func makeTraining() -> Training
  /// Overwrites a state with another.
  func copy(_ training: Training, into other: Training)
  /// Makes the following calls act on that kind of episode.
  func select(variant: Int)
  /// Puts a state at the start of an episode: `initial` is the key of how it starts, `episode` of all else about it.
  func reset(_ training: Training, initial: RandomKey, episode: RandomKey, theta: UnsafePointer<Float>?)
  /// Draws what the following steps and evaluations share.
  func drawBatch(_ key: RandomKey)
  /// One step; returns the raw loss before it. Allocates nothing.
  func advance(_ training: Training, theta: UnsafePointer<Float>, iteration: Int, totalSteps: Int) -> Double
  /// The raw loss on the batch drawn last, changing nothing.
  func loss(_ training: Training, iteration: Int) -> Double
  /// Tells a training of a loss on data that it is not trained on.
  func observe(_ training: Training, validationLoss: Double)
  /// The loss as the outer problem sees it.
  func normalised(_ loss: Double) -> Double
  /// Runs steps and differentiates what they count with respect to theta, where the training begins taken as given.
  func differentiate(_ training: Training, theta: UnsafePointer<Float>, stretch: DifferentiatedStretch)
    -> StretchDerivative
}

/// Steps that are differentiated together.
struct DifferentiatedStretch {
  let iteration: Int
  let steps: Int
  let totalSteps: Int
  /// The key that steps derive their batches from.
  let batches: RandomKey
  /// How many floats theta has.
  let thetaFloats: Int
  /// What a step counts of its normalised loss, and the derivative of that.
  let counted: (_ step: Int, _ normalised: Double) -> (value: Double, derivative: Double)

  /// The key of a step's batch.
  func key(_ step: Int) -> RandomKey { batches.derive(8, UInt32(step), 0) }
}

/// What differentiating found.
struct StretchDerivative {
  /// With respect to all of theta.
  var gradient: [Double]
  /// Sum of the normalised losses.
  var lossSum = 0.0
  /// Whether all losses and derivatives were finite.
  var isFinite = true
}

extension InnerLane: UnrolledProblem {
  var variantCount: Int { task.variants.count }

  func makeTraining() -> Member { Member(self) }

  func copy(_ training: Member, into other: Member) {
    other.parameters.copy(from: training.parameters)
    other.state.copy(from: training.state)
    other.memory.copy(from: training.memory)
  }

  func advance(_ training: Member, theta: UnsafePointer<Float>, iteration: Int, totalSteps: Int) -> Double {
    Double(step(training, theta: theta, iteration: iteration, totalSteps: totalSteps))
  }

  func observe(_ training: Member, validationLoss: Double) {
    guard task.optimizer.needs.contains(.validationLoss), validationLoss.isFinite else { return }
    task.optimizer.observe(validationLoss: Float(validationLoss), state: training.state.pointer)
  }

  func normalised(_ loss: Double) -> Double { Double(normalise(Float(loss))) }
}
