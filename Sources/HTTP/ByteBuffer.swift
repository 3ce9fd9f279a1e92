// The bytes a connection has received and not yet used; filled by Connection, read by HeadParser and ChunkedDecoder.

/// A queue of bytes in one array: appended at the end, consumed at the front.
struct ByteBuffer {
  private var bytes: [UInt8] = []
  private var start = 0

  /// Bytes waiting.
  var count: Int { bytes.count - start }
  var isEmpty: Bool { start == bytes.count }

  mutating func append(_ more: UnsafeRawBufferPointer) {
    // Used bytes go first, so that a long pipeline never grows the array past what is really waiting.
    if start > 0 {
      bytes.removeFirst(start)
      start = 0
    }
    bytes.append(contentsOf: more)
  }

  mutating func consume(_ count: Int) {
    start += count
    if start == bytes.count {
      // A quiet connection keeps at most a small array: a thousand idle ones must stay cheap.
      bytes.removeAll(keepingCapacity: bytes.capacity <= 1024)
      start = 0
    }
  }

  mutating func removeAll() {
    bytes = []
    start = 0
  }

  func withBytes<T>(_ body: (UnsafeBufferPointer<UInt8>) throws -> T) rethrows -> T {
    try bytes.withUnsafeBufferPointer { try body(UnsafeBufferPointer(rebasing: $0[start...])) }
  }
}
