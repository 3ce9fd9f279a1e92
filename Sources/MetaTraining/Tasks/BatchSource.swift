// BatchSource: what fills a plan's inputs before a step. Image and token sources are in files of their own; here are the
// ones without data.
import Compute

/// The memory of a plan's inputs, by the order of a source's `inputs`.
public struct BatchPlaces {
  private let pointers: UnsafeMutablePointer<UnsafeMutableRawPointer>
  private let count: Int

  /// Resolves the inputs of that names once, so that steps look nothing up. The caller frees it.
  init(_ inputs: [BatchInput], of executor: Executor) {
    count = inputs.count
    pointers = .allocate(capacity: max(1, count))
    for (index, input) in inputs.enumerated() {
      let memory =
        input.type == .float32
        ? UnsafeMutableRawPointer(executor.floats(input.name).baseAddress!)
        : UnsafeMutableRawPointer(executor.int32(input.name).baseAddress!)
      (pointers + index).initialize(to: memory)
    }
  }

  func deallocate() { pointers.deallocate() }

  /// The memory of a float input.
  public func floats(_ index: Int) -> UnsafeMutablePointer<Float> {
    pointers[index].assumingMemoryBound(to: Float.self)
  }

  /// The memory of an int32 input.
  public func int32(_ index: Int) -> UnsafeMutablePointer<Int32> {
    pointers[index].assumingMemoryBound(to: Int32.self)
  }
}

/// An input that a source fills.
public struct BatchInput: Sendable {
  /// The input's name in the plan.
  public let name: String
  /// What its elements are.
  public let type: ElementType

  /// An input of a plan.
  public init(_ name: String, _ type: ElementType = .float32) {
    self.name = name
    self.type = type
  }
}

/// Draws batches. Immutable; all lanes share one.
public protocol BatchSource: Sendable {
  /// The plan's inputs that ``draw(_:into:)`` fills.
  var inputs: [BatchInput] { get }

  /// Fills the inputs with the batch of `key`: equal keys give equal batches. Allocates nothing.
  func draw(_ key: RandomKey, into places: BatchPlaces)
}

/// For losses of the parameters alone.
public struct NoBatches: BatchSource {
  /// None.
  public var inputs: [BatchInput] { [] }
  /// A source of nothing.
  public init() {}
  /// Does nothing.
  public func draw(_ key: RandomKey, into places: BatchPlaces) {}
}

/// Fresh standard normals for each step.
public struct NoiseBatches: BatchSource {
  /// The inputs that get normals.
  public let inputs: [BatchInput]
  private let counts: [Int]
  private let level: CPULevel

  /// - Parameter counts: the input names with how many numbers each holds.
  init(_ counts: [(name: String, count: Int)], level: CPULevel) {
    inputs = counts.map { BatchInput($0.name) }
    self.counts = counts.map(\.count)
    self.level = level
  }

  /// Fills all inputs with normals of `key`.
  public func draw(_ key: RandomKey, into places: BatchPlaces) {
    for index in counts.indices {
      let memory = UnsafeMutableBufferPointer(start: places.floats(index), count: counts[index])
      // The level was checked when the task's plan was made.
      try! key.derive(20, UInt32(index), 0).fillNormals(memory, level: level)
    }
  }
}
