// SpeedProbe: measures what one core does in a second with the kernels of a level, in about a tenth of a second.

/// Speeds of one core.
public struct SpeedProbe: Sendable {
  /// Floating-point operations of a 128 x 512 x 128 product, a shape near the kernels' best.
  public let productFlopsPerSecond: Double
  /// Elements of `gelu` over 4,096 of them.
  public let functionsPerSecond: Double
  /// Bytes of `x + y` over 16 MiB operands, 48 MiB in all.
  public let bytesPerSecond: Double

  /// Measures on the calling thread: the best of several short runs of each, since others may use the core meanwhile.
  ///
  /// Throws `ComputeError` where the machine lacks the level.
  public init(level: CPULevel) throws {
    productFlopsPerSecond = try Self.rate(level, work: 2 * 128 * 512 * 128, calls: 64) { graph in
      try graph.matmul(graph.input("x", [128, 512]), graph.input("y", [512, 128]))
    }
    functionsPerSecond = try Self.rate(level, work: 4096, calls: 64) { graph in
      try graph.gelu(graph.input("x", [4096]))
    }
    let elements = 4 << 20
    bytesPerSecond = try Self.rate(level, work: 12 * elements, calls: 1) { graph in
      try graph.add(graph.input("x", [elements]), graph.input("y", [elements]))
    }
  }

  /// Work per second of a plan, the best of eight timings of `calls` runs.
  private static func rate(
    _ level: CPULevel, work: Int, calls: Int, _ build: (inout Graph) throws -> Value
  ) throws -> Double {
    var graph = Graph()
    let result = try build(&graph)
    graph.output("result", result)
    let executor = Executor(try Plan(graph, level: level))
    let parameters = AlignedBuffer(floats: 16)
    let clock = ContinuousClock()
    var best = Duration.seconds(3600)
    executor.run(parameters: parameters.pointer)
    for _ in 0..<8 {
      let duration = clock.measure { for _ in 0..<calls { executor.run(parameters: parameters.pointer) } }
      best = min(best, duration)
    }
    let seconds = Double(best.components.seconds) + Double(best.components.attoseconds) * 1e-18
    return Double(work * calls) / max(seconds, 1e-9)
  }
}
