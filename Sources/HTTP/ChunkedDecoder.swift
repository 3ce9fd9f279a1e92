// Decodes a chunked request body (RFC 9112 §7.1), strictly; fed by Connection, beside HeadParser.

/// An incremental decoder of the chunked coding: no bare line feeds, bounded extensions and trailers, both ignored.
struct ChunkedDecoder {
  private enum State {
    case size
    case extensionText
    case sizeLineFeed
    case data
    case dataReturn
    case dataLineFeed
    case trailer
    case trailerLineFeed
    case finished
  }

  private let limits: HeadLimits
  private var state = State.size
  private var sizeDigits = 0
  /// The size being read, then the bytes of the chunk still to come.
  private var remaining = 0
  private var isLastChunk = false
  private var extensionBytes = 0
  private var trailerBytes = 0
  private var trailerFields = 0
  private var trailerLine: [UInt8] = []

  init(limits: HeadLimits) { self.limits = limits }

  var isFinished: Bool { state == .finished }

  /// Decodes as much of `bytes` as belongs to this body and returns how much that was; data goes to `sink` in order.
  ///
  /// Stops early when `sink` returns false. Throws a 400 at the first byte that breaks the coding.
  mutating func decode(
    _ bytes: UnsafeBufferPointer<UInt8>, _ sink: (UnsafeRawBufferPointer) -> Bool
  ) throws(ProtocolFault) -> Int {
    var position = 0
    while position < bytes.count, state != .finished {
      if state == .data {
        let count = min(remaining, bytes.count - position)
        remaining -= count
        if remaining == 0 { state = .dataReturn }
        let piece = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(bytes)[position..<position + count])
        position += count
        if !sink(piece) { return position }
      } else {
        try step(bytes[position])
        position += 1
      }
    }
    return position
  }

  /// Takes one byte that is not chunk data.
  private mutating func step(_ byte: UInt8) throws(ProtocolFault) {
    switch state {
    case .size:
      try stepSize(byte)
    case .extensionText:
      if byte == 0x0D {
        state = .sizeLineFeed
        return
      }
      guard byte.isFieldText else { throw .bad("a chunk extension holds a control character") }
      extensionBytes += 1
      guard extensionBytes <= limits.chunkExtensionBytesMax else {
        throw .bad("the chunk extensions are longer than \(limits.chunkExtensionBytesMax) bytes")
      }
    case .sizeLineFeed:
      guard byte == 0x0A else { throw .bad("a chunk size line does not end with CRLF") }
      isLastChunk = remaining == 0
      state = isLastChunk ? .trailer : .data
      sizeDigits = 0
    case .dataReturn:
      guard byte == 0x0D else { throw .bad("a chunk is longer than its size line says") }
      state = .dataLineFeed
    case .dataLineFeed:
      guard byte == 0x0A else { throw .bad("a chunk's data does not end with CRLF") }
      state = .size
    case .trailer:
      if byte == 0x0D {
        state = .trailerLineFeed
        return
      }
      guard byte.isFieldText else { throw .bad("a trailer field holds a control character") }
      trailerBytes += 1
      guard trailerBytes <= limits.headerBytesMax else {
        throw ProtocolFault(
          status: .headersTooLarge, detail: "the trailer fields are longer than \(limits.headerBytesMax) bytes")
      }
      trailerLine.append(byte)
    case .trailerLineFeed:
      guard byte == 0x0A else { throw .bad("a trailer line does not end with CRLF") }
      try finishTrailerLine()
    case .data, .finished:
      break
    }
  }

  private mutating func stepSize(_ byte: UInt8) throws(ProtocolFault) {
    if let digit = byte.hexValue {
      sizeDigits += 1
      // Fifteen digits always fit 63 bits; leading zeros count, or they would be endless.
      guard sizeDigits <= 15 else { throw .bad("a chunk size has more than 15 digits") }
      remaining = remaining << 4 | Int(digit)
      return
    }
    guard sizeDigits > 0 else { throw .bad("a chunk size is not a hexadecimal number") }
    switch byte {
    case 0x0D: state = .sizeLineFeed
    case UInt8(ascii: ";"): state = .extensionText
    default: throw .bad("a chunk size is followed by something other than ; or CRLF")
    }
  }

  private mutating func finishTrailerLine() throws(ProtocolFault) {
    guard !trailerLine.isEmpty else {
      state = .finished
      return
    }
    trailerFields += 1
    guard trailerFields <= limits.headerFieldsMax else {
      throw ProtocolFault(
        status: .headersTooLarge, detail: "there are more than \(limits.headerFieldsMax) trailer fields")
    }
    let line = trailerLine
    trailerLine.removeAll(keepingCapacity: true)
    // Only the form is checked: a trailer is never read, so it cannot stand in for a header.
    var fault: ProtocolFault?
    line.withUnsafeBufferPointer { bytes in
      do throws(ProtocolFault) { _ = try HeadParser.field(0..<bytes.count, bytes) } catch { fault = error }
    }
    if let fault { throw fault }
    state = .trailer
  }
}
