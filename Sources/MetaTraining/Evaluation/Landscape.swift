// The loss around the end of a training: a plane along two random directions, and the line from the start to the end.
//
//   f(alpha, beta) = loss(p + alpha d + beta e)        d, e ~ N(0, I), every filter scaled to the norm of p's filter
//   g(t) = loss(p0 + t (p - p0))
//
// Filter normalisation makes slices of differently scaled networks comparable; tensors of one axis do not move (Li et al.
// 2018, arXiv 1712.09913). A filter is what makes one output: equal last indices.
import Compute

/// Slices of a loss.
enum Landscape {
  /// Points on each side of the plane, and on the line.
  static let side = 21
  static let linePoints = 31
  static let lineRange = -0.25...1.25

  /// Losses on one batch around the member's parameters, which are not changed.
  static func measure(
    _ lane: InnerLane, _ member: Member, start: AlignedBuffer, batch: RandomKey, directions: RandomKey, step: Int
  ) -> EvaluationResult.Landscape {
    let layout = lane.task.layout
    let end = member.parameters
    let along = direction(layout, end, directions.derive(1, 0, 0)),
      across = direction(layout, end, directions.derive(2, 0, 0))
    let point = AlignedBuffer(floats: end.floats)
    lane.drawBatch(batch)
    var plane: [Float] = []
    for row in 0..<side {
      let beta = 2 * Float(row) / Float(side - 1) - 1
      for column in 0..<side {
        let alpha = 2 * Float(column) / Float(side - 1) - 1
        for place in 0..<end.floats {
          point.pointer[place] = end.pointer[place] + alpha * along[place] + beta * across[place]
        }
        plane.append(lane.loss(member, at: point.pointer, step: step))
      }
    }
    var line: [Float] = []
    for index in 0..<linePoints {
      let share = Double(index) / Double(linePoints - 1)
      let t = Float(lineRange.lowerBound + (lineRange.upperBound - lineRange.lowerBound) * share)
      for place in 0..<end.floats {
        point.pointer[place] = start.pointer[place] + t * (end.pointer[place] - start.pointer[place])
      }
      line.append(lane.loss(member, at: point.pointer, step: step))
    }
    return EvaluationResult.Landscape(side: side, plane: plane, line: line)
  }

  /// A filter-normalised direction. Where no tensor has two axes, each is one filter.
  static func direction(_ layout: ParameterLayout, _ point: AlignedBuffer, _ key: RandomKey) -> [Float] {
    var values = [Float](repeating: 0, count: layout.floats)
    let isFlat = layout.tensors.allSatisfy { $0.shape.rank < 2 }
    for (index, tensor) in layout.tensors.enumerated() where isFlat || tensor.shape.rank >= 2 {
      var normals = [Float](repeating: 0, count: tensor.count)
      key.derive(3, UInt32(index), 0).fillNormals(&normals)
      let filters = isFlat ? 1 : tensor.shape.dimensions.last ?? 1
      var own = [Double](repeating: 0, count: filters), drawn = own
      for place in 0..<tensor.count {
        own[place % filters] +=
          Double(point.pointer[tensor.offset + place]) * Double(point.pointer[tensor.offset + place])
        drawn[place % filters] += Double(normals[place]) * Double(normals[place])
      }
      for place in 0..<tensor.count {
        let filter = place % filters
        values[tensor.offset + place] =
          drawn[filter] > 0 ? normals[place] * Float((own[filter] / drawn[filter]).squareRoot()) : 0
      }
    }
    return values
  }
}
