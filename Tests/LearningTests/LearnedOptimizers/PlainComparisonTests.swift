// The kernels of MLPLOpt, NN-Adam, Celo-Adam and RNN-MLP against the PlainRules, on ranks 0 to 4, partial vectors, more
// than one block of sums, and tensors without elements.
import Compute
import Contract
import Learning
import Testing

@Suite("Networks and LSTMs agree with plain Float64 code")
struct PlainComparisonTests {
  static let shapes: [Shape] = [
    .scalar, [1], [7], [16], [37], [0], [1, 1], [9, 1], [16, 20], [3, 0], [2, 3, 3], [3, 3, 2, 5], [2, 1, 3, 2, 2],
  ]
  /// More than the kernels sum in one go.
  static let large: Shape = [130, 133]

  @Test("MLPLOpt with 32 hidden units, and with 6, no multiple of a block", arguments: [32, 6])
  func mlpLOpt(hidden: Int) throws {
    let configuration = MLPLOpt.Configuration(hidden: hidden, expMultiplier: 0.01, stepMultiplier: 0.01)
    try compare(ThetaSchema(MLPLOpt.self, configuration), withLarge: hidden == 6) {
      PlainMLPLOpt(configuration, $0, $1)
    }
  }

  @Test("NN-Adam with 32 units of LSTM and with 5, with and without decay", arguments: [(32, 0.0), (5, 0.1)])
  func nnAdam(units: Int, decay: Double) throws {
    var configuration = NNAdam.Configuration()
    configuration.lstmHidden = units
    configuration.decayStrength = decay
    // Large, so that decays reach their bounds.
    configuration.outputScale = 0.1
    try compare(ThetaSchema(NNAdam.self, configuration), withLarge: true) { PlainNNAdam(configuration, $0, $1) }
  }

  @Test("Celo-Adam")
  func celoAdam() throws {
    try compare(ThetaSchema(CeloAdam.self, .init()), withLarge: true) { PlainCeloAdam($0, $1, totalSteps: 40) }
  }

  @Test("RNN-MLP at its published sizes")
  func rnnMLP() throws {
    try compare(ThetaSchema(RNNMLP.self, .init()), withLarge: false) { PlainRNNMLP(.init(), $0, $1) }
  }

  @Test("RNN-MLP at sizes that are no multiples of a vector")
  func rnnMLPOdd() throws {
    var odd = RNNMLP.Configuration()
    (odd.hidden, odd.lstmHidden, odd.fromMLP, odd.fromLSTM, odd.toMLP) = (7, 21, 3, 5, 2)
    try compare(ThetaSchema(RNNMLP.self, odd), withLarge: true) { PlainRNNMLP(odd, $0, $1) }
  }

  private func compare(
    _ schema: ThetaSchema, withLarge: Bool, reference make: (Theta, [(shape: [Int], values: [Float])]) -> any PlainRule
  ) throws {
    let shapes = Self.shapes + (withLarge ? [Self.large] : [])
    let parameters = ParameterLayout(shapes.enumerated().map { ("t\($0.offset)", $0.element) })
    try comparePlain(schema, parameters, steps: 4, tolerance: 2e-5, reference: make)
  }

  @Test("what the scratch memory holds does not matter, whatever the shape", arguments: availableLevels)
  func scratch(level: CPULevel) throws {
    for type in [OptimizerName.mlpLOpt, .nnAdam, .celoAdam, .rnnMLP, .optimus] {
      let schema = try #require(OptimizerCatalog.schema(of: type))
      let theta = try livelyTheta(schema)
      for shape in [Shape.scalar, [7], [0], [10, 3], [5, 11], [4, 3, 5]] {
        let parameters = ParameterLayout([("t", shape)])
        let updated = [Float.nan, 0].map { garbage in
          let run = OptimizerRun(schema.optimizer(parameters: parameters, level: level), theta: theta)
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

/// Runs a schema's optimizer at every level beside its plain rule, on gradients of very different sizes, some zero, one
/// beyond every clip; the last loss is a spike.
func comparePlain(
  _ schema: ThetaSchema, _ parameters: ParameterLayout, steps: Int, tolerance: Double,
  reference make: (Theta, [(shape: [Int], values: [Float])]) -> any PlainRule
) throws {
  let theta = try livelyTheta(schema)
  var numbers = Numbers(seed: 3)
  let starts = parameters.tensors.map { tensor in (0..<tensor.count).map { _ in numbers.next() } }
  let runs = availableLevels.map { level in
    let run = OptimizerRun(schema.optimizer(parameters: parameters, level: level), theta: theta, totalSteps: 40)
    for (tensor, start) in zip(parameters.tensors, starts) { run.set(tensor.name, to: start, in: run.parameters) }
    run.initialize()
    return run
  }
  let reference = make(theta, zip(parameters.tensors, starts).map { ($0.shape.dimensions, $1) })
  let filled = parameters.tensors.indices.filter { parameters.tensors[$0].count > 0 }
  for step in 0..<steps {
    let gradients = parameters.tensors.enumerated().map { index, tensor in
      (0..<tensor.count).map { element -> Float in
        let size: Float = [1e-4, 0.03, 1, 20][(index + element / 5) % 4]
        return element % 11 == 3 ? 0 : element == 6 && step == 2 ? 5000 : size * numbers.next()
      }
    }
    let loss: Float = step == 3 ? 9 : 2 - 0.1 * Float(step)
    reference.update(gradients.map { $0.map(Double.init) }, loss: Double(loss))
    // A rule may leave tensors without elements out.
    let expected = reference.parameters.filter { !$0.isEmpty }
    for (run, level) in zip(runs, availableLevels) {
      for (tensor, gradient) in zip(parameters.tensors, gradients) {
        run.set(tensor.name, to: gradient, in: run.gradients)
      }
      run.update(loss: loss)
      for (index, expected) in zip(filled, expected) {
        let tensor = parameters.tensors[index]
        let ours = run.parameter(tensor.name)
        var (moved, off) = (0.0, 0.0)
        for i in ours.indices {
          moved = max(moved, abs(expected[i] - Double(starts[index][i])))
          let deviation = abs(Double(ours[i]) - expected[i])
          // A NaN must count as wrong.
          off = deviation <= off ? off : deviation
        }
        let bound = tolerance * moved + 3e-7 * max(1, expected.map(abs).max()!)
        #expect(off <= bound, "\(tensor.shape) at \(level), step \(step): off by \(off), not \(bound)")
      }
    }
  }
}
