// Elementwise operations in ONNX's operators, where they have one, else in several. ONNXExport has the driver.
import Compute
import Foundation

extension ONNXExporter {
  mutating func addElementwise(_ operation: Elementwise, _ id: Int) throws {
    let node = graph.nodes[id]
    if operation == .copy { return record(try emit("Expand", [plain(node.operands[0]), shape(lengths(id))]), id) }
    if node.operands.count == 1 {
      let x = node.operands[0]
      // Spread over a larger shape and changed at once.
      if graph.nodes[x].shape.count != node.shape.count {
        let spread = try emit("Expand", [plain(x), shape(lengths(id))])
        return record(try unary(operation, spread), id)
      }
      let isFirst = isFirst(x)
      return record(try unary(operation, isFirst ? first(x) : plain(x)), id, channelsFirst: isFirst)
    }
    let op = try binary(operation)
    if let operands = try firstOperands(id) { return record(emit(op, operands), id, channelsFirst: true) }
    let names = try node.operands.map { operand -> String in
      let shape = graph.nodes[operand].shape
      // More axes than the result has: ones in front, which ONNX would keep.
      guard shape.rank > node.shape.rank else { return try plain(operand) }
      return try reshaped(plain(operand), Array(lengths(operand).suffix(node.shape.rank)))
    }
    record(emit(op, names), id)
  }

  /// The operands with their channels first, where one is so already and the others can be.
  private mutating func firstOperands(_ id: Int) throws -> [String]? {
    let node = graph.nodes[id]
    guard node.shape.rank >= 3, node.operands.contains(where: isFirst) else { return nil }
    let fits = node.operands.allSatisfy { operand in
      let shape = graph.nodes[operand].shape
      return shape == node.shape || shape.count == 1 || (shape.rank == 1 && shape.last == node.shape.last)
    }
    guard fits else { return nil }
    return try node.operands.map { operand in
      let shape = graph.nodes[operand].shape
      if shape == node.shape { return try first(operand) }
      if shape.count == 1 { return try shape.rank <= 1 ? plain(operand) : reshaped(plain(operand), [.fixed(1)]) }
      let ones = [Length](repeating: .fixed(1), count: node.shape.rank - 2)
      return try reshaped(plain(operand), [.fixed(shape.last)] + ones)
    }
  }

  private func binary(_ operation: Elementwise) throws -> String {
    switch operation {
    case .add: return "Add"
    case .subtract: return "Sub"
    case .multiply: return "Mul"
    case .divide: return "Div"
    case .maximum: return "Max"
    case .minimum: return "Min"
    default: throw ComputeError(op: "export", expected: "an operation of a forward pass", got: "\(operation)")
    }
  }

  private mutating func unary(_ operation: Elementwise, _ x: String) throws -> String {
    switch operation {
    case .affine(let scale, let shift):
      let scaled = scale == 1 ? x : emit("Mul", [x, number(scale)])
      return shift == 0 && scale != 1 ? scaled : emit("Add", [scaled, number(shift)])
    case .relu: return emit("Relu", [x])
    case .tanh: return emit("Tanh", [x])
    case .sigmoid: return emit("Sigmoid", [x])
    case .softplus: return emit("Softplus", [x])
    case .exp: return emit("Exp", [x])
    case .log: return emit("Log", [x])
    case .sqrt: return emit("Sqrt", [x])
    case .abs: return emit("Abs", [x])
    case .sign: return emit("Sign", [x])
    case .sin: return emit("Sin", [x])
    case .cos: return emit("Cos", [x])
    case .erf: return emit("Erf", [x])
    case .geluExact:
      return halved(x, emit("Erf", [emit("Mul", [x, number(Float(0.5.squareRoot()))])]))
    case .power(let exponent): return emit("Pow", [x, number(exponent)])
    case .clamp(let low, let high):
      return emit("Clip", [x, low.isFinite ? number(low) : "", high.isFinite ? number(high) : ""])
    case .leakyRelu(let slope): return emit("LeakyRelu", [x], ["alpha": .float(slope)])
    case .elu(let alpha): return emit("Elu", [x], ["alpha": .float(alpha)])
    case .silu: return emit("Mul", [x, emit("Sigmoid", [x])])
    case .gelu:
      // x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
      let cube = emit("Mul", [emit("Mul", [x, x]), x])
      let inner = emit("Add", [x, emit("Mul", [cube, number(0.044_715)])])
      let tanh = emit("Tanh", [emit("Mul", [inner, number(Float((2 / Double.pi).squareRoot()))])])
      return halved(x, tanh)
    default: throw ComputeError(op: "export", expected: "an operation of a forward pass", got: "\(operation)")
    }
  }

  /// x / 2 (1 + y).
  private mutating func halved(_ x: String, _ y: String) -> String {
    emit("Mul", [emit("Mul", [x, number(0.5)]), emit("Add", [y, number(1)])])
  }
}
