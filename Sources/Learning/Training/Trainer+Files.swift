// What of a run is kept: checkpoints to go on from, and the trained model. Trainer has the run itself.
import Compute
import Contract
import Foundation

extension Trainer {
  /// Everything needed to go on exactly here, as safetensors: `params.…`, `slots.…`, counters in the metadata.
  ///
  /// - Parameter notes: what the caller wants to find there again, under names of its own.
  public func checkpoint(notes: [String: String] = [:]) -> Data {
    SafetensorsWriter.encode(
      tensors("params.", plans.layout, parameters.pointer) + tensors("slots.", optimizer.state, state.pointer)
        + tensors("statistics.", plans.statistics, statistics.pointer),
      metadata: notes.merging([
        "format": "trainyard-run", "format_version": "1", "step": String(step),
        "steps": String(configuration.steps), "seed": String(configuration.seed), "optimizer": optimizer.name,
        "optimizer_start": String(configuration.optimizerStart),
      ]) { $1 })
  }

  /// The metadata of a checkpoint: `steps` are those it was planned for, and the caller's notes are there.
  public static func metadata(of checkpoint: Data) throws -> [String: String] {
    try SafetensorsFile(checkpoint).metadata
  }

  /// The weights as they are trained, and the running averages, without the optimizer's state.
  public func weights() -> Data {
    SafetensorsWriter.encode(
      tensors("params.", plans.layout, parameters.pointer)
        + tensors("statistics.", plans.statistics, statistics.pointer),
      metadata: ["format": "trainyard-weights", "format_version": "1", "step": String(step)])
  }

  /// Takes the weights of such a file.
  func load(weights file: SafetensorsFile) throws {
    try load("params.", plans.layout, parameters, from: file)
    try load("statistics.", plans.statistics, statistics, from: file)
  }

  /// Goes back to a checkpoint of the same run.
  ///
  /// - Throws: when the file is damaged or belongs to another run.
  public func restore(_ file: Data) throws {
    let file = try SafetensorsFile(file)
    let metadata = file.metadata
    guard metadata["format"] == "trainyard-run", let step = metadata["step"].flatMap(Int.init),
      metadata["seed"] == String(configuration.seed),
      metadata["steps"] == String(configuration.steps), metadata["optimizer"] == optimizer.name,
      metadata["optimizer_start"] ?? "0" == String(configuration.optimizerStart),
      (0...configuration.steps).contains(step)
    else { throw DataFault("the checkpoint belongs to another run") }
    try load(weights: file)
    try load("slots.", optimizer.state, state, from: file)
    resume(step: step)
  }

  /// The trained weights and running averages as safetensors, with what made them in the metadata.
  public func modelFile(metadata: [String: String]) -> Data {
    var all = metadata
    all["format"] = "trainyard-model"
    all["layout"] = "jax"
    all["steps"] = String(step)
    all["seed"] = String(configuration.seed)
    all["optimizer"] = optimizer.name
    all["input_shape"] = "\(plans.model.data.input)"
    return SafetensorsWriter.encode(
      tensors("", plans.layout, evaluated) + tensors("", plans.statistics, statistics.pointer), metadata: all)
  }

  private func tensors(
    _ prefix: String, _ layout: ParameterLayout, _ memory: UnsafePointer<Float>
  ) -> [SafetensorsWriter.Tensor] {
    layout.tensors.map { tensor in
      SafetensorsWriter.Tensor(
        name: prefix + tensor.name, shape: tensor.shape.dimensions,
        floats: UnsafeBufferPointer(start: memory + tensor.offset, count: tensor.count))
    }
  }

  private func load(
    _ prefix: String, _ layout: ParameterLayout, _ buffer: AlignedBuffer, from file: SafetensorsFile
  ) throws {
    for tensor in layout.tensors {
      let floats = try file.floats(prefix + tensor.name, shape: tensor.shape.dimensions)
      for (index, value) in floats.enumerated() { buffer.pointer[tensor.offset + index] = value }
    }
  }
}
