// RecordedCase: a file of gradients that were recorded step by step, with the parameters they start from, for comparing
// implementations of one optimizer. OptimizerReplay runs an optimizer over it.
//
//   init/<tensor> [...]    grad/<tensor> [steps, ...]    loss [steps], where known
//   theta/<path>           a learned optimizer's weights, where the case holds them
//   traj/<tensor> or traj/<name>/<tensor> [steps, ...]: what another implementation made of it, where recorded
//   metadata: num_steps, cls or class, args or arguments, and for several trajectories each one's arguments by its name
import Compute
import Contract
import Foundation

/// Recorded inputs of an optimizer, all finite.
public struct RecordedCase: Sendable {
  /// The tensors in canonical order: sorted key by key.
  public let parameters: ParameterLayout
  public let steps: Int
  /// How many updates the run was planned for.
  public let totalSteps: Int
  /// The loss of each step; nil where none was recorded.
  let losses: [Float]?
  /// The weights in the file by their names; empty where it has none.
  public let weights: [String: ThetaTensor]
  let file: SafetensorsFile

  /// Longer recordings are refused; no real one comes near.
  public static let stepsMax = 1_000_000

  /// Checks all tensors of a file and reads the small ones.
  ///
  /// - Throws: ``FormatError`` naming the tensor: none to start from, a gradient that is missing or of another shape, a
  ///   number of steps that differs, and values that are not finite, with step and element.
  public init(_ data: Data) throws(FormatError) {
    let file = try SafetensorsFile(data)
    self.file = file
    let starts = file.tensors.filter { $0.name.hasPrefix("init/") }.sorted {
      $0.name.split(separator: "/").lexicographicallyPrecedes($1.name.split(separator: "/"))
    }
    guard let first = starts.first else {
      throw Self.fault("init/*", "the case has no parameters to start from")
    }
    parameters = ParameterLayout(starts.map { (String($0.name.dropFirst(5)), Shape($0.shape)) })
    let firstName = "grad/\(parameters.tensors[0].name)"
    guard let steps = file.tensor(firstName)?.shape.first else {
      throw Self.fault(firstName, "expected gradients [steps] + \(first.shape), the case has none")
    }
    guard (1...Self.stepsMax).contains(steps) else {
      throw Self.fault(firstName, "expected 1 to \(Self.stepsMax) steps, got \(steps)")
    }
    self.steps = steps
    for start in starts {
      let name = String(start.name.dropFirst(5))
      try Self.checkFinite(file, start.name, shape: start.shape, stride: start.count)
      guard file.tensor("grad/\(name)") != nil else {
        throw Self.fault("grad/\(name)", "expected gradients \([steps] + start.shape), the case has none")
      }
      try Self.checkFinite(file, "grad/\(name)", shape: [steps] + start.shape, stride: start.count)
    }
    for tensor in file.tensors where tensor.name.hasPrefix("grad/") {
      guard parameters[String(tensor.name.dropFirst(5))] != nil else {
        throw Self.fault(tensor.name, "gradients of a tensor that has no init/\(tensor.name.dropFirst(5))")
      }
    }
    if file.tensor("loss") != nil {
      try Self.checkFinite(file, "loss", shape: [steps], stride: 1)
      losses = try file.floats("loss")
    } else {
      losses = nil
    }
    totalSteps = try Self.totalSteps(file.metadata["num_steps"], steps: steps)
    weights = try file.recordedWeights()
  }

  private static func totalSteps(_ text: String?, steps: Int) throws(FormatError) -> Int {
    guard let text, !text.isEmpty, text != "unused" else { return steps }
    guard let number = Int(text), (1...1_000_000_000).contains(number) else {
      throw fault("metadata num_steps", "expected 1 to 1000000000 or \"unused\", got \"\(text.prefix(40))\"")
    }
    return number
  }

  private static func checkFinite(
    _ file: SafetensorsFile, _ name: String, shape: [Int], stride: Int
  ) throws(FormatError) {
    let values = try file.floats(name, shape: shape)
    guard let index = values.firstIndex(where: { !$0.isFinite }) else { return }
    let place = name.hasPrefix("init/") ? "element \(index)" : "step \(index / stride), element \(index % stride)"
    throw fault("tensor \"\(name)\"", "\(place) is \(values[index])")
  }

  private static func fault(_ place: String, _ reason: String) -> FormatError {
    FormatError(format: "recorded case", place: place, reason: reason)
  }

  // MARK: What was recorded of another implementation

  /// The names of the recorded trajectories; `""` for one without a name, none where only inputs were recorded.
  public var trajectories: [String] {
    let tensor = parameters.tensors[0].name
    let names = file.tensors.compactMap { found -> String? in
      guard found.name.hasPrefix("traj/"), found.name.hasSuffix("/" + tensor) else { return nil }
      return String(found.name.dropFirst(5).dropLast(tensor.count).dropLast(found.name == "traj/\(tensor)" ? 0 : 1))
    }
    // One tensor's name may end as another's.
    return Set(names).sorted().filter { name in
      parameters.tensors.allSatisfy { file.tensor(Self.path(of: $0.name, in: name)) != nil }
    }
  }

  /// The name of a tensor's trajectory in the file.
  static func path(of tensor: String, in trajectory: String) -> String {
    trajectory.isEmpty ? "traj/\(tensor)" : "traj/\(trajectory)/\(tensor)"
  }

  /// The optimizer that a text names: any spelling, or the name of one of the trajectories.
  public func optimizer(_ text: String) -> OptimizerName? {
    if let name = OptimizerName(spelled: text) { return name }
    return trajectories.contains(text) && !text.isEmpty ? optimizer(of: text) : nil
  }

  /// The optimizer of a trajectory: by its name, or what is left of that without the last words after `_`.
  private func optimizer(of trajectory: String) -> OptimizerName? {
    var words = trajectory.split(separator: "_")
    while !words.isEmpty {
      if let name = OptimizerName(spelled: words.joined(separator: "_")) { return name }
      words.removeLast()
    }
    return nil
  }

  /// The optimizer of the recorded class, such as `optimizers/celo2.py Celo2Base`: of class and file, both of which may
  /// name one, the longer name says more.
  private var recordedOptimizer: OptimizerName? {
    let words = (file.metadata["cls"] ?? file.metadata["class"])?.split { " ./".contains($0) } ?? []
    return words.suffix(3).sorted { $0.count > $1.count }.lazy.compactMap { OptimizerName(spelled: String($0)) }.first
  }

  /// The trajectory that a text means for this optimizer: of that very name, else the optimizer's own.
  public func trajectory(_ text: String, of name: OptimizerName) -> String? {
    let known = trajectories
    if known.contains(text) { return text }
    if known.contains("") { return "" }
    let own = known.filter { optimizer(of: $0) == name }
    return own.first { OptimizerName(spelled: $0) != nil } ?? own.first
  }

  /// The arguments that the recording was made with, where it tells them for this optimizer.
  public func arguments(of name: OptimizerName, trajectory: String?) -> String? {
    if let trajectory, !trajectory.isEmpty { return arguments(of: trajectory) }
    // Arguments of another class are none of this optimizer's.
    if let recordedOptimizer, recordedOptimizer != name { return nil }
    return file.metadata["args"] ?? file.metadata["arguments"]
  }

  /// The optimizer to run over the case.
  ///
  /// - Parameters:
  ///   - config: options and constants; nil takes the recording's own. What neither gives is as in published
  ///     implementations.
  ///   - theta: a learned optimizer's weights; nil takes the case's.
  /// - Throws: as ``OptimizerRecipe`` and ``Theta/init(tensors:as:constants:provenance:)``; ``FormatError`` where
  ///   weights are needed and there are none.
  public func recipe(
    _ name: OptimizerName, trajectory: String?, config: JSON? = nil, theta: Theta? = nil
  ) throws -> OptimizerRecipe {
    var theta = theta
    if theta == nil, name.isLearned {
      guard !weights.isEmpty else {
        throw Self.fault("theta/*", "the case holds no weights for the learned optimizer \(name.rawValue): give them")
      }
      theta = try Theta(tensors: weights, as: name == .auto ? nil : name)
    }
    let recorded = config == nil ? arguments(of: name, trajectory: trajectory) : nil
    let recipe = try OptimizerRecipe(name, config: config ?? recorded.map(RecordedArguments.parse) ?? [:], theta: theta)
    return recipe.asPublished()
  }

  private func arguments(of trajectory: String) -> String? {
    if let text = file.metadata[trajectory] { return text }
    guard let all = file.metadata["args"] ?? file.metadata["arguments"],
      let object = try? JSON.parse(all, depthMax: 8)
    else { return nil }
    return object[trajectory]?.string ?? object[trajectory]?.text
  }
}
