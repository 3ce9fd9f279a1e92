// ONNXArrangements: operators that move, cut, join and repeat elements. ONNXOperators joins the tables.
import Compute

extension ONNXOperator {
  static let arrangements: [ONNXOperator] = [
    ONNXOperator("Transpose", "", transpose),
    ONNXOperator("Concat", "", concat),
    ONNXOperator("Slice", "of known starts and ends, in steps of 1", slice),
    ONNXOperator("Split", "into known lengths", split),
    ONNXOperator("Pad", "by a constant; known amounts, none negative", pad),
    ONNXOperator("Expand", "to a known shape", expand),
    ONNXOperator(
      "Gather", "known indices along any axis; or the input's tokens along axis 0 of an initializer", gather),
  ]

  private static func transpose(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    let operand = try site.input(0)
    let rank = operand.dimensions.count
    let axes = try site.integers("perm") ?? Array((0..<rank).reversed())
    guard axes.sorted() == Array(0..<rank) else { throw ONNXRefusal("perm \(axes) is no order of \(rank) axes") }
    switch operand {
    case .value(let value, let layout):
      // In memory: where each axis of the result comes from.
      let places = layout.places(rank: rank)
      let moved = axes.map { places[$0] }
      if moved == Array(0..<rank) { return [.value(value, .plain)] }
      // The result may be what is in memory already, seen with channels in front.
      if rank >= 3, ONNXLayout.channelsLast.axes(rank: rank).map({ moved[$0] }) == Array(0..<rank) {
        return [.value(value, .channelsLast)]
      }
      return [.value(try translation.turn(value, moved), .plain)]
    case .weight(let tensor): return [.value(try translation.parameter(tensor, permuted: axes), .plain)]
    case .numbers(let numbers, let dimensions):
      try translation.spend(numbers.count)
      return [.numbers(ONNXWeightForm.permute(numbers, dimensions, axes), axes.map { dimensions[$0] })]
    case .integers(let values, let dimensions) where rank < 2: return [.integers(values, dimensions)]
    case .integers, .tokens: throw ONNXRefusal("integers are not transposed")
    }
  }

  private static func concat(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    let operands = try site.inputs.indices.map { try site.input($0) }
    guard let first = operands.first else { throw ONNXRefusal("it has no inputs") }
    let rank = first.dimensions.count
    let axis = try ONNXSite.axis(site.integer("axis", 0), rank: rank)
    var integers: [Int] = []
    for case .integers(let values, let dimensions) in operands where dimensions.count == 1 {
      try translation.spend(values.count)
    }
    for case .integers(let values, let dimensions) in operands where dimensions.count == 1 { integers += values }
    if operands.allSatisfy({ if case .integers = $0 { $0.dimensions.count == 1 } else { false } }) {
      return [.integers(integers, [integers.count])]
    }
    let areLast = operands.allSatisfy { if case .value(_, .channelsLast) = $0 { true } else { false } }
    if areLast {
      let values = try operands.map { try translation.channelsLast($0, rank: rank) }
      let place = ONNXLayout.channelsLast.places(rank: rank)[axis]
      return [.value(try translation.graph.concatenate(values, axis: place), .channelsLast)]
    }
    let values = try operands.map { try translation.plain($0) }
    return [.value(try translation.graph.concatenate(values, axis: axis), .plain)]
  }

  /// The operand as a value in the layout it has, and the places of its axes.
  private static func lying(
    _ translation: inout ONNXTranslation, _ operand: ONNXOperand
  ) throws -> (value: Value, layout: ONNXLayout, places: [Int]) {
    if case .value(let value, let layout) = operand { return (value, layout, layout.places(rank: value.shape.rank)) }
    let value = try translation.plain(operand)
    return (value, .plain, Array(0..<value.shape.rank))
  }

  private static func slice(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    guard let starts = try site.integers(1), let ends = try site.integers(2), starts.count == ends.count else {
      throw ONNXRefusal("expected as many starts as ends")
    }
    let operand = try site.input(0)
    let rank = operand.dimensions.count
    let axes = try (site.integers(3) ?? Array(starts.indices)).map { try ONNXSite.axis($0, rank: rank) }
    let steps = try site.integers(4) ?? [Int](repeating: 1, count: starts.count)
    guard axes.count == starts.count, Set(axes).count == axes.count, steps.allSatisfy({ $0 == 1 }) else {
      throw ONNXRefusal("expected an axis for each start, and steps of 1, got the axes \(axes) and the steps \(steps)")
    }
    func bounds(_ index: Int) -> (from: Int, to: Int) {
      let length = operand.dimensions[axes[index]]
      func place(_ position: Int) -> Int {
        max(0, min(length, position < 0 ? position.advanced(by: length) : position))
      }
      return (place(max(starts[index], -length)), place(max(ends[index], -length)))
    }
    if case .integers(let values, let dimensions) = operand {
      guard dimensions.count == 1, axes.count == 1 else { throw ONNXRefusal("integers are sliced along one axis") }
      let (from, to) = bounds(0)
      let part = Array(values[from..<max(from, to)])
      return [.integers(part, [part.count])]
    }
    var (value, layout, places) = try lying(&translation, operand)
    for index in axes.indices {
      let (from, to) = bounds(index)
      guard from < to else { throw ONNXRefusal("it leaves nothing of axis \(axes[index]) of \(operand.dimensions)") }
      value = try translation.graph.slice(value, axis: places[axes[index]], from: from, count: to - from)
    }
    return [.value(value, layout)]
  }

  private static func split(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    let operand = try site.input(0)
    let axis = try ONNXSite.axis(site.integer("axis", 0), rank: operand.dimensions.count)
    let length = operand.dimensions[axis]
    let parts = site.node.outputs.count
    let lengths: [Int]
    if let given = try site.integers(1) {
      lengths = given
    } else {
      // Equal parts; the last one may be smaller.
      let part = (length + parts - 1) / max(parts, 1)
      lengths = (0..<parts).map { min(part, length - $0 * part) }
    }
    var sum = 0
    for part in lengths where part > 0 { sum = sum.addingReportingOverflow(part).partialValue }
    guard lengths.count == parts, lengths.allSatisfy({ $0 > 0 }), sum == length else {
      throw ONNXRefusal("axis \(axis) of \(operand.dimensions) cannot be split into \(parts) parts \(lengths)")
    }
    let (value, layout, places) = try lying(&translation, operand)
    var from = 0
    return try lengths.map { count in
      defer { from += count }
      return .value(try translation.graph.slice(value, axis: places[axis], from: from, count: count), layout)
    }
  }

  private static func pad(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    guard try site.string("mode", "constant") == "constant" else {
      throw ONNXRefusal("only constant padding is supported")
    }
    let operand = try site.input(0)
    let rank = operand.dimensions.count
    let axes = try (site.integers(3) ?? Array(0..<rank)).map { try ONNXSite.axis($0, rank: rank) }
    guard let amounts = try site.integers(1), amounts.count == 2 * axes.count, Set(axes).count == axes.count,
      amounts.allSatisfy({ $0 >= 0 && $0 <= Graph.elementsMax })
    else { throw ONNXRefusal("expected two amounts of 0 or more for each of the axes \(axes)") }
    let (value, layout, places) = try lying(&translation, operand)
    var before = [Int](repeating: 0, count: rank), after = before
    for (index, axis) in axes.enumerated() {
      before[places[axis]] = amounts[index]
      after[places[axis]] = amounts[axes.count + index]
    }
    let filling = try site.numbers(2)?.first ?? 0
    return [.value(try translation.graph.pad(value, before: before, after: after, value: filling), layout)]
  }

  private static func expand(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    guard let target = try site.integers(1) else { throw ONNXRefusal("its input 1, the shape, is missing") }
    let operand = try site.input(0)
    let dimensions = operand.dimensions
    guard target.count <= 16 else { throw ONNXRefusal("it makes more than 16 axes") }
    let rank = max(target.count, dimensions.count)
    let own = [Int](repeating: 1, count: rank - dimensions.count) + dimensions
    var wanted = [Int](repeating: 1, count: rank - target.count) + target
    if let rows = translation.fileRows, wanted.first == rows, own.first == translation.rows { wanted[0] = own[0] }
    let shape = try zip(own, wanted).map { own, wanted in
      guard own == wanted || own == 1 || wanted == 1 else {
        throw ONNXRefusal("the shape \(dimensions) cannot be repeated to \(target)")
      }
      return own == 1 ? wanted : own
    }
    let value = try translation.plain(operand)
    return [.value(try translation.graph.broadcast(value, to: Shape(shape)), .plain)]
  }

  private static func gather(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    let operand = try site.input(0)
    let dimensions = operand.dimensions
    let axis = try ONNXSite.axis(site.integer("axis", 0), rank: dimensions.count)
    if case .tokens(let indices)? = site.optional(1) {
      let table = try site.weight(0)
      guard axis == 0, dimensions.count == 2 else {
        throw ONNXRefusal(
          "tokens choose rows of a matrix, but the table has the shape \(dimensions) and the axis is \(axis)")
      }
      translation.vocabulary = min(translation.vocabulary ?? .max, dimensions[0])
      return [.value(try translation.graph.embedding(translation.parameter(table), indices), .plain)]
    }
    guard case .integers(let given, let lengths)? = site.optional(1) else {
      throw ONNXRefusal("its indices must be constant, or the model's input")
    }
    let length = dimensions[axis]
    try translation.spend(given.count)
    let indices = try given.map { index in
      guard (-length..<length).contains(index) else {
        throw ONNXRefusal("the index \(index) is not in an axis of \(length)")
      }
      return index < 0 ? index + length : index
    }
    if case .integers(let values, _) = operand, dimensions.count == 1 {
      return [.integers(indices.map { values[$0] }, lengths)]
    }
    let value = try translation.plain(operand)
    let chosen = try translation.graph.gather(value, indices: indices, axis: axis)
    let shape = Array(dimensions.prefix(axis)) + lengths + Array(dimensions.suffix(from: axis + 1))
    return [.value(try translation.graph.reshape(chosen, to: Shape(shape)), .plain)]
  }
}
