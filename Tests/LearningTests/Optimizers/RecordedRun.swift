// RecordedRun: a trajectory of a reference implementation from Fixtures, replayed through one of our optimizers.
import Compute
import Foundation
import Learning
import Testing

struct RecordedRun {
  let file: SafetensorsFile
  let parameters: ParameterLayout
  let steps: Int
  let totalSteps: Int

  init(_ name: String) throws {
    let url = try #require(Bundle.module.url(forResource: "Fixtures/\(name)", withExtension: "safetensors"))
    let file = try SafetensorsFile(Data(contentsOf: url))
    self.file = file
    let tensors = file.tensors.filter { $0.name.hasPrefix("init/") }.sorted { $0.name < $1.name }
    parameters = ParameterLayout(tensors.map { (String($0.name.dropFirst(5)), Shape($0.shape)) })
    steps = try #require(file.tensor("loss")?.count)
    // Some rules have no use for it, and their recordings no number.
    totalSteps = Int(file.metadata["num_steps"] ?? "") ?? steps
  }

  /// The recorded meta-parameters in the schema's layout.
  func theta(_ schema: ThetaSchema) throws -> Theta {
    let layout = schema.layout
    var values = [Float](repeating: 0, count: layout.floats)
    for tensor in layout.tensors {
      let recorded = try file.floats("theta/\(tensor.name)", shape: tensor.shape.dimensions)
      values.replaceSubrange(tensor.offset..<tensor.offset + tensor.count, with: recorded)
    }
    return try Theta(schema: schema, values: values)
  }

  /// Replays all steps. Returns the largest deviation from `trajectory` over steps and elements, each divided by what
  /// is tolerated: 1e-4 of the tensor's largest displacement and 2e-7 of its largest parameter.
  func replay(_ run: OptimizerRun, trajectory: String) throws -> Float {
    var gradients: [[Float]] = []
    var wanted: [[Float]] = []
    var tolerances: [Float] = []
    for tensor in parameters.tensors {
      let start = try file.floats("init/\(tensor.name)")
      run.set(tensor.name, to: start, in: run.parameters)
      gradients.append(try file.floats("grad/\(tensor.name)"))
      let all = try file.floats("\(trajectory)/\(tensor.name)")
      wanted.append(all)
      let displacement = all.indices.map { abs(all[$0] - start[$0 % start.count]) }.max()!
      tolerances.append(1e-4 * displacement + 2e-7 * all.map(abs).max()!)
    }
    let losses = try file.floats("loss")
    run.initialize()
    var worst: Float = 0
    for step in 0..<steps {
      for (index, tensor) in parameters.tensors.enumerated() {
        let range = step * tensor.count..<(step + 1) * tensor.count
        run.set(tensor.name, to: gradients[index][range], in: run.gradients)
      }
      run.update(loss: losses[step])
      for (index, tensor) in parameters.tensors.enumerated() {
        let ours = run.parameter(tensor.name)
        for element in ours.indices {
          let deviation = abs(ours[element] - wanted[index][step * tensor.count + element])
          // A NaN must count as wrong.
          worst = deviation / tolerances[index] <= worst ? worst : deviation / tolerances[index]
        }
      }
    }
    return worst
  }

  /// Compares accumulators after the last step. The recordings hold decays last, ours first.
  /// Returns the largest deviation relative to the slot's largest value.
  func deviation(of slot: String, of run: OptimizerRun, from recorded: String) throws -> Float {
    let theirs = try file.floats(recorded)
    let ours = run.slot(slot)
    try #require(ours.count == theirs.count)
    let decays = file.tensor(recorded)!.shape.last!
    let count = ours.count / decays
    let largest = theirs.map(abs).max()!
    return ours.indices.map { abs(ours[$0] - theirs[$0 % count * decays + $0 / count]) / largest }.max()!
  }
}

/// The folder with published weights: what `TRAINYARD_PRETRAINED` names, or `../shared/pretrained` beside the package.
let pretrainedFolder: URL? = {
  let package = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent()
  let folder =
    ProcessInfo.processInfo.environment["TRAINYARD_PRETRAINED"].map { URL(filePath: $0) }
    ?? package.deletingLastPathComponent().appending(path: "shared/pretrained")
  guard FileManager.default.fileExists(atPath: folder.appending(path: "celo/theta.state").path) else {
    print("Celo's published weights are absent: set TRAINYARD_PRETRAINED to the folder that holds celo/theta.state")
    return nil
  }
  return folder
}()
