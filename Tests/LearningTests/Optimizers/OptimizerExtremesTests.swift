// Every optimizer at the edges of what a user may give it: numbers of any size, models of any shape, runs of any length,
// and a run that goes on from a file. OptimizerConformanceTests has what they keep in the ordinary case.
import AllocationCounter
import Compute
import Contract
import Foundation
import Learning
import Testing

@Suite("Every optimizer at the edges")
struct OptimizerExtremesTests {
  typealias Case = OptimizerConformanceTests.Case
  static let cases = OptimizerConformanceTests.cases
  /// Every number of axes, few elements.
  static let small = layout([
    "scale": .scalar, "b": [7], "w": [9, 7], "conv/w": [2, 2, 3, 5], "cube": [3, 4, 2], "none": [2, 0],
  ])

  private func fill(_ run: OptimizerRun, _ numbers: inout Numbers, size: Float = 0.1) {
    run.setGradients((0..<run.optimizer.parameters.elements).map { _ in size * numbers.next() })
  }

  private func isFinite(_ run: OptimizerRun) -> Bool {
    run.allParameters.allSatisfy(\.isFinite)
      && run.optimizer.state.tensors.allSatisfy { run.slot($0.name).allSatisfy(\.isFinite) }
  }

  @Test("goes on with the same bits from a file of its parameters and state", arguments: cases)
  func file(_ one: Case) throws {
    let undisturbed = try one.run(parameters: Self.small)
    var run = undisturbed
    var numbers = Numbers(seed: 9)
    var gradients: [[Float]] = []
    for step in 0..<9 {
      gradients.append((0..<Self.small.elements).map { _ in 0.1 * numbers.next() })
      run.setGradients(gradients[step])
      run.update(loss: 1 / Float(step + 1))
    }
    let wanted = run.bits
    for stop in [0, 1, 4, 8] {
      run = try one.run(parameters: Self.small)
      for step in 0..<9 {
        if step == stop {
          let resumed = try one.run(parameters: Self.small, seed: 2)
          try resumed.load(run.file())
          resumed.iteration = run.iteration
          run = resumed
        }
        run.setGradients(gradients[step])
        run.update(loss: 1 / Float(step + 1))
      }
      #expect(run.bits == wanted, "stopped at \(stop)")
    }
  }

  @Test("stays within its memory whatever the numbers, and the same numbers give the same bits", arguments: cases)
  func sizes(_ one: Case) throws {
    for (parameterSize, gradientSize) in [
      (1, 1e30), (1, 1e-30), (1, 3e38), (1, 1e-44), (1e30, 0.1), (1e-30, 0.1), (1e30, 1e30), (0, 1e-20), (0, 0),
    ] as [(Float, Float)] {
      var outcomes: [[UInt32]] = []
      for _ in 0..<2 {
        let run = try one.run(parameters: Self.small)
        run.setParameters(run.allParameters.map { $0 * parameterSize })
        run.initialize()
        let marks = run.mark()
        var numbers = Numbers(seed: 9)
        for _ in 0..<4 {
          fill(run, &numbers, size: gradientSize)
          run.update()
        }
        #expect(run.marks() == marks, "parameters \(parameterSize), gradients \(gradientSize)")
        // A gradient that is next to nothing must not make nonsense of anything.
        if parameterSize <= 1 && gradientSize <= 1 {
          #expect(isFinite(run), "parameters \(parameterSize), gradients \(gradientSize)")
        }
        outcomes.append(run.bits)
      }
      #expect(outcomes[0] == outcomes[1], "parameters \(parameterSize), gradients \(gradientSize)")
    }
  }

  @Test("trains models of one number, of none, and of hundreds of small tensors", arguments: cases)
  func shapes(_ one: Case) throws {
    let crowd = ParameterLayout(
      (0..<200).map { number in
        ("tensor_\(number)", [.scalar, [1], [2], [1, 1], [3, 1], [1, 5], [2, 1, 3]][number % 7])
      })
    for parameters in [
      layout(["x": .scalar]), layout(["x": [1]]), layout(["x": [1, 1]]), layout(["x": [1, 1, 1, 1]]),
      layout(["none": [0]]), layout(["none": [4, 0], "also": [0, 4], "x": [1]]), layout(["long": [1, 70]]),
      layout(["tall": [70, 1]]), layout(["deep": [1, 1, 2, 1, 3, 1, 2]]), crowd,
    ] {
      let run = try one.run(parameters: parameters)
      let before = run.allParameters
      var numbers = Numbers(seed: 9)
      // An odd number of steps of one size, of which Celo2 makes some, does not lead back.
      for step in 0..<7 {
        fill(run, &numbers)
        run.update(loss: 1 / Float(step + 1))
      }
      #expect(isFinite(run), "\(parameters.tensors.map(\.shape))")
      #expect(before.isEmpty || run.allParameters != before, "\(parameters.tensors.map(\.shape))")
    }
  }

  @Test("makes runs of a single update, and goes on long after the planned end", arguments: cases)
  func lengths(_ one: Case) throws {
    let short = try one.run(parameters: Self.small, totalSteps: 1)
    var numbers = Numbers(seed: 9)
    for iteration in [0, 1, 2, 100] {
      short.iteration = iteration
      fill(short, &numbers)
      short.update()
      #expect(isFinite(short), "\(iteration) of 1")
    }
    let long = try one.run(parameters: Self.small, totalSteps: 50)
    for iteration in [0, 1, 49, 50, 51, 500, 1_000_000, 100_000_000] {
      long.iteration = iteration
      fill(long, &numbers)
      long.update()
      #expect(isFinite(long), "\(iteration) of 50")
    }
    let planned = try one.run(parameters: Self.small, totalSteps: 100_000_000)
    for iteration in [0, 1, 1000, 99_999_999] {
      planned.iteration = iteration
      fill(planned, &numbers)
      planned.update()
      #expect(isFinite(planned), "\(iteration) of 100,000,000")
    }
  }

  @Test("allocates nothing in an update that is optimised", .enabled(if: allocation_count() >= 0), arguments: cases)
  func allocations(_ one: Case) throws {
    let run = try one.run(parameters: Self.small)
    var numbers = Numbers(seed: 9)
    fill(run, &numbers)
    let slope = AlignedBuffer(floats: run.gradients.floats)
    slope.copy(from: run.gradients)
    run.problem = BatchProblem(
      loss: { $0[0] },
      evaluate: { point, gradients in
        for tensor in Self.small.tensors {
          (gradients + tensor.offset).update(from: slope.pointer + tensor.offset, count: tensor.count)
        }
        return point[0]
      })
    run.update()
    let before = allocation_count()
    for _ in 0..<12 { run.update() }
    #expect(allocation_count() - before <= 12 * Self.allocationsMax)
  }

  #if DEBUG
    /// Code that is not optimised boxes what it iterates over, some for each tensor; nothing for each element.
    private static let allocationsMax = Int64(10 * small.tensors.count)
  #else
    private static let allocationsMax: Int64 = 0
  #endif
}

extension OptimizerRun {
  /// Parameters and state as a checkpoint holds them.
  func file() -> Data {
    func tensors(_ prefix: String, _ layout: ParameterLayout, _ buffer: AlignedBuffer) -> [SafetensorsWriter.Tensor] {
      layout.tensors.map { tensor in
        SafetensorsWriter.Tensor(
          name: prefix + tensor.name, shape: tensor.shape.dimensions,
          floats: UnsafeBufferPointer(start: buffer.pointer + tensor.offset, count: tensor.count))
      }
    }
    return SafetensorsWriter.encode(
      tensors("params.", optimizer.parameters, parameters) + tensors("slots.", optimizer.state, state), metadata: [:])
  }

  func load(_ file: Data) throws {
    let file = try SafetensorsFile(file)
    for (prefix, layout, buffer) in [
      ("params.", optimizer.parameters, parameters), ("slots.", optimizer.state, state),
    ] {
      for tensor in layout.tensors {
        let floats = try file.floats(prefix + tensor.name, shape: tensor.shape.dimensions)
        (buffer.pointer + tensor.offset).update(from: floats, count: floats.count)
      }
    }
  }

  /// Writes marks into the slack behind the last tensor's padding of parameters, gradients and state, which nothing may
  /// touch, and returns them.
  func mark() -> [UInt32] {
    for (layout, buffer) in guarded {
      for place in layout.floats - 16..<layout.floats { buffer.pointer[place] = 123.25 }
    }
    return marks()
  }

  /// The marks as they are now.
  func marks() -> [UInt32] {
    guarded.flatMap { layout, buffer in
      (layout.floats - 16..<layout.floats).map { buffer.pointer[$0].bitPattern }
    }
  }

  private var guarded: [(ParameterLayout, AlignedBuffer)] {
    [(optimizer.parameters, parameters), (optimizer.parameters, gradients), (optimizer.state, state)]
  }
}
