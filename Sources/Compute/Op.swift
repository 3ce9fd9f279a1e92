// Op: what a graph's nodes can be. Products and elementwise operations, which fuse with each other, are cases here with a
// line in Graph+Operations (shapes), Gradient (derivatives) and PlanBuilder (kernels); every other operation is one file
// in Operations that holds all three.
import CKernels

/// The type of a tensor's elements.
public enum ElementType: String, Sendable, Hashable {
  /// IEEE 754 single precision.
  case float32
  /// Class indices and other integers.
  case int32
}

/// One operation of a graph. Values and shapes are in the node; here is only what else it needs.
package enum Op: Sendable {
  /// Memory that the executor's user fills or binds.
  case input(name: String)
  /// A tensor of the parameter buffer.
  case parameter(name: String)
  /// One number, a scalar.
  case constant(Float)
  /// Numbers that are known when the graph is built, row-major; written once, when an executor is made.
  case numbers([Float])
  /// (left, right): the matrix product of both operands seen as matrices [all but last, last].
  case matmul(transposeLeft: Bool, transposeRight: Bool)
  /// (x) or (x, y): element by element, operands spread to the node's shape.
  case elementwise(Elementwise)
  /// (x): the same elements under another shape.
  case reshape
  /// An operation with a file of its own in Operations.
  case kernel(any KernelOperation)
  /// Memory that one kernel fills for another.
  case workspace

  /// The name used in messages.
  package var name: String {
    switch self {
    case .input: "input"
    case .parameter: "parameter"
    case .constant: "constant"
    case .numbers: "numbers"
    case .matmul: "matmul"
    case .elementwise(let operation): operation.name
    case .reshape: "reshape"
    case .kernel(let operation): operation.name
    case .workspace: "workspace"
    }
  }
}

/// An operation on single elements; `Fusion` makes programs of them.
package enum Elementwise: Sendable, Hashable {
  case copy
  case affine(scale: Float, shift: Float)
  case relu, tanh, sigmoid, gelu, silu, softplus, exp, log, sqrt
  /// `geluExact` is the form with the error function.
  case abs, sign, sin, cos, erf, geluExact
  case power(Float)
  case clamp(min: Float, max: Float)
  case leakyRelu(slope: Float)
  case elu(alpha: Float)
  case add, subtract, multiply, divide, maximum, minimum
  /// (dy, y), y the forward result.
  case reluBackward, tanhBackward, sigmoidBackward
  /// (dy, x), x the forward operand.
  case geluBackward, siluBackward, geluExactBackward
  case clampBackward(min: Float, max: Float)
  case leakyReluBackward(slope: Float)
  case eluBackward(alpha: Float)

  /// The kernel's number, its name and how many operands it reads.
  private var facts: (code: ck_operation, name: String, operands: Int) {
    switch self {
    case .copy: (CK_COPY, "copy", 1)
    case .affine: (CK_AFFINE, "affine", 1)
    case .relu: (CK_RELU, "relu", 1)
    case .tanh: (CK_TANH, "tanh", 1)
    case .sigmoid: (CK_SIGMOID, "sigmoid", 1)
    case .gelu: (CK_GELU, "gelu", 1)
    case .silu: (CK_SILU, "silu", 1)
    case .softplus: (CK_SOFTPLUS, "softplus", 1)
    case .exp: (CK_EXP, "exp", 1)
    case .log: (CK_LOG, "log", 1)
    case .sqrt: (CK_SQRT, "sqrt", 1)
    case .abs: (CK_ABS, "abs", 1)
    case .sign: (CK_SIGN, "sign", 1)
    case .sin: (CK_SIN, "sin", 1)
    case .cos: (CK_COS, "cos", 1)
    case .erf: (CK_ERF, "erf", 1)
    case .geluExact: (CK_GELU_EXACT, "geluExact", 1)
    case .power: (CK_POWER, "power", 1)
    case .clamp: (CK_CLAMP, "clamp", 1)
    case .leakyRelu: (CK_LEAKY_RELU, "leakyRelu", 1)
    case .elu: (CK_ELU, "elu", 1)
    case .add: (CK_ADD, "add", 2)
    case .subtract: (CK_SUBTRACT, "subtract", 2)
    case .multiply: (CK_MULTIPLY, "multiply", 2)
    case .divide: (CK_DIVIDE, "divide", 2)
    case .maximum: (CK_MAXIMUM, "maximum", 2)
    case .minimum: (CK_MINIMUM, "minimum", 2)
    case .reluBackward: (CK_RELU_BACKWARD, "reluBackward", 2)
    case .tanhBackward: (CK_TANH_BACKWARD, "tanhBackward", 2)
    case .sigmoidBackward: (CK_SIGMOID_BACKWARD, "sigmoidBackward", 2)
    case .geluBackward: (CK_GELU_BACKWARD, "geluBackward", 2)
    case .siluBackward: (CK_SILU_BACKWARD, "siluBackward", 2)
    case .geluExactBackward: (CK_GELU_EXACT_BACKWARD, "geluExactBackward", 2)
    case .clampBackward: (CK_CLAMP_BACKWARD, "clampBackward", 2)
    case .leakyReluBackward: (CK_LEAKY_RELU_BACKWARD, "leakyReluBackward", 2)
    case .eluBackward: (CK_ELU_BACKWARD, "eluBackward", 2)
    }
  }

  var code: Int32 { Int32(bitPattern: facts.code.rawValue) }
  var name: String { facts.name }
  var operands: Int { facts.operands }
  var constants: (Float, Float) {
    switch self {
    case .affine(let a, let b), .clamp(let a, let b), .clampBackward(let a, let b): (a, b)
    case .power(let a), .leakyRelu(let a), .elu(let a), .leakyReluBackward(let a), .eluBackward(let a): (a, 0)
    default: (0, 0)
    }
  }
}

/// How an operand meets the [rows, columns] of an elementwise result.
enum Spread: Sendable, Hashable {
  /// One element for each of the result's.
  case full
  /// One element for all.
  case scalar
  /// One row of `columns` elements, repeated for each row.
  case row(columns: Int)
  /// One element for each of `rows` rows, repeated along the row.
  case column(rows: Int)

  /// How `operand` is spread over `result`, or nil where it does not fit.
  ///
  /// It fits where it has as many elements with the same dimensions up to ones, is a single element, is a suffix of
  /// the result's dimensions (a row), or a prefix followed by ones (a column).
  init?(of operand: Shape, over result: Shape) {
    func trimmed(_ shape: Shape) -> [Int] { Array(shape.dimensions.drop { $0 == 1 }) }
    let small = trimmed(operand), large = result.dimensions
    if small == trimmed(result) {
      self = .full
    } else if operand.count == 1 {
      self = .scalar
    } else if small.count <= large.count, small.elementsEqual(large.suffix(small.count)) {
      self = .row(columns: operand.count)
    } else if operand.rank == result.rank {
      var prefix = operand.dimensions
      while prefix.last == 1 { prefix.removeLast() }
      guard prefix.elementsEqual(large.prefix(prefix.count)) else { return nil }
      self = .column(rows: operand.count)
    } else {
      return nil
    }
  }

  /// The length of the rows that an operand repeated over `count` elements fits, or nil where any does.
  func period(in count: Int) -> Int? {
    switch self {
    case .full, .scalar: nil
    case .row(let columns): columns
    case .column(let rows): count / rows
    }
  }
}
