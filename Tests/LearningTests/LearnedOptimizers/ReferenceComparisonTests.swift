// The kernels of small_fc, STAR, Celo and VeLO against plain Float64 code, on shapes that reach every path through them: ranks 0 to
// 4, both orders of the factored axes, interleaved axes, axes of one, partial vectors, more than one block,
// no elements.
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
    [16, 20, 3], [20, 7, 2, 16], [3, 99], [1, 101], [2, 3, 5, 98], [9, 2, 7], [1, 1, 5, 4], [4, 1, 1, 1], [0], [3, 0],
    [2, 0, 4],
  ]

  /// For variants of rules that walk tensors alike.
  static let fewShapes: [Shape] = [
    .scalar, [37], [1, 9], [12, 12], [10, 32], [23, 3], [3, 3, 4, 8], [8, 3, 6], [9, 2, 7], [0], [3, 0],
  ]

  @Test("small_fc with 4 hidden units")
  func smallFC() throws { try compare(ThetaSchema(SmallFC.self, .init()), .smallFC(.init())) }

  @Test("small_fc with 6 hidden units, no multiple of a block")
  func smallFCWide() throws {
    let wide = SmallFC.Configuration(hidden: 6, expMultiplier: 0.1, stepMultiplier: 0.01)
    try compare(ThetaSchema(SmallFC.self, wide), .smallFC(wide))
  }

  @Test("STAR")
  func star() throws { try compare(ThetaSchema(Star.self, .init()), .star(.init())) }

  @Test("STAR with 5 hidden units")
  func starWide() throws {
    var star = Star.Configuration()
    star.hidden = 5
    try compare(ThetaSchema(Star.self, star), .star(star), Self.fewShapes)
  }

  @Test("STAR with every switch thrown, whatever its nominal rule", arguments: Star.NominalEstimator.allCases)
  func starSwitches(estimator: Star.NominalEstimator) throws {
    var star = Star.Configuration()
    star.nominalEstimator = estimator
    star.expMultipliers = [0.1, 0.2, 0.3]
    (star.nominalStep, star.weightDecay) = (0.02, 0.03)
    (star.decayController, star.selfNormaliseStep, star.normaliseStep) = (true, true, false)
    (star.aggregateMagnitude, star.aggregateNominal, star.aggregateDecay) = (true, true, true)
    // 1 - 0.999, the share of the gradient in the slowest momentum, has five digits in float32.
    try compare(ThetaSchema(Star.self, star), .star(star), Self.fewShapes, tolerance: 1e-4)
  }

  @Test("Celo")
  func celo() throws { try compare(ThetaSchema(Celo.self, .init()), .celo(.init())) }

  @Test("Celo with a bank of networks and an LSTM of odd width, in both phases", arguments: Celo.Phase.allCases)
  func celoBank(phase: Celo.Phase) throws {
    let celo = Celo.Configuration(phase: phase, lstmHidden: 37, networks: 5)
    try compare(ThetaSchema(Celo.self, celo), .celo(celo), Self.fewShapes)
  }

  @Test("VeLO", arguments: [(32, 16), (21, 3), (1, 1)])
  func velo(lstmHidden: Int, networks: Int) throws {
    var velo = Velo.Configuration(lstmHidden: lstmHidden, networks: networks)
    velo.mixingScale = 10
    try compare(ThetaSchema(Velo.self, velo), .velo(velo), Self.fewShapes)
  }

  @Test("VeLO as older weights expect it")
  func veloBugged() throws {
    var velo = Velo.Configuration(lstmHidden: 16, networks: 4)
    (velo.mixingScale, velo.expMultiplier, velo.stepMultiplier) = (1, 0.01, 0.02)
    (velo.buggedLossFeatures, velo.buggedLSTMState) = (true, true)
    try compare(ThetaSchema(Velo.self, velo), .velo(velo), Self.fewShapes)
  }

  /// - Parameter tolerance: the largest deviation, as a share of what a tensor has moved.
  private func compare(
    _ schema: ThetaSchema, _ kind: ReferenceRule.Kind, _ shapes: [Shape] = shapes, tolerance share: Double = 2e-5
  ) throws {
    let parameters = ParameterLayout(shapes.enumerated().map { ("t\($0.offset)", $0.element) })
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
        if let scheduler = reference.scheduler {
          let slots = [
            ("lstm/hidden", scheduler.hidden.flatMap { $0 }), ("lstm/cell", scheduler.cell.flatMap { $0 }),
            ("loss_buffer/means", scheduler.means), ("loss_buffer/minima", scheduler.minima),
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
          let tolerance = share * moved + 3e-7
          #expect(off <= tolerance, "\(tensor.shape) at \(level), step \(step): off by \(off), not \(tolerance)")
        }
      }
    }
  }

  @Test("what the scratch memory holds does not matter, whatever the shape", arguments: CPULevel.supported)
  func scratch(level: CPULevel) throws {
    for schema in [
      ThetaSchema(SmallFC.self, .init()), ThetaSchema(SmallFC.self, .init(hidden: 6)), ThetaSchema(Star.self, .init()),
      ThetaSchema(Celo.self, .init()), ThetaSchema(Velo.self, .init(lstmHidden: 9, networks: 2)),
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
