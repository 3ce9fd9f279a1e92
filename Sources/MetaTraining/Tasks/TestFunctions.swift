// The standard test functions of optimization, in any number of dimensions where they have one, with the ranges that
// starts are drawn from and their minima.
import Compute
import Contract
import Foundation

/// A test function. `log` and `scale` wrap its value: scale · ln(f - minimum + 1e-6), or scale · f.
public enum TestFunction: String, Sendable, CaseIterable {
  case rosenbrock, ackley, rastrigin, levy, griewank, sphere, zakharov
  case dixonPrice = "dixon_price"
  case sumOfPowers = "sum_of_powers"
  case styblinskiTang = "styblinski_tang"
  case michalewicz, beale, booth, matyas, branin

  /// Whether the function is one of two variables.
  public var isPlanar: Bool { [.beale, .booth, .matyas, .branin].contains(self) }

  /// How many dimensions the function may have.
  public var dimensions: ClosedRange<Int> {
    switch self {
    case .beale, .booth, .matyas, .branin: 2...2
    case .rosenbrock, .dixonPrice: 2...10_000
    default: 1...10_000
    }
  }

  /// Where starts are drawn from, one range for each coordinate; a single one serves all.
  public var domain: [ClosedRange<Float>] {
    switch self {
    case .rosenbrock: [-5...10]
    case .ackley: [-32.768...32.768]
    case .rastrigin: [-5.12...5.12]
    case .griewank: [-600...600]
    case .styblinskiTang: [-5...5]
    // Powers up to n + 1 leave the range of floats on anything larger.
    case .sumOfPowers: [-1...1]
    case .michalewicz: [0...Float.pi]
    case .beale: [-4.5...4.5]
    case .branin: [-5...10, 0...15]
    case .levy, .sphere, .zakharov, .dixonPrice, .booth, .matyas: [-10...10]
    }
  }

  /// The least value, where it is known.
  public func minimum(dimensions n: Int) -> Double? {
    switch self {
    case .styblinskiTang: -39.166_165_703_771_42 * Double(n) + (n == 2 ? 80 : 0)
    case .michalewicz:
      // By numerical search (Vanaret et al. 2014, arXiv 2003.09867).
      [1: -0.801_303_4, 2: -1.801_303_4, 5: -4.687_658_2, 10: -9.660_151_7][n]
    case .branin: 0.397_887_357_729_738
    default: 0
    }
  }

  /// A point where the least value is taken, where one has a closed form.
  public func minimiser(dimensions n: Int) -> [Double]? {
    switch self {
    case .rosenbrock, .levy: [Double](repeating: 1, count: n)
    case .ackley, .rastrigin, .griewank, .sphere, .zakharov, .sumOfPowers, .matyas: [Double](repeating: 0, count: n)
    case .dixonPrice: (1...n).map { pow(2, -1 + pow(2, -Double($0) + 1)) }
    case .styblinskiTang: [Double](repeating: -2.903_534_027_771_177, count: n)
    case .michalewicz: nil
    case .beale: [3, 0.5]
    case .booth: [1, 3]
    case .branin: [.pi, 2.275]
    }
  }

  /// Builds the task of a configuration.
  static func build(_ config: TaskConfig, _ fields: inout Fields, level: CPULevel) throws -> TrainingTask? {
    let function = fields.choice("function", of: TestFunction.self, required: "the function's name")
    let count = fields.integer("dimensions", in: 1...10_000) ?? 2
    let scale = fields.number("scale", in: 1e-9...1e9) ?? 1
    let isLogarithm = fields.bool("log") ?? false
    fields.finish()
    guard fields.faults.isEmpty, let function else { return nil }
    guard function.dimensions.contains(count) else {
      fields.fault(
        "dimensions",
        "\(function.rawValue) takes \(function.dimensions.lowerBound) to \(function.dimensions.upperBound), got \(count)"
      )
      return nil
    }
    var graph = Graph()
    var loss = try function.emit(into: &graph, graph.parameter("x", [count]))
    if isLogarithm {
      guard let minimum = function.minimum(dimensions: count) else {
        fields.fault("log", "the least value of \(function.rawValue) in \(count) dimensions is not known")
        return nil
      }
      // A value rounded to below the minimum would have no logarithm.
      let gap = try graph.relu(graph.affine(loss, scale: 1, shift: Float(-minimum)))
      loss = try graph.log(graph.affine(gap, scale: 1, shift: 1e-6))
    }
    if scale != 1 { loss = try graph.scale(loss, by: Float(scale)) }
    graph.output("loss", loss)
    return TrainingTask(
      config: config, plan: try Plan(graph, differentiating: loss, level: level),
      start: .tensors([.uniform(function.domain)]), tags: ["analytic", "test-function"])
  }

  // MARK: Formulas

  /// Adds the function of x [n] to a graph; the value is a scalar.
  func emit(into g: inout Graph, _ x: Value) throws -> Value {
    isPlanar ? try planar(&g, x) : try general(&g, x)
  }

  private func general(_ g: inout Graph, _ x: Value) throws -> Value {
    let n = x.shape.count
    /// 1 to n as numbers.
    func indices(_ value: (Double) -> Double) throws -> Value {
      try g.constant((1...n).map { Float(value(Double($0))) }, [n])
    }
    switch self {
    case .rosenbrock:
      let low = try g.slice(x, axis: 0, from: 0, count: n - 1)
      let high = try g.slice(x, axis: 0, from: 1, count: n - 1)
      let valley = try g.scale(g.square(g.subtract(high, g.square(low))), by: 100)
      return try g.sum(g.add(valley, g.square(g.affine(low, scale: -1, shift: 1))))
    case .ackley:
      let root = try g.sqrt(g.affine(g.mean(g.square(x)), scale: 1, shift: 1e-30))
      let waves = try g.exp(g.mean(g.cos(g.scale(x, by: 2 * .pi))))
      let sum = try g.add(g.scale(g.exp(g.scale(root, by: -0.2)), by: -20), g.scale(waves, by: -1))
      return try g.affine(sum, scale: 1, shift: 20 + Float(M_E))
    case .rastrigin:
      let waves = try g.scale(g.cos(g.scale(x, by: 2 * .pi)), by: -10)
      return try g.sum(g.affine(g.add(g.square(x), waves), scale: 1, shift: 10))
    case .levy: return try levy(&g, x)
    case .griewank:
      let product = try foldedProduct(&g, g.cos(g.multiply(x, indices { 1 / $0.squareRoot() })))
      let bowl = try g.scale(g.sum(g.square(x)), by: 1 / 4000)
      return try g.affine(g.subtract(bowl, product), scale: 1, shift: 1)
    case .sphere: return try g.sum(g.square(x))
    case .zakharov:
      let square = try g.square(g.sum(g.multiply(x, indices { 0.5 * $0 })))
      return try g.add(g.sum(g.square(x)), g.add(square, g.square(square)))
    case .dixonPrice:
      let low = try g.slice(x, axis: 0, from: 0, count: n - 1)
      let high = try g.slice(x, axis: 0, from: 1, count: n - 1)
      let first = try g.reshape(g.slice(x, axis: 0, from: 0, count: 1), to: .scalar)
      let chain = try g.square(g.subtract(g.scale(g.square(high), by: 2), low))
      let weights = try g.constant((2...n).map { Float($0) }, [n - 1])
      return try g.add(g.square(g.affine(first, scale: 1, shift: -1)), g.sum(g.multiply(chain, weights)))
    case .sumOfPowers:
      // |x|^(i+1) as a power of the square, which has a gradient at 0.
      let logarithm = try g.log(g.affine(g.square(x), scale: 1, shift: 1e-30))
      return try g.sum(g.exp(g.multiply(logarithm, indices { ($0 + 1) / 2 })))
    case .styblinskiTang:
      let square = try g.square(x)
      let sum = try g.add(g.multiply(square, g.affine(square, scale: 1, shift: -16)), g.scale(x, by: 5))
      return try g.affine(g.sum(sum), scale: 0.5, shift: n == 2 ? 80 : 0)
    case .michalewicz:
      let steep = try g.square(g.sin(g.multiply(g.square(x), indices { $0 / .pi })))
      let eighth = try g.square(g.square(g.square(steep)))
      return try g.scale(g.sum(g.multiply(g.sin(x), g.multiply(eighth, g.square(steep)))), by: -1)
    case .beale, .booth, .matyas, .branin: preconditionFailure("\(rawValue) is planar")
    }
  }

  private func levy(_ g: inout Graph, _ x: Value) throws -> Value {
    let n = x.shape.count
    let w = try g.affine(x, scale: 0.25, shift: 0.75)
    let first = try g.reshape(g.slice(w, axis: 0, from: 0, count: 1), to: .scalar)
    let last = try g.reshape(g.slice(w, axis: 0, from: n - 1, count: 1), to: .scalar)
    let end = try g.multiply(
      g.square(g.affine(last, scale: 1, shift: -1)),
      g.affine(g.square(g.sin(g.scale(last, by: 2 * .pi))), scale: 1, shift: 1))
    let edges = try g.add(g.square(g.sin(g.scale(first, by: .pi))), end)
    guard n > 1 else { return edges }
    let low = try g.slice(w, axis: 0, from: 0, count: n - 1)
    let waves = try g.affine(g.square(g.sin(g.affine(low, scale: .pi, shift: 1))), scale: 10, shift: 1)
    return try g.add(edges, g.sum(g.multiply(g.square(g.affine(low, scale: 1, shift: -1)), waves)))
  }

  /// The product of all elements, halving the vector until one is left.
  private func foldedProduct(_ g: inout Graph, _ x: Value) throws -> Value {
    var values = x
    while values.shape.count > 1 {
      let n = values.shape.count, half = n / 2
      let low = try g.slice(values, axis: 0, from: 0, count: half)
      let high = try g.slice(values, axis: 0, from: half, count: half)
      let products = try g.multiply(low, high)
      values =
        n % 2 == 0
        ? products : try g.concatenate([products, g.slice(values, axis: 0, from: n - 1, count: 1)], axis: 0)
    }
    return try g.reshape(values, to: .scalar)
  }

  private func planar(_ g: inout Graph, _ p: Value) throws -> Value {
    let parts = try g.split(p, into: 2, axis: 0).map { try g.reshape($0, to: .scalar) }
    let (x, y) = (parts[0], parts[1])
    switch self {
    case .beale:
      var sum: Value?
      var power = y
      for target in [1.5, 2.25, 2.625] as [Float] {
        let term = try g.square(g.affine(g.subtract(g.multiply(x, power), x), scale: 1, shift: target))
        sum = try sum.map { try g.add($0, term) } ?? term
        power = try g.multiply(power, y)
      }
      return sum!
    case .booth:
      let a = try g.square(g.affine(g.add(x, g.scale(y, by: 2)), scale: 1, shift: -7))
      return try g.add(a, g.square(g.affine(g.add(g.scale(x, by: 2), y), scale: 1, shift: -5)))
    case .matyas:
      let squares = try g.scale(g.add(g.square(x), g.square(y)), by: 0.26)
      return try g.add(squares, g.scale(g.multiply(x, y), by: -0.48))
    default:
      let pi = Double.pi
      let bend = try g.scale(g.square(x), by: Float(-5.1 / (4 * pi * pi)))
      let inner = try g.affine(g.add(y, g.add(bend, g.scale(x, by: Float(5 / pi)))), scale: 1, shift: -6)
      let wave = try g.affine(g.cos(x), scale: Float(10 * (1 - 1 / (8 * pi))), shift: 10)
      return try g.add(g.square(inner), wave)
    }
  }
}
