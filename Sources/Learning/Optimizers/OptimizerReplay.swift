// OptimizerReplay: an optimizer run over a RecordedCase: the parameters after each step, as a file, and how far they
// are from what another implementation made of the same inputs.
import Compute
import Contract
import Foundation

/// The parameters that an optimizer makes of recorded gradients.
public struct OptimizerReplay {
  public let recorded: RecordedCase
  public let recipe: OptimizerRecipe
  public let level: CPULevel
  /// For each tensor of the case, its values after each step: [steps, ...].
  public let trajectory: [[Float]]

  /// Runs all steps.
  ///
  /// - Throws: ``SpecError`` for an optimizer that recorded gradients are not enough for, or that needs a loss where
  ///   the case has none.
  public init(_ recorded: RecordedCase, _ recipe: OptimizerRecipe, level: CPULevel) throws(SpecError) {
    self.recorded = recorded
    self.recipe = recipe
    self.level = level
    let parameters = recorded.parameters
    try OptimizerCatalog.checkSize(of: parameters, for: recipe.settings.name)
    let optimizer = OptimizerCatalog.make(
      recipe.settings, parameters: parameters, theta: recipe.theta?.schema, totalSteps: recorded.totalSteps,
      level: level)
    func refuse(_ reason: String) -> SpecError { SpecError([Fault(path: "", reason: reason)]) }
    if optimizer.needs.contains(.problem) {
      throw refuse(
        "\(optimizer.name) evaluates the loss at parameters of its own choice, which recorded gradients cannot answer; "
          + "`trainyard task run` runs it")
    }
    if optimizer.needs.contains(.loss), recorded.losses == nil {
      throw refuse("\(optimizer.name) uses the loss of each step; the case has no tensor \"loss\" [\(recorded.steps)]")
    }
    trajectory = Self.run(recorded, recipe, optimizer)
  }

  private static func run(
    _ recorded: RecordedCase, _ recipe: OptimizerRecipe, _ optimizer: any Optimizer
  ) -> [[Float]] {
    let layout = recorded.parameters
    let parameters = AlignedBuffer(floats: layout.floats), gradients = AlignedBuffer(floats: layout.floats)
    let state = AlignedBuffer(floats: optimizer.state.floats), scratch = AlignedBuffer(floats: optimizer.scratchFloats)
    let theta = recipe.theta?.aligned()
    func existing(_ name: String) -> [Float] {
      do { return try recorded.file.floats(name) } catch { preconditionFailure("RecordedCase checked it: \(error)") }
    }
    func put(_ values: ArraySlice<Float>, at tensor: ParameterLayout.Tensor, in buffer: AlignedBuffer) {
      values.withUnsafeBufferPointer {
        if let base = $0.baseAddress { (buffer.pointer + tensor.offset).update(from: base, count: $0.count) }
      }
    }
    for tensor in layout.tensors { put(existing("init/\(tensor.name)")[...], at: tensor, in: parameters) }
    let all = layout.tensors.map { existing("grad/\($0.name)") }
    var trajectory = layout.tensors.map { _ in [Float]() }
    for (index, tensor) in layout.tensors.enumerated() {
      trajectory[index].reserveCapacity(recorded.steps * tensor.count)
    }
    let weights = theta.map { UnsafePointer($0.pointer) }
    optimizer.initialize(state: state.pointer, parameters: parameters.pointer, theta: weights)
    for step in 0..<recorded.steps {
      for (index, tensor) in layout.tensors.enumerated() {
        put(all[index][step * tensor.count..<(step + 1) * tensor.count], at: tensor, in: gradients)
      }
      optimizer.update(
        parameters: parameters.pointer, gradients: gradients.pointer, state: state.pointer, scratch: scratch.pointer,
        step: OptimizerStep(
          iteration: step, totalSteps: recorded.totalSteps, loss: recorded.losses?[step] ?? 0, theta: weights))
      for (index, tensor) in layout.tensors.enumerated() {
        trajectory[index].append(contentsOf: parameters.buffer[tensor.offset..<tensor.offset + tensor.count])
      }
    }
    return trajectory
  }

  /// The first tensor, step and element that is not finite, in the order of steps; nil where all are.
  public var firstNotFinite: (tensor: String, step: Int, element: Int)? {
    let faults = zip(recorded.parameters.tensors, trajectory).compactMap { tensor, values in
      values.firstIndex { !$0.isFinite }.map { (tensor.name, $0 / tensor.count, $0 % tensor.count) }
    }
    return faults.min { $0.1 < $1.1 }
  }

  /// The file: `traj/<tensor>` [steps, ...] as F32, and as metadata the optimizer, its options and constants, the
  /// numbers of steps and the CPU level.
  public func safetensors() -> Data {
    let tensors = zip(recorded.parameters.tensors, trajectory).map { tensor, values in
      SafetensorsWriter.Tensor(
        name: "traj/\(tensor.name)", shape: [recorded.steps] + tensor.shape.dimensions, floats: values)
    }
    return SafetensorsWriter.encode(
      tensors,
      metadata: [
        "optimizer": recipe.settings.name.rawValue, "config": recipe.config.text, "cpu_level": level.rawValue,
        "steps": String(recorded.steps), "num_steps": String(recorded.totalSteps),
      ])
  }

  /// How far a tensor is from the recording.
  public struct Deviation: Sendable {
    public let tensor: String
    /// The largest difference over steps and elements; infinite where one of the two is not finite.
    public let difference: Double
    /// What is tolerated: `relative` of the largest displacement from the start, and 2e-7 of the largest parameter.
    public let tolerated: Double
    public var ratio: Double { difference.isFinite ? difference == 0 ? 0 : difference / tolerated : .infinity }
  }

  /// Compares with a recorded trajectory, tensor by tensor.
  ///
  /// - Parameter relative: the tolerance; tensors that hardly move (less than 1e-3) get ten times as much.
  /// - Throws: ``FormatError`` where the recording lacks a tensor or has another shape.
  public func deviations(from name: String, relative: Double = 1e-4) throws(FormatError) -> [Deviation] {
    var deviations: [Deviation] = []
    for (tensor, ours) in zip(recorded.parameters.tensors, trajectory) {
      let path = RecordedCase.path(of: tensor.name, in: name)
      let theirs = try recorded.file.floats(path, shape: [recorded.steps] + tensor.shape.dimensions)
      let start = try recorded.file.floats("init/\(tensor.name)")
      var displacement = 0.0, largest = 0.0, difference = 0.0
      for index in theirs.indices {
        let value = Double(theirs[index])
        displacement = max(displacement, abs(value - Double(start[index % start.count])))
        largest = max(largest, abs(value))
        let distance = abs(Double(ours[index]) - value)
        difference = distance.isFinite ? max(difference, distance) : .infinity
      }
      let share = displacement < 1e-3 ? 10 * relative : relative
      deviations.append(
        Deviation(tensor: tensor.name, difference: difference, tolerated: share * displacement + 2e-7 * largest))
    }
    return deviations
  }
}
