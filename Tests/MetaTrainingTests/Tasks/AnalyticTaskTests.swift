// AnalyticTasks.swift, TestFunctions.swift, SoftmaxRegression.swift: values and gradients against closed forms in Float64.
import Compute
import Contract
import Foundation
import Testing

@testable import MetaTraining

/// Loss and gradient of a task at a point, on the batch of a key.
func evaluate(_ task: TrainingTask, at point: [Double], key: RandomKey = RandomKey(seed: 1)) -> (
  loss: Double, gradient: [Double]
) {
  let chain = task.gradientSource()
  let parameters = AlignedBuffer(floats: task.layout.floats), gradients = AlignedBuffer(floats: task.layout.floats)
  let memory = AlignedBuffer(floats: max(16, chain.outermost.memoryFloats))
  var index = 0
  for tensor in task.layout.tensors {
    for place in 0..<tensor.count {
      parameters.pointer[tensor.offset + place] = Float(point[index])
      index += 1
    }
  }
  chain.innermost.drawBatch(key)
  let loss = chain.outermost.evaluate(
    parameters.pointer, gradients: gradients.pointer, memory: memory.pointer, step: .init(iteration: 0, key: key))
  let gradient = task.layout.tensors.flatMap { tensor in
    (0..<tensor.count).map { Double(gradients.pointer[tensor.offset + $0]) }
  }
  return (Double(loss), gradient)
}

let tasks = TaskBuilder(data: TaskDataSets([:]), level: .best)

/// The test functions once more, in Float64 and as one would write them down.
private func reference(_ function: TestFunction, _ x: [Double]) -> Double {
  let n = x.count
  switch function {
  case .rosenbrock:
    var sum = 0.0
    for i in 0..<n - 1 {
      let valley: Double = x[i + 1] - x[i] * x[i]
      sum += 100 * valley * valley + pow(1 - x[i], 2)
    }
    return sum
  case .ackley:
    let square = x.reduce(0) { $0 + $1 * $1 } / Double(n)
    let wave = x.reduce(0) { $0 + cos(2 * .pi * $1) } / Double(n)
    return -20 * exp(-0.2 * square.squareRoot()) - exp(wave) + 20 + M_E
  case .rastrigin: return x.reduce(10 * Double(n)) { $0 + $1 * $1 - 10 * cos(2 * .pi * $1) }
  case .levy:
    let w = x.map { 1 + ($0 - 1) / 4 }
    var sum = pow(sin(.pi * w[0]), 2)
    for i in 0..<n - 1 { sum += pow(w[i] - 1, 2) * (1 + 10 * pow(sin(.pi * w[i] + 1), 2)) }
    return sum + pow(w[n - 1] - 1, 2) * (1 + pow(sin(2 * .pi * w[n - 1]), 2))
  case .griewank:
    var product = 1.0
    for i in 0..<n { product *= cos(x[i] / Double(i + 1).squareRoot()) }
    return x.reduce(0) { $0 + $1 * $1 } / 4000 - product + 1
  case .sphere: return x.reduce(0) { $0 + $1 * $1 }
  case .zakharov:
    let s = (0..<n).reduce(0) { $0 + 0.5 * Double($1 + 1) * x[$1] }
    return x.reduce(0) { $0 + $1 * $1 } + s * s + pow(s, 4)
  case .dixonPrice:
    var sum = pow(x[0] - 1, 2)
    for i in 1..<n {
      let step: Double = 2 * x[i] * x[i] - x[i - 1]
      sum += Double(i + 1) * step * step
    }
    return sum
  case .sumOfPowers: return (0..<n).reduce(0) { $0 + pow(abs(x[$1]), Double($1 + 2)) }
  case .styblinskiTang:
    return x.reduce(0) { $0 + 0.5 * (pow($1, 4) - 16 * $1 * $1 + 5 * $1) } + (n == 2 ? 80 : 0)
  case .michalewicz:
    var sum = 0.0
    for i in 0..<n { sum -= sin(x[i]) * pow(sin(Double(i + 1) * x[i] * x[i] / .pi), 20) }
    return sum
  case .beale:
    let (a, b) = (x[0], x[1])
    return pow(1.5 - a + a * b, 2) + pow(2.25 - a + a * b * b, 2) + pow(2.625 - a + a * b * b * b, 2)
  case .booth: return pow(x[0] + 2 * x[1] - 7, 2) + pow(2 * x[0] + x[1] - 5, 2)
  case .matyas: return 0.26 * (x[0] * x[0] + x[1] * x[1]) - 0.48 * x[0] * x[1]
  case .branin:
    let bend = x[1] - 5.1 / (4 * .pi * .pi) * x[0] * x[0] + 5 / .pi * x[0] - 6
    return bend * bend + 10 * (1 - 1 / (8 * .pi)) * cos(x[0]) + 10
  }
}

private func task(_ function: TestFunction, _ n: Int, _ more: [String: JSON] = [:]) throws -> TrainingTask {
  let arguments: [String: JSON] = ["function": .string(function.rawValue), "dimensions": .integer(n)]
  return try tasks.build(TaskConfig("TestFunction", arguments.merging(more) { $1 }))
}

/// Points of a function's domain.
private func points(_ function: TestFunction, _ n: Int, count: Int) -> [[Double]] {
  var draw = Draw(RandomKey(seed: 17).derive(UInt32(n), 0, 0))
  return (0..<count).map { _ in
    (0..<n).map { place in
      let range = function.domain[place % function.domain.count]
      // Floats, so that reference and task see the same point.
      return Double(Float(draw.uniform(Double(range.lowerBound), Double(range.upperBound))))
    }
  }
}

@Suite struct TestFunctionTests {
  @Test("values and gradients are those of the formula", arguments: TestFunction.allCases)
  func formula(_ function: TestFunction) throws {
    for n in function.isPlanar ? [2] : [2, 3, 7, 24] {
      let task = try task(function, n)
      for x in points(function, n, count: 5) {
        let (loss, gradient) = evaluate(task, at: x)
        let expected = reference(function, x)
        // Rastrigin and Levy add numbers far larger than their sum.
        let size = abs(expected) + Double(n)
        #expect(abs(loss - expected) < 3e-5 * size, "\(function) at \(x)")
        for place in 0..<n {
          let h = 1e-5 * max(1, abs(x[place]))
          var above = x, below = x
          above[place] += h
          below[place] -= h
          let slope = (reference(function, above) - reference(function, below)) / (2 * h)
          let scale = gradient.map(abs).max()! + 1
          #expect(abs(gradient[place] - slope) < 2e-3 * scale, "\(function) d\(place) at \(x)")
        }
      }
    }
  }

  @Test("minima are what and where they are said to be", arguments: TestFunction.allCases)
  func minima(_ function: TestFunction) throws {
    for n in function.isPlanar ? [2] : [2, 5, 10] {
      let minimum = try #require(function.minimum(dimensions: n))
      guard let point = function.minimiser(dimensions: n) else { continue }
      #expect(abs(reference(function, point) - minimum) < 1e-6, "\(function) in \(n) dimensions")
      let (loss, gradient) = evaluate(try task(function, n), at: point)
      #expect(abs(loss - minimum) < 1e-4 * (abs(minimum) + 1), "\(function) in \(n) dimensions")
      #expect(gradient.allSatisfy { abs($0) < 0.02 }, "\(function) in \(n) dimensions: \(gradient)")
    }
  }

  @Test("Michalewicz falls to its known minimum by coordinates, which do not interact", arguments: [1, 2, 5, 10])
  func michalewicz(n: Int) throws {
    // The best value of each coordinate alone, by a fine grid.
    let best = (1...n).reduce(0.0) { sum, i in
      let values = (0...200_000).map { step -> Double in
        let x = Double(step) / 200_000 * .pi
        return sin(x) * pow(sin(Double(i) * x * x / .pi), 20)
      }
      return sum - values.max()!
    }
    #expect(abs(best - TestFunction.michalewicz.minimum(dimensions: n)!) < 1e-5)
  }

  @Test("the logarithm and the scale wrap a function's value")
  func wrappers() throws {
    let x = [1.5, -0.5]
    let plain = evaluate(try task(.styblinskiTang, 2), at: x)
    let logarithm = evaluate(try task(.styblinskiTang, 2, ["log": true]), at: x)
    let gap = plain.loss - TestFunction.styblinskiTang.minimum(dimensions: 2)! + 1e-6
    #expect(abs(logarithm.loss - log(gap)) < 1e-5)
    for place in 0..<2 { #expect(abs(logarithm.gradient[place] - plain.gradient[place] / gap) < 1e-4) }
    let scaled = evaluate(try task(.styblinskiTang, 2, ["scale": 4]), at: x)
    #expect(scaled.loss == 4 * plain.loss)
  }

  @Test("dimensions that a function does not have are refused")
  func dimensions() {
    let error = #expect(throws: SpecError.self) { try task(.booth, 3) }
    #expect(error?.faults.map(\.path) == ["/args/dimensions"])
  }
}

@Suite struct QuadraticTests {
  private func normals(_ count: Int, seed: UInt64 = 4) -> [Double] {
    var values = [Float](repeating: 0, count: count)
    RandomKey(seed: seed).fillNormals(&values)
    return values.map(Double.init)
  }

  @Test("the library quadratics are sums of squares")
  func sums() throws {
    let p = normals(10)
    let square = p.reduce(0) { $0 + $1 * $1 }
    let quadratic = evaluate(try tasks.build(TaskConfig("Quadratic")), at: p)
    #expect(abs(quadratic.loss - square) < 1e-4)
    for place in 0..<10 { #expect(abs(quadratic.gradient[place] - 2 * p[place]) < 1e-5) }
    let logarithm = evaluate(try tasks.build(TaskConfig("LogQuadratic")), at: p)
    #expect(abs(logarithm.loss - log(square)) < 1e-5)
    for place in 0..<10 { #expect(abs(logarithm.gradient[place] - 2 * p[place] / square) < 1e-5) }
    let both = p + normals(10, seed: 9)
    let sum = evaluate(try tasks.build(TaskConfig("SumQuadratic")), at: both)
    #expect(abs(sum.loss - (0..<10).reduce(0) { $0 + pow(both[$1] + both[$1 + 10], 2) }) < 1e-4)
    for place in 0..<20 {
      #expect(abs(sum.gradient[place] - 2 * (both[place % 10] + both[place % 10 + 10])) < 1e-4)
    }
  }

  @Test("the noisy mean's curvature is symmetric and positive, and its noise is new each step")
  func noisyMean() throws {
    let task = try tasks.build(TaskConfig("NoisyMeanQuadratic", ["dimensions": 3, "scale": 0]))
    // Without noise the loss is p' H p: its gradient 2 H p is linear.
    let columns = (0..<3).map { axis in evaluate(task, at: (0..<3).map { $0 == axis ? 1 : 0 }).gradient }
    for i in 0..<3 {
      #expect(columns[i][i] > 0)
      for j in 0..<3 { #expect(abs(columns[i][j] - columns[j][i]) < 1e-4) }
    }
    let p = normals(3)
    let (loss, gradient) = evaluate(task, at: p)
    #expect(abs(loss - (0..<3).reduce(0) { $0 + 0.5 * p[$1] * gradient[$1] }) < 1e-3)
    let noisy = try tasks.build(TaskConfig("NoisyMeanQuadratic", ["dimensions": 3]))
    let first = evaluate(noisy, at: p, key: RandomKey(seed: 1)),
      second = evaluate(noisy, at: p, key: RandomKey(seed: 2))
    #expect(first.loss != second.loss)
  }

  @Test("a centred quadratic is least at the centre that its seed draws")
  func centred() throws {
    let task = try tasks.build(TaskConfig("FixedDimQuadratic", ["seed": 3]))
    // The gradient at 0 is -2 c.
    let centre = evaluate(task, at: [Double](repeating: 0, count: 10)).gradient.map { -$0 / 2 }
    #expect(evaluate(task, at: centre).loss < 1e-10)
    let other = try tasks.build(TaskConfig("FixedDimQuadratic", ["seed": 4]))
    #expect(evaluate(other, at: centre).loss > 1e-2)
  }

  @Test("the noisy quadratic's noise is in the gradient and not in the loss")
  func gradientNoise() throws {
    let clean = try tasks.build(TaskConfig("NoisyQuadratic", ["noise": 0]))
    let noisy = try tasks.build(TaskConfig("NoisyQuadratic", ["noise": 2]))
    let p = normals(10)
    let expected = evaluate(clean, at: p)
    var square = 0.0
    for seed in 0..<400 {
      let got = evaluate(noisy, at: p, key: RandomKey(seed: UInt64(seed)))
      #expect(got.loss == expected.loss)
      for place in 0..<10 { square += pow(got.gradient[place] - expected.gradient[place], 2) / 4000 }
    }
    // The variance of 4000 squared normals of deviation 2 is 4² · 2 / 4000.
    #expect(abs(square - 4) < 5 * (4 * (2.0 / 4000).squareRoot()))
  }

  @Test("toy losses are their formulas")
  func toys() throws {
    let (x, y) = (1.25, -0.75)
    let expected: [(String, [String: JSON], Double, [Double])] = [
      ("Valley", [:], 0.5 * (x - y) * (x - y), [x - y, y - x]),
      ("Product", [:], pow(1 - x * y, 2), [-2 * y * (1 - x * y), -2 * x * (1 - x * y)]),
      ("Bowl", ["condition": 10], 0.5 * (x * x + 10 * y * y), [x, 10 * y]),
      ("Saddle", [:], x * x - y * y, [2 * x, -2 * y]),
    ]
    for (name, arguments, loss, gradient) in expected {
      let got = evaluate(try tasks.build(TaskConfig(name, arguments)), at: [x, y])
      #expect(abs(got.loss - loss) < 1e-5, "\(name)")
      for place in 0..<2 { #expect(abs(got.gradient[place] - gradient[place]) < 1e-5, "\(name)") }
    }
  }

  @Test("softmax regression is cross-entropy plus the squared weights, and its gradient vanishes nowhere else")
  func softmaxRegression() throws {
    let task = try tasks.build(
      TaskConfig("SoftmaxRegression", ["dimensions": 4, "classes": 3, "batch": 8, "rows": 50, "decay": 0.1]))
    let zero = evaluate(task, at: [Double](repeating: 0, count: 15))
    #expect(abs(zero.loss - log(3)) < 1e-6)
    let p = normals(15)
    let got = evaluate(task, at: p)
    // Convex: the loss at any point lies above the tangent at any other.
    let q = normals(15, seed: 8)
    let tangent = got.loss + (0..<15).reduce(0) { $0 + got.gradient[$1] * (q[$1] - p[$1]) }
    #expect(evaluate(task, at: q).loss > tangent)
    #expect(zero.loss > got.loss + (0..<15).reduce(0) { $0 - got.gradient[$1] * p[$1] })
  }
}
