// CPU levels and their choice, accuracy of the vector mathematics in units in the last place, OpenBLAS.
import CKernels
import Foundation
import Testing

@testable import Compute

@Suite("Kernels")
struct KernelsTests {
  @Test("TRAINYARD_CPU forces a level, and refuses what it cannot force")
  func selection() throws {
    #expect(try CPULevel.selected(environment: [:]) == .best)
    for level in CPULevel.supported {
      #expect(try CPULevel.selected(environment: ["TRAINYARD_CPU": level.rawValue]) == level)
    }
    let unknown = #expect(throws: ComputeError.self) { try CPULevel.selected(environment: ["TRAINYARD_CPU": "mmx"]) }
    #expect(unknown?.op == "TRAINYARD_CPU" && unknown?.got == "mmx")
    for level in CPULevel.allCases where level > .best {
      #expect(throws: ComputeError.self) { try CPULevel.selected(environment: ["TRAINYARD_CPU": level.rawValue]) }
      #expect(throws: ComputeError.self) { try Kernels(level: level) }
    }
  }

  /// The largest error of a unary operation over `inputs`, in units in the last place of the exact result.
  private func ulps(
    _ build: (inout Graph, Value) throws -> Value, _ inputs: [Float], _ exact: (Double) -> Double, _ level: CPULevel
  ) throws -> Double {
    var graph = Graph()
    let x = try graph.input("x", [inputs.count])
    graph.output("y", try build(&graph, x))
    let executor = Executor(try Plan(graph, level: level))
    _ = executor.floats("x").update(fromContentsOf: inputs)
    executor.run(parameters: AlignedBuffer(floats: 16).pointer)
    return zip(inputs, executor.output("y")).map { input, got in
      let expected = exact(Double(input))
      return abs(Double(got) - expected) / Double(max(Float(abs(expected)), .leastNormalMagnitude).ulp)
    }.max()!
  }

  private func grid(_ range: ClosedRange<Float>, _ count: Int = 60_000) -> [Float] {
    (0..<count).map { range.lowerBound + (range.upperBound - range.lowerBound) * Float($0) / Float(count) }
  }

  @Test("transcendental functions are within their stated errors", arguments: CPULevel.supported)
  func accuracy(_ level: CPULevel) throws {
    let logarithmic = grid(-87...88).map { Foundation.exp($0) }
    #expect(try ulps({ try $0.exp($1) }, grid(-86...88), { Foundation.exp($0) }, level) < 2.1)
    #expect(try ulps({ try $0.log($1) }, logarithmic + grid(0.5...2), { Foundation.log($0) }, level) < 1.6)
    #expect(try ulps({ try $0.tanh($1) }, grid(-10...10) + grid(-0.7...0.7), { Foundation.tanh($0) }, level) < 2.1)
    let sigmoid = { (x: Double) -> Double in 1 / (1 + Foundation.exp(-x)) }
    #expect(try ulps({ try $0.sigmoid($1) }, grid(-86...80), sigmoid, level) < 2.6)
    let softplus = { (x: Double) -> Double in max(x, 0) + Foundation.log1p(Foundation.exp(-abs(x))) }
    #expect(try ulps({ try $0.softplus($1) }, grid(-80...80), softplus, level) < 3.1)
    #expect(try ulps({ try $0.erf($1) }, grid(-5...5) + grid(-1...1), { Foundation.erf($0) }, level) < 2.1)
    let shrunk = { (x: Double) -> Double in x > 0 ? x : Foundation.expm1(x) }
    #expect(try ulps({ try $0.elu($1) }, grid(-20...0), shrunk, level) < 2.1)
    #expect(try ulps({ try $0.power($1, 7) }, grid(-3...3), { Foundation.pow($0, 7) }, level) < 5.1)
    #expect(try ulps({ try $0.power($1, 1.5) }, grid(0.1...9), { Foundation.pow($0, 1.5) }, level) < 8)
    #expect(try ulps({ try $0.power($1, 65) }, grid(-2...(-0.5)), { Foundation.pow($0, 65) }, level) < 99)
    // In units of the last place of 1, since sines cross 0.
    for range in [-8...8, -8_192...8_192, 8_190...8_194, -3e9...3e9] as [ClosedRange<Float>] {
      #expect(
        try ulps({ try $0.affine($0.sin($1), scale: 0.5, shift: 1) }, grid(range), { 0.5 * sin($0) + 1 }, level) < 2.1)
      #expect(
        try ulps({ try $0.affine($0.cos($1), scale: 0.5, shift: 1) }, grid(range), { 0.5 * cos($0) + 1 }, level) < 2.1)
    }
  }

  @Test("limits and NaN go through every function as values", arguments: CPULevel.supported)
  func limits(_ level: CPULevel) throws {
    let inputs: [Float] = [.nan, .infinity, -.infinity, 0, -0.0, .leastNonzeroMagnitude, -1]
    func values(_ build: (inout Graph, Value) throws -> Value) throws -> [Float] {
      var graph = Graph()
      let x = try graph.input("x", [inputs.count])
      graph.output("y", try build(&graph, x))
      let executor = Executor(try Plan(graph, level: level))
      _ = executor.floats("x").update(fromContentsOf: inputs)
      executor.run(parameters: AlignedBuffer(floats: 16).pointer)
      let result = Array(executor.output("y"))
      #expect(result[0].isNaN)
      return Array(result[1...])
    }
    // Numbers below the smallest normal one count as zero in every kernel.
    #expect(try values { try $0.relu($1) } == [.infinity, 0, 0, 0, 0, 0])
    #expect(try values { try $0.exp($1) }.prefix(4) == [.infinity, 0, 1, 1])
    #expect(try values { try $0.tanh($1) }.prefix(4) == [1, -1, 0, 0])
    #expect(try values { try $0.sigmoid($1) }.prefix(4) == [1, 0, 0.5, 0.5])
    #expect(try values { try $0.softplus($1) }.prefix(2) == [.infinity, 0])
    let logs = try values { try $0.log($1) }
    #expect(logs[0] == .infinity && logs[1].isNaN && logs[2] == -.infinity && logs[3] == -.infinity && logs[5].isNaN)
    #expect(logs[4] == -.infinity)
    #expect(try values { try $0.abs($1) }.prefix(4) == [.infinity, .infinity, 0, 0])
    #expect(try values { try $0.sign($1) } == [1, -1, 0, 0, 0, -1])
    #expect(try values { try $0.erf($1) }.prefix(4) == [1, -1, 0, 0])
    #expect(try values { try $0.geluExact($1) }.prefix(1) == [.infinity])
    #expect(try values { try $0.clamp($1, min: -0.5, max: 2) } == [2, -0.5, 0, 0, 0, -0.5])
    #expect(try values { try $0.leakyRelu($1, slope: 0.5) } == [.infinity, -.infinity, 0, 0, 0, -0.5])
    #expect(try values { try $0.elu($1, alpha: 2) }.prefix(4) == [.infinity, -2, 0, 0])
    #expect(try values { try $0.power($1, 3) } == [.infinity, -.infinity, 0, 0, 0, -1])
    #expect(try values { try $0.power($1, -1) }.prefix(4) == [0, 0, .infinity, -.infinity])
    #expect(try values { try $0.power($1, 65) } == [.infinity, -.infinity, 0, 0, 0, -1])
    #expect(try values { try $0.power($1, 66) } == [.infinity, .infinity, 0, 0, 0, 1])
    let powers = try values { try $0.power($1, 2.5) }
    #expect(powers[0] == .infinity && powers[1].isNaN && powers[2] == 0 && powers[3] == 0 && powers[5].isNaN)
    for turn in [try values { try $0.sin($1) }, try values { try $0.cos($1) }] {
      #expect(turn[0].isNaN && turn[1].isNaN && turn[2].isFinite && turn[5].isFinite)
    }
    for build in [
      { (graph: inout Graph, x: Value) in try graph.maximum(x, graph.constant(0)) },
      { (graph: inout Graph, x: Value) in try graph.minimum(graph.constant(0), x) },
      { (graph: inout Graph, x: Value) in try graph.add(graph.scale(x, by: 0), graph.softmax(x)) },
    ] { _ = try values(build) }
  }

  @Test("a product too large for our kernel gives the same through OpenBLAS")
  func openBLAS() throws {
    // Whether a step uses it is decided by the right operand's size; 80 rows keep the Float64 check short.
    var graph = Graph()
    let x = try graph.input("x", [80, 1100])
    let w = try graph.parameter("w", [1100, 600])
    let b = try graph.parameter("b", [600])
    graph.output("y", try graph.relu(graph.add(graph.matmul(x, w), b)))
    let plan = try Plan(graph)
    #expect(plan.steps.contains { $0.contains("OpenBLAS") })
    #expect(try #require(plan.blas).core.isEmpty == false)
    var random = [Float](repeating: 0, count: 80 * 1100 + plan.parameterLayout.floats)
    RandomKey(seed: 3).fillNormals(&random)
    let executor = Executor(plan)
    _ = executor.floats("x").update(fromContentsOf: random[..<(80 * 1100)])
    let parameters = Array(random[(80 * 1100)...])
    parameters.withUnsafeBufferPointer { executor.run(parameters: $0.baseAddress!) }
    let bias = try #require(plan.parameterLayout["b"]).offset
    for (i, j) in [(0, 0), (79, 599), (13, 257), (40, 16)] {
      var sum = Double(parameters[bias + j])
      for k in 0..<1100 { sum += Double(random[i * 1100 + k]) * Double(parameters[k * 600 + j]) }
      #expect(abs(Double(executor.output("y")[i * 600 + j]) - max(sum, 0)) < 2e-4)
    }
  }
}
