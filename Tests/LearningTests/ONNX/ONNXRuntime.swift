// onnxruntime as the judge of exported models, in a Python environment that scripts/test makes where it can.
import Foundation

@testable import Learning

/// A Python with onnx and onnxruntime.
struct ONNXRuntime {
  private let python: String

  /// Nil where there is none; the tests that need it then say so and are skipped.
  static let here = ONNXRuntime()

  private init?() {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
    let standard = root.appendingPathComponent(".build/onnx-venv/bin/python").path
    python = ProcessInfo.processInfo.environment["TRAINYARD_ONNX_PYTHON"] ?? standard
    guard FileManager.default.isExecutableFile(atPath: python) else { return nil }
  }

  /// An input of a model.
  enum Input {
    case floats([Int], [Float])
    case tokens([Int], [Int])
  }

  /// What the models give for their inputs, by name; a model that cannot be loaded or run is missing.
  func run(_ models: [String: (file: Data, input: Input)]) throws -> (
    outputs: [String: (shape: [Int], floats: [Float])], complaints: String
  ) {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("trainyard-onnx-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    var inputs: [SafetensorsWriter.Tensor] = []
    for (name, model) in models {
      try model.file.write(to: folder.appendingPathComponent("\(name).onnx"))
      switch model.input {
      case .floats(let shape, let floats): inputs.append(.init(name: name, shape: shape, floats: floats))
      case .tokens(let shape, let tokens): inputs.append(.init(name: name, shape: shape, integers: tokens))
      }
    }
    try SafetensorsWriter.encode(inputs).write(to: folder.appendingPathComponent("inputs.safetensors"))
    let process = Process()
    process.executableURL = URL(fileURLWithPath: python)
    process.arguments = [
      Bundle.module.url(forResource: "Fixtures/onnx/run", withExtension: "py")!.path, folder.path,
    ]
    let complaints = Pipe()
    process.standardError = complaints
    try process.run()
    let text = String(decoding: complaints.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    let file = try SafetensorsFile(Data(contentsOf: folder.appendingPathComponent("outputs.safetensors")))
    var outputs: [String: (shape: [Int], floats: [Float])] = [:]
    for tensor in file.tensors { outputs[tensor.name] = (tensor.shape, try file.floats(tensor.name)) }
    return (outputs, text)
  }
}
