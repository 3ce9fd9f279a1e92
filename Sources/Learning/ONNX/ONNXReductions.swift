// ONNXReductions: operators that run along axes: sums, means, extremes and softmax. ONNXOperators joins the tables.
import Compute

extension ONNXOperator {
  static let reductions: [ONNXOperator] = [
    reduce("ReduceSum") { graph, x, axes, keeps in try graph.sum(x, axes: axes, keepsAxes: keeps) },
    reduce("ReduceMean") { graph, x, axes, keeps in try graph.mean(x, axes: axes, keepsAxes: keeps) },
    reduce("ReduceMax") { graph, x, axes, keeps in try graph.maximum(x, axes: axes, keepsAxes: keeps) },
    reduce("ReduceMin") { graph, x, axes, keeps in try graph.minimum(x, axes: axes, keepsAxes: keeps) },
    softmax("Softmax") { graph, x in try graph.softmax(x) },
    softmax("LogSoftmax") { graph, x in try graph.logSoftmax(x) },
  ]

  private static func reduce(
    _ name: String, _ apply: @escaping @Sendable (inout Graph, Value, [Int], Bool) throws -> Value
  ) -> ONNXOperator {
    ONNXOperator(name, "along known axes") { translation, site in
      let operand = try site.input(0)
      let rank = operand.dimensions.count
      // The axes moved from an attribute to an input: of sums in set 13, of the others in set 18.
      let given = try site.integers(1) ?? site.integers("axes") ?? []
      if given.isEmpty, try site.integer("noop_with_empty_axes", 0) != 0 { return [operand] }
      let axes = given.isEmpty ? Array(0..<rank) : try ONNXSite.axes(given, rank: rank)
      let keeps = try site.integer("keepdims", 1) != 0
      if case .value(let value, .channelsLast) = operand {
        let places = ONNXLayout.channelsLast.places(rank: rank)
        let left = (0..<rank).filter { !axes.contains($0) }.map { places[$0] }
        if keeps || left == left.sorted() {
          let result = try apply(&translation.graph, value, axes.map { places[$0] }.sorted(), keeps)
          return [.value(result, keeps ? .channelsLast : .plain)]
        }
      }
      return [.value(try apply(&translation.graph, translation.plain(operand), axes, keeps), .plain)]
    }
  }

  private static func softmax(
    _ name: String, _ apply: @escaping @Sendable (inout Graph, Value) throws -> Value
  ) -> ONNXOperator {
    ONNXOperator(name) { translation, site in
      let operand = try site.input(0)
      let rank = operand.dimensions.count
      let axis = try ONNXSite.axis(site.integer("axis", -1), rank: rank)
      if case .value(let value, .channelsLast) = operand, axis == 1 {
        return [.value(try apply(&translation.graph, value), .channelsLast)]
      }
      let value = try translation.plain(operand)
      if axis == rank - 1 { return [.value(try apply(&translation.graph, value), .plain)] }
      var axes = Array(0..<rank)
      axes.swapAt(axis, rank - 1)
      let result = try apply(&translation.graph, translation.turn(value, axes))
      return [.value(try translation.turn(result, axes), .plain)]
    }
  }
}
