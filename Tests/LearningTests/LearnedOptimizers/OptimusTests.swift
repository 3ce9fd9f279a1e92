// Optimus: agreement with plain Float64 code, and what must hold of it whatever theta is.
import Compute
import Learning
import Testing

@Suite("Optimus")
struct OptimusTests {
  private let schema = ThetaSchema(Optimus.self, .init())

  @Test("agrees with plain Float64 code, whatever the shapes")
  func plain() throws {
    for shapes: [Shape] in [[.scalar], [[1], [3], [0], [2, 3]], [[3, 5], [2, 1, 2], [1, 1, 2, 1, 2]]] {
      let parameters = ParameterLayout(shapes.enumerated().map { ("t\($0.offset)", $0.element) })
      try comparePlain(schema, parameters, steps: 3, tolerance: 1e-4) {
        PlainOptimus($0, $1, blocks: [parameters.elements])
      }
    }
  }

  @Test("has 410,949 meta-parameters, which return from a file and are recognised")
  func size() throws {
    #expect(schema.layout.elements == 410_949)
    let theta = Theta.initial(schema, key: RandomKey(seed: 1))
    #expect(try Theta(safetensors: theta.safetensors()) == theta)
  }

  /// Steps on 40 parameters with nothing special in their order, taken as the given tensors.
  private func run(
    _ parameters: ParameterLayout, level: CPULevel, order: [Int], steps: Int = 4, theta: Theta? = nil
  ) throws -> OptimizerRun {
    let optimizer = Optimus(parameters: parameters, level: level)
    let run = OptimizerRun(optimizer, theta: try theta ?? livelyTheta(schema))
    var numbers = Numbers(seed: 7)
    func fill(_ buffer: AlignedBuffer) {
      let values = order.map { _ in numbers.next() }
      let placed = order.map { values[$0] }
      var from = 0
      for tensor in parameters.tensors {
        run.set(tensor.name, to: placed[from..<from + tensor.count], in: buffer)
        from += tensor.count
      }
    }
    fill(run.parameters)
    run.initialize()
    for _ in 0..<steps {
      fill(run.gradients)
      run.update()
    }
    return run
  }

  @Test("parameters in another order make the same moves", arguments: availableLevels)
  func permutation(level: CPULevel) throws {
    let parameters = layout(["w": [40]])
    let order = (0..<40).map { $0 * 17 % 40 }
    let (plain, permuted) = try (
      run(parameters, level: level, order: Array(0..<40)), run(parameters, level: level, order: order)
    )
    let (a, b) = (plain.parameter("w"), permuted.parameter("w"))
    #expect(order.indices.allSatisfy { abs(b[$0] - a[order[$0]]) < 1e-6 })
    let (first, second) = (plain.slot("preconditioner_0"), permuted.slot("preconditioner_0"))
    for i in 0..<40 {
      let expected = order.map { first[40 * order[i] + $0] }
      let row = second[(40 * i)..<(40 * i + 40)]
      #expect(zip(row, expected).allSatisfy { abs($0 - $1) < 1e-4 })
    }
    // The order did matter to what was compared.
    #expect(zip(a, b).contains { abs($0 - $1) > 1e-3 })
  }

  @Test("padding between tensors, and tensors without elements, change no bit", arguments: availableLevels)
  func padding(level: CPULevel) throws {
    let whole = try run(layout(["w": [40]]), level: level, order: Array(0..<40))
    let names = (0..<40).map { "w\($0)" }
    let apart = ParameterLayout(names.map { ($0, Shape.scalar) } + [("none", [0])])
    let pieces = try run(apart, level: level, order: Array(0..<40))
    #expect(whole.parameter("w") == names.flatMap { pieces.parameter($0) })
  }

  @Test("the preconditioner stays symmetric, positive definite, and of mean eigenvalue one", arguments: availableLevels)
  func preconditioner(level: CPULevel) throws {
    let run = try run(layout(["w": [40]]), level: level, order: Array(0..<40), steps: 12)
    let b = run.slot("preconditioner_0")
    let turned = (0..<1600).map { b[$0 % 40 * 40 + $0 / 40] }
    #expect(b == turned)
    let diagonal = (0..<40).map { b[$0 * 41] }
    #expect(abs(diagonal.reduce(0, +) / 40 - 1) < 1e-5)
    // Cholesky's factors exist: every pivot is positive.
    var factor = b.map(Double.init)
    for i in 0..<40 {
      for j in 0...i {
        var rest = factor[40 * i + j]
        for k in 0..<j { rest -= factor[40 * i + k] * factor[40 * j + k] }
        if i == j { #expect(rest > 0, "pivot \(i)") }
        factor[40 * i + j] = i == j ? rest.squareRoot() : rest / factor[41 * j]
      }
    }
    #expect(b[1] != 0)
  }

  @Test("before meta-training it descends on a quadratic along the gradient", arguments: availableLevels)
  func untrained(level: CPULevel) throws {
    let theta = Theta.initial(schema, key: RandomKey(seed: 2))
    let run = OptimizerRun(Optimus(parameters: layout(["x": [24]]), level: level), theta: theta)
    let curvature = (0..<24).map { 1 + Float($0 % 4) }
    run.set("x", to: (0..<24).map { Float($0 % 7) - 3 }, in: run.parameters)
    run.initialize()
    func product(_ a: [Float], _ b: [Float]) -> Float { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
    func loss() -> Float {
      let x = run.parameter("x")
      return product(zip(curvature, x).map { $0 * $1 }, x) / 2
    }
    var before = loss()
    for _ in 0..<50 {
      let x = run.parameter("x")
      let gradient = zip(curvature, x).map { $0 * $1 }
      run.set("x", to: gradient, in: run.gradients)
      run.update(loss: before)
      let move = zip(run.parameter("x"), x).map { $0 - $1 }
      let cosine = product(move, gradient) / (product(move, move) * product(gradient, gradient)).squareRoot()
      #expect(cosine < -0.99)
      // A step of 0.001 for each parameter, as the gradient is normalised.
      #expect(abs((product(move, move) / 24).squareRoot() - 0.001) < 1e-4)
      let now = loss()
      #expect(now < before)
      before = now
    }
  }

  @Test("more than 1,024 parameters make blocks of equal size that know nothing of each other")
  func blocks() throws {
    let theta = try livelyTheta(schema)
    let optimizer = Optimus(parameters: layout(["w": [1025]]), level: .best)
    #expect(optimizer.state["preconditioner_0"]?.shape == [513, 513])
    #expect(optimizer.state["preconditioner_1"]?.shape == [512, 512])
    let whole = OptimizerRun(optimizer, theta: theta)
    let second = OptimizerRun(Optimus(parameters: layout(["w": [512]]), level: .best), theta: theta)
    var numbers = Numbers(seed: 4)
    let (values, gradient) = ((0..<1025).map { _ in numbers.next() }, (0..<1025).map { _ in numbers.next() })
    whole.set("w", to: values, in: whole.parameters)
    whole.set("w", to: gradient, in: whole.gradients)
    second.set("w", to: values[513...], in: second.parameters)
    second.set("w", to: gradient[513...], in: second.gradients)
    for run in [whole, second] {
      run.initialize()
      run.update()
    }
    #expect(Array(whole.parameter("w")[513...]) == second.parameter("w"))
    #expect(whole.parameter("w")[0] != values[0])
  }
}
