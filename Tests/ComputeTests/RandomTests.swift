// Philox.swift, RandomKey.swift: known answers, and that derived numbers are what they claim to be.
import CKernels
import Testing

@testable import Compute

@Suite struct RandomTests {
  @Test("Philox4x32-10 gives the published answers")
  func knownAnswers() {
    #expect(Philox.block(counter: (0, 0, 0, 0), key: (0, 0)) == (0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8))
    let ones = UInt32.max
    #expect(
      Philox.block(counter: (ones, ones, ones, ones), key: (ones, ones))
        == (0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd))
    #expect(
      Philox.block(
        counter: (0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344), key: (0xa409_3822, 0x299f_31d0))
        == (0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1))
    #expect(Philox.block(counter: (1, 0, 0, 0), key: (0, 0)) == (0xf8e4_cca4, 0x5cb2_00db, 0xb1a5_74eb, 0x097e_ff67))
  }

  @Test("normals are Box-Muller pairs in order")
  func normals() {
    var filled = [Float](repeating: 0, count: 7)
    RandomKey(seed: 0).fillNormals(&filled)
    let expected: [Float] = [
      0.9911377, -0.9246626, -0.6176090, -0.4820686, -0.1536382, 0.1808259, 0.8317351,
    ]
    for (value, known) in zip(filled, expected) { #expect(abs(value - known) < 1e-7) }
  }

  @Test("normals have the moments of a standard normal")
  func moments() {
    var values = [Float](repeating: 0, count: 200_000)
    RandomKey(seed: 11).derive(1, 2, 3).fillNormals(&values)
    let mean = values.reduce(0.0) { $0 + Double($1) } / Double(values.count)
    let variance = values.reduce(0.0) { $0 + Double($1) * Double($1) } / Double(values.count)
    let fourth = values.reduce(0.0) { $0 + Double($1 * $1) * Double($1 * $1) } / Double(values.count)
    #expect(abs(mean) < 0.01 && abs(variance - 1) < 0.015 && abs(fourth - 3) < 0.12)
  }

  @Test("vector normals have the same bits at every level, and are within 1e-6 of the Float64 path")
  func vectorNormals() throws {
    let key = RandomKey(seed: 0x1234_5678_9ABC).derive(10, 3, 4)
    var reference = [Float](repeating: 0, count: 400_001)
    key.fillNormals(&reference)
    var known: [Float]?
    for level in CPULevel.supported {
      let values = AlignedBuffer(floats: reference.count)
      try key.fillNormals(values.buffer, level: level)
      let error = zip(values.buffer, reference).map { abs($0 - $1) }.max()!
      #expect(error < 1e-6, "at \(level)")
      let bits = Array(values.buffer)
      if let known { #expect(known.map(\.bitPattern) == bits.map(\.bitPattern), "at \(level)") }
      known = bits
      // Any sub-range alone, with a length that is no multiple of a block.
      let part = AlignedBuffer(floats: 7)
      try key.fillNormals(part.buffer, firstBlock: 1000, level: level)
      #expect(Array(part.buffer) == Array(bits[4000..<4007]))
    }
  }

  @Test("vector words are the block function's, across the 32-bit counter too")
  func vectorWords() throws {
    for level in CPULevel.supported {
      let kernels = try Kernels(level: level)
      for first in [UInt64(0), 5, 0xFFFF_FFF0] {
        var words = [UInt32](repeating: 0, count: 4 * 37)
        kernels.table.pointee.words(0xA409_3822_299F_31D0, first, 37, &words)
        for block in 0..<37 {
          let counter = first + UInt64(block)
          let expected = Philox.block(
            counter: (UInt32(truncatingIfNeeded: counter), UInt32(counter >> 32), 0, 0), key: (0x299F_31D0, 0xA409_3822)
          )
          #expect(
            (words[4 * block], words[4 * block + 1], words[4 * block + 2], words[4 * block + 3]) == expected)
        }
      }
    }
  }

  @Test("a shuffle is a permutation, and each key gives its own")
  func shuffle() {
    var orders: Set<[Int32]> = []
    for index in 0..<20 {
      var order = [Int32](repeating: 0, count: 101)
      RandomKey(seed: 5).derive(2, UInt32(index), 0).shuffle(&order)
      #expect(order.sorted() == Array(0..<101))
      orders.insert(order)
    }
    #expect(orders.count == 20)
  }

  @Test("every element is equally likely to end in every place")
  func shuffleIsFair() {
    var counts = [[Int]](repeating: [Int](repeating: 0, count: 6), count: 6)
    for index in 0..<12_000 {
      var order = [Int32](repeating: 0, count: 6)
      RandomKey(seed: 9).derive(7, UInt32(index), 0).shuffle(&order)
      for (place, value) in order.enumerated() { counts[place][Int(value)] += 1 }
    }
    // Each cell expects 2000 with deviation 41; six deviations leave no false alarm.
    #expect(counts.joined().allSatisfy { abs($0 - 2000) < 250 })
  }

  @Test("a graph's normals are those of their key and stream, and pass no gradient", arguments: CPULevel.supported)
  func graphNormals(_ level: CPULevel) throws {
    var graph = Graph()
    let key = try graph.input("key", [2], .int32)
    let w = try graph.parameter("w", [37])
    let first = try graph.normal(key: key, shape: [37], stream: 0),
      other = try graph.normal(key: key, shape: [37], stream: 9)
    let loss = try graph.sum(graph.multiply(w, graph.square(first)))
    graph.output("first", first)
    graph.output("other", other)
    graph.output("loss", loss)
    let plan = try Plan(graph, differentiating: loss, level: level)
    let executor = Executor(plan)
    let random = RandomKey(seed: 5).derive(1, 2, 3)
    executor.int32("key")[0] = Int32(bitPattern: random.low)
    executor.int32("key")[1] = Int32(bitPattern: random.high)
    let parameters = AlignedBuffer(floats: plan.parameterLayout.floats)
    let gradients = AlignedBuffer(floats: plan.parameterLayout.floats)
    executor.run(parameters: parameters.pointer, gradients: gradients.pointer)
    var expected = [Float](repeating: 0, count: 37)
    try expected.withUnsafeMutableBufferPointer { try random.fillNormals($0, level: level) }
    #expect(Array(executor.output("first")) == expected)
    #expect(Array(gradients.buffer[..<37]) == expected.map { $0 * $0 })
    let values = executor.output("other")
    #expect(zip(values, expected).allSatisfy { $0 != $1 } && values.allSatisfy { Swift.abs($0) < 7 })
    #expect(throws: ComputeError.self) { try graph.normal(key: w, shape: [3], stream: 0) }
  }
}
