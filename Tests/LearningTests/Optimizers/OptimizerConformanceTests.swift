// What every optimizer must keep, whatever its rule: run over the whole catalog, so a new optimizer is covered by
// being listed there.
import Compute
import Contract
import Learning
import Testing

@Suite("Every optimizer")
struct OptimizerConformanceTests {
  static let parameters = layout([
    "scale": .scalar, "one": [1], "dense/w": [17, 32], "dense/b": [32], "out/w": [32, 10], "out/b": [10],
    "conv/w": [3, 3, 4, 8], "square": [12, 12], "thin": [5, 1], "cube": [4, 6, 5], "empty": [0], "none/w": [3, 0],
  ])

  /// A catalog entry at a level.
  struct Case: Sendable, CustomTestStringConvertible {
    let name: OptimizerName
    let level: CPULevel
    var testDescription: String { "\(name.rawValue) at \(level)" }

    /// A learned optimizer's theta: as published, but for VeLO's millions of weights.
    var schema: ThetaSchema? {
      name == .velo ? ThetaSchema(Velo.self, .init(lstmHidden: 24, networks: 6)) : OptimizerCatalog.schema(of: name)
    }

    /// What keeps a case small.
    static func options(_ name: OptimizerName) -> [String: JSON] { name == .mfac ? ["gradients": 6] : [:] }

    func run(
      parameters: ParameterLayout = OptimizerConformanceTests.parameters, options: [String: JSON] = [:],
      seed: UInt64 = 1, totalSteps: Int = 50
    ) throws -> OptimizerRun {
      let theta = try schema.map { try livelyTheta($0) }
      let optimizer = OptimizerCatalog.make(
        OptimizerSettings(name, options.merging(Self.options(name)) { $1 }), parameters: parameters, theta: schema,
        totalSteps: totalSteps, level: level)
      let run = OptimizerRun(optimizer, theta: theta, totalSteps: totalSteps)
      var numbers = Numbers(seed: seed)
      for tensor in parameters.tensors {
        run.set(tensor.name, to: (0..<tensor.count).map { _ in numbers.next() }, in: run.parameters)
      }
      run.initialize()
      return run
    }
  }

  static let names = OptimizerName.allCases.filter { $0 != .auto }
  static let cases = names.flatMap { name in availableLevels.map { Case(name: name, level: $0) } }

  private func fill(_ run: OptimizerRun, _ numbers: inout Numbers, size: Float = 0.1) {
    for tensor in run.optimizer.parameters.tensors {
      run.set(tensor.name, to: (0..<tensor.count).map { _ in size * numbers.next() }, in: run.gradients)
    }
  }

  private func bits(_ run: OptimizerRun) -> [UInt32] {
    (run.optimizer.parameters.tensors.flatMap { run.parameter($0.name) }
      + run.optimizer.state.tensors.flatMap { run.slot($0.name) }).map(\.bitPattern)
  }

  /// Hand-designed rules that move parameters without gradients: weight decay by default, Fromage's shrinking weights,
  /// Yogi's moments that do not begin at zero, and Schedule-Free's rounding between its two sequences.
  static let movers: Set<OptimizerName> = [.adamw, .lion, .optlist, .fromage, .yogi, .scheduleFreeAdamW]

  /// Rates at which a rule goes down a quadratic in 300 updates; 0.05 for those that are not named.
  static let rates: [OptimizerName: Double] = [
    .mezo: 0.02, .adagrad: 0.5, .sm3: 0.5, .adadelta: 20, .lars: 100, .prodigy: 1, .dadaptAdamW: 1,
  ]

  @Test("has a state of named tensors, all finite at the start, and says what it is", arguments: cases)
  func state(_ one: Case) throws {
    let run = try one.run()
    let optimizer = run.optimizer
    #expect(optimizer.name == one.name.rawValue)
    #expect(optimizer.parameters == Self.parameters)
    #expect((optimizer.thetaLayout != nil) == one.name.isLearned)
    #expect(optimizer.state.tensors.allSatisfy { run.slot($0.name).allSatisfy { $0.isFinite } })
    // What admission reckons with covers what a matrix takes.
    let side = (one.name.traits.parametersMax ?? Int.max) < 256 * 256 ? 64 : 256
    let matrix = layout(["w": [side, side]])
    let settings = OptimizerSettings(one.name)
    let floats = OptimizerCatalog.make(settings, parameters: matrix, level: one.level).state.elements
    #expect(floats <= (settings.stateFloatsPerParameter + 1) * side * side, "\(floats)")
  }

  @Test("gives the same bits for the same inputs", arguments: cases)
  func determinism(_ one: Case) throws {
    let runs = try [one.run(), one.run()]
    for run in runs {
      var numbers = Numbers(seed: 9)
      for step in 0..<5 {
        fill(run, &numbers)
        run.update(loss: 1 / Float(step + 1))
      }
    }
    #expect(bits(runs[0]) == bits(runs[1]))
  }

  @Test("goes on from a copy of its state with the same bits", arguments: cases)
  func resume(_ one: Case) throws {
    let run = try one.run()
    let resumed = try one.run(seed: 2)
    var numbers = Numbers(seed: 9)
    for step in 0..<8 {
      if step == 4 {
        resumed.parameters.copy(from: run.parameters)
        resumed.state.copy(from: run.state)
        resumed.iteration = run.iteration
      }
      fill(run, &numbers)
      resumed.gradients.copy(from: run.gradients)
      run.update(loss: 1 / Float(step + 1))
      if step >= 4 { resumed.update(loss: 1 / Float(step + 1)) }
    }
    #expect(bits(run) == bits(resumed))
  }

  @Test("keeps everything finite when all gradients are zero", arguments: cases)
  func zeroGradient(_ one: Case) throws {
    // Decay moves weights without a gradient.
    let run = try one.run(options: ["weight_decay": 0])
    let before = Self.parameters.tensors.map { run.parameter($0.name) }
    run.curvature = 0
    for tensor in Self.parameters.tensors {
      run.set(tensor.name, to: [Float](repeating: 0, count: tensor.count), in: run.gradients)
    }
    for _ in 0..<5 { run.update(loss: 0) }
    for (tensor, old) in zip(Self.parameters.tensors, before) {
      let values = run.parameter(tensor.name)
      #expect(values.allSatisfy { $0.isFinite }, "\(tensor.name)")
      // A learned rule may move parameters by their own size alone; the others must not move them, unless they say so.
      if Self.movers.contains(one.name) {
        #expect(zip(values, old).allSatisfy { abs($0 - $1) < 0.05 }, "\(tensor.name)")
      } else if !one.name.isLearned {
        #expect(values == old)
      }
    }
    #expect(run.optimizer.state.tensors.allSatisfy { run.slot($0.name).allSatisfy { $0.isFinite } })
  }

  @Test("shows a gradient that is not a number in the parameters of its tensor", arguments: cases)
  func poisonedGradient(_ one: Case) throws {
    let run = try one.run()
    var numbers = Numbers(seed: 9)
    fill(run, &numbers)
    let tensor = Self.parameters["dense/w"]!
    run.gradients.pointer[tensor.offset + 5] = .nan
    run.update()
    #expect(run.parameter("dense/w")[5].isNaN)
    // Who sees losses alone cannot tell where it came from, and Optimus' attention goes over all tensors alike.
    guard !run.optimizer.needs.contains(.noGradient), one.name != .optimus else { return }
    #expect(run.parameter("out/w").allSatisfy { $0.isFinite })
  }

  @Test("writes nothing behind the parameters, the state and the scratch memory", arguments: cases)
  func bounds(_ one: Case) throws {
    let theta = try one.schema.map { try livelyTheta($0) }
    let settings = OptimizerSettings(one.name, Case.options(one.name))
    let optimizer = OptimizerCatalog.make(
      settings, parameters: Self.parameters, theta: one.schema, level: one.level)
    let guardFloats = 64
    let mark: Float = 123.25
    let sizes = [
      optimizer.parameters.floats, optimizer.parameters.floats, optimizer.state.floats, optimizer.scratchFloats,
    ]
    let memory = sizes.map { AlignedBuffer(floats: $0 + guardFloats) }
    for (buffer, size) in zip(memory, sizes) {
      for index in size..<size + guardFloats { buffer.pointer[index] = mark }
    }
    var numbers = Numbers(seed: 4)
    for tensor in Self.parameters.tensors {
      for index in tensor.offset..<tensor.offset + tensor.count {
        memory[0].pointer[index] = numbers.next()
        memory[1].pointer[index] = numbers.next()
      }
    }
    let weights = theta?.aligned()
    optimizer.initialize(state: memory[2].pointer, parameters: memory[0].pointer, theta: weights?.pointer)
    for iteration in 0..<3 {
      optimizer.update(
        parameters: memory[0].pointer, gradients: memory[1].pointer, state: memory[2].pointer,
        scratch: memory[3].pointer,
        step: OptimizerStep(
          iteration: iteration, totalSteps: 10, loss: 1, theta: weights.map { UnsafePointer($0.pointer) },
          problem: BatchProblem(loss: { $0[0] }, evaluate: { point, _ in point[0] })))
    }
    for (buffer, size) in zip(memory, sizes) {
      #expect((size..<size + guardFloats).allSatisfy { buffer.pointer[$0] == mark })
    }
  }

  @Test("hand-designed ones descend on a quadratic", arguments: cases.filter { !$0.name.isLearned })
  func quadratic(_ one: Case) throws {
    let parameters = layout(["x": [33]])
    // Random directions overshoot in 33 dimensions where the gradient would not.
    var settings = OptimizerSettings(one.name)
    if settings.has("learning_rate") {
      settings = settings.with("learning_rate", .number(Self.rates[one.name] ?? 0.05))
    }
    // The list's entry with the largest steps.
    if one.name == .optlist { settings = settings.with("index", 6) }
    // Along what M-FAC has not seen yet, which here is rounding alone, it goes as far as damping lets it.
    if one.name == .mfac { settings = settings.with("damping", 1) }
    let optimizer = OptimizerCatalog.make(settings, parameters: parameters, totalSteps: 300, level: one.level)
    let run = OptimizerRun(optimizer, totalSteps: 300)
    run.set("x", to: (0..<33).map { Float($0 % 7) - 3 }, in: run.parameters)
    run.initialize()
    func loss() -> Float { run.parameter("x").reduce(0) { $0 + $1 * $1 / 2 } }
    let before = loss()
    for _ in 0..<300 {
      run.set("x", to: run.parameter("x"), in: run.gradients)
      run.update(loss: loss())
    }
    #expect(loss() < 0.01 * before)
  }

  @Test("the levels agree to rounding", arguments: names)
  func levelsAgree(_ name: OptimizerName) throws {
    let runs = try availableLevels.map { try Case(name: name, level: $0).run() }
    for run in runs {
      var numbers = Numbers(seed: 9)
      for _ in 0..<5 {
        fill(run, &numbers)
        run.update()
      }
    }
    for tensor in Self.parameters.tensors {
      let scalar = runs[0].parameter(tensor.name)
      for run in runs.dropFirst() {
        #expect(zip(run.parameter(tensor.name), scalar).allSatisfy { abs($0 - $1) < 1e-6 }, "\(tensor.name)")
      }
    }
  }
}
