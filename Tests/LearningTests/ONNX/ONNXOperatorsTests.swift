// The table of operators: that its reference and its fixtures know each.
import Foundation
import Testing

@testable import Learning

@Suite("ONNX operators")
struct ONNXOperatorsTests {
  /// The rows of the reference.
  private var rows: [String] {
    ONNXOperator.all.map { "| `\($0.name)` | \($0.limits.isEmpty ? "all" : $0.limits) |" }
  }

  @Test("docs/onnx.md lists the operators that are imported, with their limits")
  func reference() throws {
    let root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath().deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    let text = try String(contentsOf: root.appendingPathComponent("docs/onnx.md"), encoding: .utf8)
    let listed = text.split(separator: "\n").filter { $0.hasPrefix("| `") }.map(String.init)
    #expect(listed == rows, "the table should be:\n\(rows.joined(separator: "\n"))")
  }

  @Test("a recorded model holds each operator against onnxruntime")
  func coverage() throws {
    var seen: Set<String> = []
    for name in ONNXCases.recorded.names {
      for node in try ONNXModel(ONNXCases.recorded.model(name)).graph.nodes { seen.insert(node.op) }
    }
    #expect(ONNXOperator.all.map(\.name).filter { !seen.contains($0) } == [])
  }
}
