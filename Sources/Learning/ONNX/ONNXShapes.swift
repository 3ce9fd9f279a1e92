// ONNXShapes: constants, and operators that give the same elements another shape. Shape arithmetic is done while a graph
// is translated, for the batch at hand. ONNXOperators joins the tables.
import Compute

extension ONNXOperator {
  static let shapes: [ONNXOperator] = [
    ONNXOperator("Constant", "float and integer tensors and numbers; floats are not trained", constant),
    ONNXOperator("ConstantOfShape", "of a known shape", constantOfShape),
    ONNXOperator("Shape", "", shape),
    ONNXOperator("Range", "of known integers", range),
    ONNXOperator("Reshape", "to a known shape", reshape),
    ONNXOperator("Flatten", "", flatten),
    ONNXOperator("Squeeze", "", squeeze),
    ONNXOperator("Unsqueeze", "", unsqueeze),
  ]

  /// How many elements a tensor that a node makes up may have.
  private static let madeMax = 1 << 22

  private static func constant(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    guard site.node.attributes.count == 1, let (name, value) = site.node.attributes.first else {
      throw ONNXRefusal("expected one attribute with the value")
    }
    switch (name, value) {
    case ("value", .tensor(let tensor)):
      // A byte of the file becomes an integer of eight.
      if !tensor.type.isFloating { try translation.spend(tensor.count) }
      return [
        tensor.type.isFloating
          ? .numbers(tensor.floats(), tensor.dimensions) : .integers(tensor.integers(), tensor.dimensions)
      ]
    case ("value_float", .float(let number)): return [.numbers([number], [])]
    case ("value_floats", .floats(let numbers)): return [.numbers(numbers, [numbers.count])]
    case ("value_int", .integer(let number)): return [.integers([number], [])]
    case ("value_ints", .integers(let numbers)): return [.integers(numbers, [numbers.count])]
    default: throw ONNXRefusal("a constant in \(name) is not supported; use value")
    }
  }

  private static func constantOfShape(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    let dimensions = try site.integers(0) ?? []
    let count = try made(dimensions)
    try translation.spend(count)
    switch site.node.attributes["value"] {
    case nil: return [.numbers([Float](repeating: 0, count: count), dimensions)]
    case .tensor(let tensor)? where tensor.count == 1:
      return [
        tensor.type.isFloating
          ? .numbers([Float](repeating: tensor.floats()[0], count: count), dimensions)
          : .integers([Int](repeating: tensor.integers()[0], count: count), dimensions)
      ]
    default: throw ONNXRefusal("expected a value of one element")
    }
  }

  /// The number of elements of a made-up tensor.
  private static func made(_ dimensions: [Int]) throws -> Int {
    var count = 1
    for dimension in dimensions {
      // Of an empty tensor the other lengths are bounded too, so that no product of some of them overflows.
      let (product, overflow) = count.multipliedReportingOverflow(by: max(dimension, 1))
      guard dimension >= 0, !overflow, product <= madeMax, dimensions.count <= 16 else {
        throw ONNXRefusal("the shape \(dimensions.prefix(16)) must have at most \(madeMax) elements and 16 axes")
      }
      count = product
    }
    return dimensions.contains(0) ? 0 : count
  }

  private static func shape(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    let dimensions = try site.input(0).dimensions
    func place(_ name: String, _ fallback: Int) throws -> Int {
      let index = try site.integer(name, fallback)
      return max(0, min(dimensions.count, index < 0 ? index + dimensions.count : index))
    }
    let start = try place("start", 0)
    let part = Array(dimensions[start..<max(start, try place("end", dimensions.count))])
    return [.integers(part, [part.count])]
  }

  private static func range(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    guard let start = try site.integers(0)?.first, let limit = try site.integers(1)?.first,
      let delta = try site.integers(2)?.first, delta != 0
    else { throw ONNXRefusal("expected start, limit and a delta other than 0") }
    let (span, overflow) = limit.subtractingReportingOverflow(start)
    let (steps, isTooLong) = span.dividedReportingOverflow(by: delta)
    guard !overflow, !isTooLong, steps <= madeMax else { throw ONNXRefusal("it makes more than \(madeMax) elements") }
    try translation.spend(max(0, steps) + 1)
    let values = Array(stride(from: start, to: limit, by: delta))
    return [.integers(values, [values.count])]
  }

  private static func reshape(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    guard let target = try site.integers(1) else { throw ONNXRefusal("its input 1, the shape, is missing") }
    let operand = try site.input(0)
    let dimensions = try resolve(
      target, operand.dimensions, copiesZeros: site.integer("allowzero", 0) == 0, translation.rows,
      translation.fileRows)
    return [try translation.reshaped(operand) { _ in dimensions }]
  }

  /// The dimensions that a target shape stands for: 0 keeps an axis, -1 is what is left.
  private static func resolve(
    _ target: [Int], _ dimensions: [Int], copiesZeros: Bool, _ rows: Int, _ fileRows: Int?
  ) throws -> [Int] {
    guard target.count <= 16 else { throw ONNXRefusal("it makes more than 16 axes") }
    let count = dimensions.reduce(1, *)
    var wanted = target.enumerated().map { index, length in
      length == 0 && copiesZeros && index < dimensions.count ? dimensions[index] : length
    }
    // A file that was exported for one batch size has it in its shapes; rows are what it means.
    if let fileRows, fileRows != rows, wanted.first == fileRows, dimensions.first == rows { wanted[0] = rows }
    let fault = ONNXRefusal(
      "the shape \(dimensions) cannot become \(target); where the target has the batch, use -1 or export with a dynamic "
        + "batch axis")
    var known = 1
    for length in wanted where length != -1 {
      let (product, overflow) = known.multipliedReportingOverflow(by: length)
      guard length > 0, !overflow else { throw fault }
      known = product
    }
    switch wanted.count(where: { $0 == -1 }) {
    case 0: guard known == count else { throw fault }
    case 1: guard count % known == 0 else { throw fault }
    default: throw fault
    }
    return wanted.map { $0 == -1 ? count / known : $0 }
  }

  private static func flatten(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    let axis = try site.integer("axis", 1)
    return [
      try translation.reshaped(site.input(0)) { dimensions in
        let rank = dimensions.count
        guard (-rank...rank).contains(axis) else { throw ONNXRefusal("the axis \(axis) is not one of \(rank)") }
        let place = axis < 0 ? axis + rank : axis
        return [dimensions.prefix(place).reduce(1, *), dimensions.suffix(from: place).reduce(1, *)]
      }
    ]
  }

  private static func squeeze(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    let given = try site.integers(1)
    return [
      try translation.reshaped(site.input(0)) { dimensions in
        let axes =
          try given.map { try ONNXSite.axes($0, rank: dimensions.count) }
          ?? dimensions.indices.filter { dimensions[$0] == 1 }
        guard axes.allSatisfy({ dimensions[$0] == 1 }) else {
          throw ONNXRefusal("the axes \(axes) of \(dimensions) are not all of length 1")
        }
        return dimensions.indices.filter { !axes.contains($0) }.map { dimensions[$0] }
      }
    ]
  }

  private static func unsqueeze(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    guard let given = try site.integers(1) else { throw ONNXRefusal("its input 1, the axes, is missing") }
    return [
      try translation.reshaped(site.input(0)) { dimensions in
        guard dimensions.count + given.count <= 16 else { throw ONNXRefusal("it makes more than 16 axes") }
        var result = dimensions
        for axis in try ONNXSite.axes(given, rank: dimensions.count + given.count) { result.insert(1, at: axis) }
        return result
      }
    ]
  }
}

extension ONNXTranslation {
  /// The operand's elements in the file's order under the dimensions that `shape` makes of its own.
  mutating func reshaped(_ operand: ONNXOperand, to shape: ([Int]) throws -> [Int]) throws -> ONNXOperand {
    let dimensions = try shape(operand.dimensions)
    switch operand {
    case .integers(let values, _): return .integers(values, dimensions)
    case .numbers(let values, _): return .numbers(values, dimensions)
    case .tokens(let value): return .tokens(try graph.reshape(value, to: Shape(dimensions)))
    case .value, .weight: return .value(try graph.reshape(plain(operand), to: Shape(dimensions)), .plain)
    }
  }
}
