// The kernels of small_fc and Celo against plain Float64 code, on shapes that reach every path through them: ranks 0 to
// 4, both orders of the factored axes, interleaved axes, axes of one, partial vectors, more than one block.
import Compute
import Learning
import Testing

/// Theta with every part alive, also those that start at zero.
func livelyTheta(_ schema: ThetaSchema) throws -> Theta {
  let start = Theta.initial(schema, key: RandomKey(seed: 11))
  var values = start.values
  var numbers = Numbers(seed: 5)
  for tensor in schema.layout.tensors {
    let scale: Float = tensor.name.hasSuffix("_decays") ? 0.02 : 0.1
    for index in tensor.offset..<tensor.offset + tensor.count { values[index] += scale * numbers.next() }
  }
  return try Theta(schema: schema, values: values)
}

@Suite("Learned optimizers agree with plain Float64 code")
struct ReferenceComparisonTests {
  static let shapes: [Shape] = [
    .scalar, [1], [7], [16], [37], [530], [1, 1], [9, 1], [1, 9], [64, 32], [32, 10], [10, 32], [12, 12], [48, 48],
    [130, 16], [16, 131], [300, 3], [530, 1], [3, 3, 4, 8], [3, 3, 8, 4], [5, 5, 3, 16], [2, 3, 3], [8, 3, 6],
    [16, 20, 3], [20, 7, 2, 16], [9, 2, 7], [1, 1, 5, 4], [4, 1, 1, 1],
  ]

  @Test("small_fc with 4 hidden units")
  func smallFC() throws { try compare(ThetaSchema(SmallFC.self, .init()), .smallFC(.init())) }

  @Test("small_fc with 6 hidden units, no multiple of a block")
  func smallFCWide() throws {
    let wide = SmallFC.Configuration(hidden: 6, expMultiplier: 0.1, stepMultiplier: 0.01)
    try compare(ThetaSchema(SmallFC.self, wide), .smallFC(wide))
  }

  @Test("Celo")
  func celo() throws { try compare(ThetaSchema(Celo.self, .init()), .celo) }

  private func compare(_ schema: ThetaSchema, _ kind: ReferenceRule.Kind) throws {
    let parameters = ParameterLayout(Self.shapes.enumerated().map { ("t\($0.offset)", $0.element) })
    let theta = try livelyTheta(schema)
    var numbers = Numbers(seed: 3)
    let starts = parameters.tensors.map { tensor in (0..<tensor.count).map { _ in numbers.next() } }
    let runs = availableLevels.map { level in
      let run = OptimizerRun(schema.optimizer(parameters: parameters, level: level), theta: theta, totalSteps: 40)
      for (tensor, start) in zip(parameters.tensors, starts) { run.set(tensor.name, to: start, in: run.parameters) }
      run.initialize()
      return run
    }
    let reference = ReferenceRule(
      kind, theta: theta,
      tensors: zip(parameters.tensors, starts).map { ($0.shape.dimensions, $1) }, totalSteps: 40)
    for step in 0..<4 {
      // Gradients of very different sizes, some zero, one beyond Celo's clip; the last loss is a spike.
      let gradients = parameters.tensors.enumerated().map { index, tensor in
        (0..<tensor.count).map { element -> Float in
          let size: Float = [1e-4, 0.03, 1, 20][(index + element / 5) % 4]
          return element % 11 == 3 ? 0 : element == 6 && step == 2 ? 5000 : size * numbers.next()
        }
      }
      let loss: Float = step == 3 ? 9 : 2 - 0.1 * Float(step)
      reference.update(gradients, loss: loss)
      for (run, level) in zip(runs, availableLevels) {
        for (tensor, gradient) in zip(parameters.tensors, gradients) {
          run.set(tensor.name, to: gradient, in: run.gradients)
        }
        run.update(loss: loss)
        if case .celo = kind {
          let slots = [
            ("lstm/hidden", reference.hidden), ("lstm/cell", reference.cell),
            ("loss_buffer/means", reference.lossMeans), ("loss_buffer/minima", reference.lossMinima),
          ]
          for (slot, expected) in slots {
            let isClose = zip(run.slot(slot), expected).allSatisfy { abs(Double($0) - $1) <= 1e-5 * (1 + abs($1)) }
            #expect(isClose, "\(slot) at \(level), step \(step)")
          }
        }
        for (index, tensor) in parameters.tensors.enumerated() {
          let expected = reference.parameters(index)
          let ours = run.parameter(tensor.name)
          var (moved, off) = (0.0, 0.0)
          for i in 0..<ours.count {
            moved = max(moved, abs(expected[i] - Double(starts[index][i])))
            let deviation = abs(Double(ours[i]) - expected[i])
            // A NaN must count as wrong.
            off = deviation <= off ? off : deviation
          }
          let tolerance = 2e-5 * moved + 3e-7
          #expect(off <= tolerance, "\(tensor.shape) at \(level), step \(step): off by \(off), not \(tolerance)")
        }
      }
    }
  }

  @Test("what the scratch memory holds does not matter, whatever the shape", arguments: CPULevel.supported)
  func scratch(level: CPULevel) throws {
    for schema in [
      ThetaSchema(SmallFC.self, .init()), ThetaSchema(SmallFC.self, .init(hidden: 6)), ThetaSchema(Celo.self, .init()),
    ] {
      let theta = try livelyTheta(schema)
      for shape in Self.shapes + [[10, 3], [7, 5], [5, 11], [23, 2], [4, 3, 5]] {
        let parameters = ParameterLayout([("t", shape)])
        let updated = [Float.nan, 0].map { garbage in
          let run = OptimizerRun(
            schema.optimizer(parameters: parameters, level: level), theta: theta, totalSteps: 40)
          run.set("t", to: (0..<shape.count).map { Float($0 % 13) - 6 }, in: run.parameters)
          run.set("t", to: (0..<shape.count).map { Float($0 % 7) - 3 }, in: run.gradients)
          run.initialize()
          run.scratch.pointer.update(repeating: garbage, count: run.scratch.floats)
          run.update()
          return run.parameter("t")
        }
        #expect(updated[0] == updated[1], "\(schema.name) \(shape)")
      }
    }
  }
}
