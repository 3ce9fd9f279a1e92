// The reference that plans are checked against: a graph evaluated node by node with plain loops in Float64, and central
// differences of it. OperationTests and GradientTests use it; nothing here shares code with the kernels.
import Foundation

@testable import Compute

/// Values of a graph's inputs and parameters by name.
struct Bindings {
  var floats: [String: [Double]] = [:]
  var integers: [String: [Int]] = [:]
}

/// An operation with plain Float64 loops to check its kernel against; each conformance lies with its operation's tests.
protocol ReferenceOperation {
  /// The value for these operand values (row-major) and shapes.
  func reference(_ operands: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double]
}

extension Dropout: ReferenceOperation {
  func reference(_ x: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double] {
    let key = (UInt32(truncatingIfNeeded: Int(x[1][0])), UInt32(truncatingIfNeeded: Int(x[1][1])))
    return x[0].enumerated().map { j, value in
      let block = Philox.block(counter: (UInt32(j / 4), 0, stream, 0), key: key)
      let word = [block.0, block.1, block.2, block.3][j % 4]
      return RandomKey.uniform(word) >= Double(rate) ? value / (1 - Double(rate)) : 0
    }
  }
}

extension Graph {
  /// Every node's value in Float64.
  func evaluate(_ bindings: Bindings) -> [[Double]] {
    var values: [[Double]] = []
    for node in nodes {
      let x = node.operands.map { values[$0] }
      let shapes = node.operands.map { nodes[$0].shape }
      switch node.op {
      case .input(let name):
        values.append(
          node.type == .float32 ? bindings.floats[name]! : bindings.integers[name]!.map { Double($0) })
      case .parameter(let name): values.append(bindings.floats[name]!)
      case .constant(let number): values.append([Double(number)])
      case .numbers(let numbers):
        let isFloats = node.type == .float32
        values.append(numbers.map { isFloats ? Double($0) : Double(Int32(bitPattern: $0.bitPattern)) })
      case .reshape: values.append(x[0])
      case .matmul(let left, let right): values.append(product(x[0], shapes[0], left, x[1], shapes[1], right))
      case .elementwise(let operation):
        values.append(
          (0..<node.shape.count).map { i in
            let operands = zip(x, shapes).map { $0[source(i, node.shape, $1)] }
            return scalar(operation, operands[0], operands.last!)
          })
      case .kernel(let operation):
        guard let operation = operation as? any ReferenceOperation else {
          preconditionFailure("\(operation.name) has no reference")
        }
        values.append(operation.reference(x, shapes, node.shape))
      case .workspace: values.append([])
      }
    }
    return values
  }

  /// The element of an operand that meets element i of the result, by walking the axes from the innermost.
  private func source(_ i: Int, _ result: Shape, _ operand: Shape) -> Int {
    var rest = i
    var index = 0
    var step = 1
    let offset = result.rank - operand.rank
    for axis in stride(from: result.rank - 1, through: 0, by: -1) {
      let position = rest % result[axis]
      rest /= result[axis]
      guard axis - offset >= 0 else { continue }
      let length = operand[axis - offset]
      index += (length == 1 ? 0 : position) * step
      step *= length
    }
    return index
  }

  private func product(
    _ a: [Double], _ aShape: Shape, _ aTransposed: Bool, _ b: [Double], _ bShape: Shape, _ bTransposed: Bool
  ) -> [Double] {
    let m = aTransposed ? aShape.last : aShape.rows, k = aTransposed ? aShape.rows : aShape.last
    let n = bTransposed ? bShape.rows : bShape.last
    var c = [Double](repeating: 0, count: m * n)
    for i in 0..<m {
      for j in 0..<n {
        var sum = 0.0
        for l in 0..<k { sum += a[aTransposed ? l * m + i : i * k + l] * b[bTransposed ? j * k + l : l * n + j] }
        c[i * n + j] = sum
      }
    }
    return c
  }

  private func scalar(_ operation: Elementwise, _ x: Double, _ y: Double) -> Double {
    switch operation {
    case .copy: x
    case .affine(let scale, let shift): Double(scale) * x + Double(shift)
    case .relu: x > 0 ? x : 0
    case .tanh: Foundation.tanh(x)
    case .sigmoid: 1 / (1 + Foundation.exp(-x))
    case .gelu: 0.5 * x * (1 + Foundation.tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x)))
    case .silu: x / (1 + Foundation.exp(-x))
    case .softplus: max(x, 0) + Foundation.log1p(Foundation.exp(-Swift.abs(x)))
    case .exp: Foundation.exp(x)
    case .log: Foundation.log(x)
    case .sqrt: x.squareRoot()
    case .abs: Swift.abs(x)
    case .sign: x > 0 ? 1 : x < 0 ? -1 : 0
    case .sin: Foundation.sin(x)
    case .cos: Foundation.cos(x)
    case .erf: Foundation.erf(x)
    case .geluExact: 0.5 * x * Foundation.erfc(-x / 2.0.squareRoot())
    case .power(let exponent): Foundation.pow(x, Double(exponent))
    case .clamp(let least, let most): min(max(x, Double(least)), Double(most))
    case .leakyRelu(let slope): x > 0 ? x : x * Double(slope)
    case .elu(let alpha): x > 0 ? x : Double(alpha) * Foundation.expm1(x)
    case .add: x + y
    case .subtract: x - y
    case .multiply: x * y
    case .divide: x / y
    case .maximum: max(x, y)
    case .minimum: min(x, y)
    case .reluBackward, .tanhBackward, .sigmoidBackward, .geluBackward, .siluBackward, .geluExactBackward,
      .clampBackward, .leakyReluBackward, .eluBackward:
      preconditionFailure("the reference evaluates forward graphs only")
    }
  }
}

/// A graph under test, its values and what its loss and outputs are.
struct Experiment {
  var graph: Graph
  let loss: Value
  var bindings = Bindings()

  /// Draws all inputs and parameters from `values`, rounded to Float32; int32 inputs below `classes`.
  init(
    _ graph: Graph, loss: Value, seed: UInt64 = 1, classes: Int = 1 << 30,
    values: (Float) -> Float = { $0 }
  ) {
    self.graph = graph
    self.loss = loss
    for (id, node) in graph.nodes.enumerated() {
      switch node.op {
      case .input(let name), .parameter(let name):
        var normals = [Float](repeating: 0, count: node.shape.count)
        RandomKey(seed: seed).derive(1, UInt32(id), 0).fillNormals(&normals)
        if node.type == .int32 {
          bindings.integers[name] = normals.map { Int(abs($0) * 1_000_003) % classes }
        } else {
          bindings.floats[name] = normals.map { Double(values($0)) }
        }
      default: continue
      }
    }
  }

  /// The loss in Float64.
  func lossReference(_ bindings: Bindings) -> Double { graph.evaluate(bindings)[loss.id][0] }

  /// Central differences of some elements of a parameter: at most `elementsMax`, spread over it.
  func differences(_ name: String, elementsMax: Int = 5) -> [(index: Int, slope: Double)] {
    let count = bindings.floats[name]!.count
    let picked = Set((0..<min(count, elementsMax)).map { $0 * max(count - 1, 1) / max(min(count, elementsMax) - 1, 1) })
    return picked.sorted().filter { $0 < count }.map { index in
      let step = 1e-5
      var moved = bindings
      moved.floats[name]![index] += step
      let above = lossReference(moved)
      moved.floats[name]![index] -= 2 * step
      return (index, (above - lossReference(moved)) / (2 * step))
    }
  }

  /// An executor with all inputs filled, and the parameters in their layout.
  func prepare(_ plan: Plan) -> (executor: Executor, parameters: AlignedBuffer) {
    let executor = Executor(plan)
    for port in plan.inputs {
      if port.type == .float32 {
        let memory = executor.floats(port.name)
        for (i, value) in bindings.floats[port.name]!.enumerated() { memory[i] = Float(value) }
      } else {
        let memory = executor.int32(port.name)
        for (i, value) in bindings.integers[port.name]!.enumerated() { memory[i] = Int32(value) }
      }
    }
    let parameters = AlignedBuffer(floats: plan.parameterLayout.floats)
    for tensor in plan.parameterLayout.tensors {
      for (i, value) in bindings.floats[tensor.name]!.enumerated() {
        parameters.pointer[tensor.offset + i] = Float(value)
      }
    }
    return (executor, parameters)
  }
}
