// The bytes that wait to be written to one connection, in as few writes as possible; owned by Connection.

/// Byte arrays in order, the first partly written.
struct OutputQueue {
  private var segments: [[UInt8]] = []
  private var first = 0
  private var offset = 0
  /// Bytes waiting.
  private(set) var count = 0

  var isEmpty: Bool { count == 0 }

  mutating func append(_ bytes: [UInt8]) {
    guard !bytes.isEmpty else { return }
    segments.append(bytes)
    count += bytes.count
  }

  /// A chunk of the chunked coding.
  mutating func appendChunk(_ bytes: [UInt8]) {
    guard !bytes.isEmpty else { return }
    var framed: [UInt8] = []
    framed.reserveCapacity(bytes.count + 20)
    framed.append(contentsOf: String(bytes.count, radix: 16).utf8)
    framed.append(contentsOf: [0x0D, 0x0A])
    framed.append(contentsOf: bytes)
    framed.append(contentsOf: [0x0D, 0x0A])
    append(framed)
  }

  /// Writes until all is gone or the socket takes no more; returns the bytes written and the last result.
  mutating func flush(to transport: Transport) -> (written: Int, result: TransportResult) {
    var written = 0
    while first < segments.count {
      let isLast = first == segments.count - 1
      let result = segments[first].withUnsafeBytes {
        transport.write(UnsafeRawBufferPointer(rebasing: $0[offset...]), more: !isLast)
      }
      guard case .moved(let moved) = result else { return (written, result) }
      written += moved
      offset += moved
      count -= moved
      if offset == segments[first].count {
        segments[first] = []
        first += 1
        offset = 0
        if first == 32 {
          segments.removeFirst(first)
          first = 0
        }
      }
    }
    removeAll()
    return (written, .moved(written))
  }

  mutating func removeAll() {
    segments.removeAll(keepingCapacity: segments.capacity <= 4)
    first = 0
    offset = 0
    count = 0
  }
}
