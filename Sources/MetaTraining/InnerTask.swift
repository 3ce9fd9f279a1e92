// An inner problem of meta-training: a task, or several variants of one, joined with the optimizer under training. It is
// immutable; a lane holds the memory one thread needs to run it; a member is one inner training.
import Compute
import Contract
import Learning

/// A task with what trains it.
public final class InnerTask: Sendable {
  /// Tasks of one layout that differ in what is drawn anew for each training, such as the activation; mostly one.
  public let variants: [TrainingTask]
  public let optimizer: any Optimizer
  /// Whether the optimizer is shown normalised losses.
  let showsNormalisedLoss: Bool

  /// - Throws: what `optimizer` throws, and `SpecError` where the variants' tensors differ.
  public init(variants: [TrainingTask], optimizer: (ParameterLayout) throws -> any Optimizer) throws {
    precondition(!variants.isEmpty, "InnerTask: a task needs at least one variant")
    // Names may differ: an activation with a constant of its own is a layer, and layers are named by their place.
    let shapes = variants[0].layout.tensors.map(\.shape)
    guard variants.allSatisfy({ $0.layout.tensors.map(\.shape) == shapes }) else {
      throw SpecError([
        Fault(path: "/task", reason: "the variants of \(variants[0].config.object) differ in their tensors")
      ])
    }
    self.variants = variants
    self.optimizer = try optimizer(variants[0].layout)
    showsNormalisedLoss = variants[0].augmentations.contains(.normalisedLoss)
  }

  public convenience init(_ task: TrainingTask, optimizer: (ParameterLayout) throws -> any Optimizer) throws {
    try self.init(variants: [task], optimizer: optimizer)
  }

  var layout: ParameterLayout { variants[0].layout }
}

/// One inner training: parameters as the optimizer sees them, its state, and what augmentations keep.
final class Member {
  let parameters: AlignedBuffer
  let state: AlignedBuffer
  let memory: AlignedBuffer

  /// Memory for any variant of the lane's task.
  init(_ lane: InnerLane) {
    parameters = AlignedBuffer(floats: lane.task.layout.floats)
    state = AlignedBuffer(floats: max(16, lane.task.optimizer.state.floats))
    memory = AlignedBuffer(floats: max(16, lane.memoryFloats))
  }
}

/// One thread's memory for running members of one task.
final class InnerLane {
  let task: InnerTask
  /// Floats of a member's memory.
  let memoryFloats: Int
  private let chains: [(innermost: any BatchedSource, outermost: any GradientSource)]
  private var current: (innermost: any BatchedSource, outermost: any GradientSource)
  private var variant: TrainingTask
  private var key = RandomKey(seed: 0)
  private let gradients: AlignedBuffer
  private let scratch: AlignedBuffer
  /// For optimizers that evaluate the batch elsewhere: the member's memory as the step found it, and a copy to spend.
  private let probing: (found: AlignedBuffer, spent: AlignedBuffer)?
  private var evaluation = EvaluationStep(iteration: 0, key: RandomKey(seed: 0))
  /// Memory for judging, made when it is first asked for: a copy of a member's memory, and parameters.
  private lazy var aside = (
    memory: AlignedBuffer(floats: max(16, memoryFloats)), point: AlignedBuffer(floats: task.layout.floats)
  )
  /// What differentiating keeps of a stretch's steps.
  lazy var differentiated = DifferentiatedTraining(self)
  private lazy var problem = probing.map { makeProblem($0.found, $0.spent) }

  init(_ task: InnerTask) {
    self.task = task
    chains = task.variants.map { $0.gradientSource() }
    memoryFloats = chains.map(\.outermost.memoryFloats).max()!
    current = chains[0]
    variant = task.variants[0]
    gradients = AlignedBuffer(floats: task.layout.floats)
    scratch = AlignedBuffer(floats: max(16, task.optimizer.scratchFloats))
    let floats = max(16, memoryFloats)
    probing =
      task.optimizer.needs.contains(.problem) ? (AlignedBuffer(floats: floats), AlignedBuffer(floats: floats)) : nil
  }

  /// The batch drawn last at parameters of the optimizer's choice, with what the step began with each time.
  private func makeProblem(_ found: AlignedBuffer, _ spent: AlignedBuffer) -> BatchProblem {
    // The lane keeps the problem, not the other way round.
    func loss(_ lane: InnerLane, _ parameters: UnsafePointer<Float>, _ gradients: UnsafeMutablePointer<Float>?) -> Float
    {
      spent.pointer.update(from: found.pointer, count: found.floats)
      let loss = lane.current.outermost.evaluate(
        parameters, gradients: gradients, memory: spent.pointer, step: lane.evaluation)
      return lane.task.showsNormalisedLoss ? lane.variant.normaliser(loss) : loss
    }
    return BatchProblem(
      loss: { [unowned self] in loss(self, $0, nil) }, evaluate: { [unowned self] in loss(self, $0, $1) })
  }

  /// Makes the following calls act on that variant.
  func select(variant index: Int) {
    current = chains[index]
    variant = task.variants[index]
  }

  /// Draws a batch into the plan's input memory; all members that step before the next draw use it.
  func drawBatch(_ key: RandomKey) {
    self.key = key
    current.innermost.drawBatch(key)
  }

  /// One inner step of one member on the batch drawn last. Returns the raw loss before the update.
  ///
  /// - Parameter step: the training's own step, where the optimizer counts otherwise.
  func step(
    _ member: Member, theta: UnsafePointer<Float>?, iteration: Int, totalSteps: Int, at step: Int? = nil
  ) -> Float {
    evaluation = EvaluationStep(iteration: step ?? iteration, key: key)
    probing?.found.pointer.update(from: member.memory.pointer, count: member.memory.floats)
    let loss = current.outermost.evaluate(
      member.parameters.pointer, gradients: gradients.pointer, memory: member.memory.pointer, step: evaluation)
    task.optimizer.update(
      parameters: member.parameters.pointer, gradients: gradients.pointer, state: member.state.pointer,
      scratch: scratch.pointer,
      step: OptimizerStep(
        iteration: iteration, totalSteps: totalSteps, loss: task.showsNormalisedLoss ? variant.normaliser(loss) : loss,
        theta: theta, key: key, problem: problem))
    current.outermost.settle(member.parameters.pointer)
    return loss
  }

  /// The raw loss of a member on the batch drawn last, without an update.
  func loss(_ member: Member, iteration: Int) -> Double {
    Double(loss(member, at: member.parameters.pointer, step: iteration))
  }

  /// The loss on the batch drawn last at other parameters than the member's, which stays as it is.
  func loss(_ member: Member, at parameters: UnsafePointer<Float>, step: Int) -> Float {
    let memory = aside.memory.pointer
    memory.update(from: member.memory.pointer, count: memoryFloats)
    return current.outermost.evaluate(
      parameters, gradients: nil, memory: memory, step: EvaluationStep(iteration: step, key: key))
  }

  /// The loss on the batch drawn last where the member's optimizer wants to be judged; the member stays as it is.
  func judge(_ member: Member, step: Int) -> Float {
    guard task.optimizer.evaluatesElsewhere else { return loss(member, at: member.parameters.pointer, step: step) }
    let point = aside.point.pointer
    task.optimizer.evaluationPoint(
      parameters: member.parameters.pointer, state: member.state.pointer, into: point)
    return loss(member, at: point, step: step)
  }

  /// The loss as the outer problem sees it.
  func normalise(_ loss: Float) -> Float { variant.normaliser(loss) }

  /// The raw loss of a member's task at any parameters on the batch drawn last, with its gradient.
  func evaluate(
    _ member: Member, at parameters: UnsafePointer<Float>, gradients: UnsafeMutablePointer<Float>, iteration: Int
  ) -> Double {
    Double(
      current.outermost.evaluate(
        parameters, gradients: gradients, memory: member.memory.pointer,
        step: EvaluationStep(iteration: iteration, key: key)))
  }

  /// The derivative of the normalised loss.
  func normaliserDerivative(at loss: Float) -> Double { Double(variant.normaliser.derivative(at: loss)) }

  /// Puts a member at the start of a training: `initial` is the key of its weights, `episode` of all else.
  func reset(_ member: Member, initial: RandomKey, episode: RandomKey, theta: UnsafePointer<Float>?) {
    current.outermost.begin(
      member.parameters.pointer, memory: member.memory.pointer, initial: initial, episode: episode)
    restart(member, theta: theta)
  }

  /// Makes the optimizer's state anew; the parameters stay.
  func restart(_ member: Member, theta: UnsafePointer<Float>?) {
    task.optimizer.initialize(state: member.state.pointer, parameters: member.parameters.pointer, theta: theta)
  }
}
