// The trained model as an ONNX file: ONNXExport writes what ModelGraph or ONNXImport builds for inference.
import Compute
import Contract
import Foundation

extension ModelPlans {
  /// The graph that is exported, for a batch of `rows`: logits of classes and tokens, values, reconstructions; what an
  /// imported model gave, for a model that came from a file.
  func exportGraph(rows: Int) throws -> Graph {
    if let imported {
      var graph = Graph()
      let type: ElementType = model.data.vocabulary == nil ? .float32 : .int32
      let inputs = try graph.input("inputs", Shape([rows] + model.data.input), type)
      graph.output("outputs", try imported.emit(into: &graph, inputs: inputs, givesLogits: false))
      return graph
    }
    var made = try ModelGraph(model, rows: rows, isTraining: false)
    var output = made.output
    if case .reconstruct(.bernoulli) = model.objective { output = try made.graph.sigmoid(output) }
    made.graph.output("outputs", output)
    return made.graph
  }
}

extension Trainer {
  /// The trained model as an ONNX file with input `inputs`, as the dataset has its examples, and output `outputs`.
  ///
  /// - Parameter metadata: free text by key.
  /// - Throws: `ComputeError` naming an operation that ONNX has no form for.
  public func onnxFile(metadata: [String: String]) throws -> Data {
    func elements(_ layout: ParameterLayout, _ buffer: AlignedBuffer, _ name: String) -> [Float]? {
      layout[name].map { Array(UnsafeBufferPointer(start: buffer.pointer + $0.offset, count: $0.count)) }
    }
    return try ONNXExport.model(
      name: "model", metadata: metadata,
      tensor: { elements(plans.layout, parameters, $0) ?? elements(plans.statistics, statistics, $0) },
      graph: plans.exportGraph
    ).encoded()
  }
}
