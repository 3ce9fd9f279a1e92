// AlignedBuffer: owned Float memory for parameters, gradients, optimizer state and arenas; ParameterLayout says
// what lies where in it.

/// Zeroed `Float` memory on a 64-byte boundary, freed with its owner.
///
/// Not thread-safe: one thread at a time writes it.
public final class AlignedBuffer: @unchecked Sendable {
  // @unchecked: the address and length never change; what the memory holds is guarded by whoever shares the buffer.

  /// The first float.
  public let pointer: UnsafeMutablePointer<Float>
  /// The length in floats.
  public let floats: Int

  /// Allocates `floats` zeroed floats (at least one cache line, so that the pointer is always valid).
  public init(floats: Int) {
    precondition(floats >= 0 && floats < Int.max / 8, "AlignedBuffer: \(floats) floats is not a size")
    let capacity = max(floats, 16)
    let raw = UnsafeMutableRawPointer.allocate(byteCount: capacity * 4, alignment: 64)
    pointer = raw.initializeMemory(as: Float.self, repeating: 0, count: capacity)
    self.floats = floats
  }

  deinit { UnsafeMutableRawPointer(pointer).deallocate() }

  /// The whole buffer.
  public var buffer: UnsafeMutableBufferPointer<Float> { UnsafeMutableBufferPointer(start: pointer, count: floats) }

  /// Overwrites this buffer with another of the same length; traps when the lengths differ.
  public func copy(from other: AlignedBuffer) {
    precondition(other.floats == floats, "AlignedBuffer: cannot copy \(other.floats) floats into \(floats)")
    pointer.update(from: other.pointer, count: floats)
  }

  /// Sets every float to zero.
  public func zero() { pointer.update(repeating: 0, count: floats) }
}
