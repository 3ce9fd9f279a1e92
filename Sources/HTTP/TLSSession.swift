// TLS on one connected socket: handshake, reading, writing, the end. Transport owns it; Connection+Handshake drives its begin.

import COpenSSL

/// The server's side of one TLS connection over a non-blocking descriptor.
///
/// `@unchecked Sendable`: used by one thread at a time, by a handshake thread first and the event loop's afterwards; the
/// hand-overs go through locked queues.
final class TLSSession: @unchecked Sendable {
  /// What a step of the handshake led to.
  enum Step {
    case done
    case waitsForInput
    case waitsForOutput
    case failed(reason: String)
  }

  private let ssl: OpaquePointer
  /// After a fatal failure nothing more may be asked of OpenSSL.
  private var isBroken = false
  /// Whether the last read took all that the socket had.
  private(set) var isDrained = false

  /// - Parameter descriptor: stays the caller's.
  init?(_ credentials: TLSCredentials, descriptor: Int32) {
    ERR_clear_error()
    guard let ssl = SSL_new(credentials.context) else { return nil }
    self.ssl = ssl
    // From here on `deinit` frees it, also when this fails.
    guard SSL_set_fd(ssl, descriptor) == 1 else { return nil }
    SSL_set_accept_state(ssl)
  }

  deinit { SSL_free(ssl) }

  /// Goes on with the handshake as far as the socket allows; costs a millisecond or so of arithmetic.
  func handshake() -> Step {
    ERR_clear_error()
    let result = SSL_do_handshake(ssl)
    if result == 1 { return .done }
    switch SSL_get_error(ssl, result) {
    case SSL_ERROR_WANT_READ: return .waitsForInput
    case SSL_ERROR_WANT_WRITE: return .waitsForOutput
    case SSL_ERROR_ZERO_RETURN, SSL_ERROR_SYSCALL:
      isBroken = true
      return .failed(reason: "the client went away")
    default:
      isBroken = true
      return .failed(reason: TLSCredentials.reason())
    }
  }

  /// Fills the buffer as far as the socket gives: records are 16 KiB at most, and what OpenSSL holds back of one is never
  /// announced by the kernel again.
  func read(into buffer: UnsafeMutableRawBufferPointer) -> TransportResult {
    isDrained = false
    var total = 0
    while total < buffer.count {
      var count = 0
      ERR_clear_error()
      if !isBroken, SSL_read_ex(ssl, buffer.baseAddress! + total, buffer.count - total, &count) == 1 {
        total += count
        continue
      }
      let result = failure(0)
      isDrained = result == .waitsForInput
      // The reason that there is no more comes again with the next read.
      return total > 0 ? .moved(total) : result
    }
    return .moved(total)
  }

  func write(_ bytes: UnsafeRawBufferPointer) -> TransportResult {
    var count = 0
    ERR_clear_error()
    if !isBroken, SSL_write_ex(ssl, bytes.baseAddress, bytes.count, &count) == 1 { return .moved(count) }
    return failure(0)
  }

  /// Says that nothing more comes; `.ended` once that is said, or cannot be.
  func sayEnd() -> TransportResult {
    if isBroken { return .ended }
    ERR_clear_error()
    let result = SSL_shutdown(ssl)
    if result >= 0 { return .ended }
    let reason = failure(result)
    return reason == .waitsForOutput ? reason : .ended
  }

  private func failure(_ result: Int32) -> TransportResult {
    if isBroken { return .failed }
    switch SSL_get_error(ssl, result) {
    case SSL_ERROR_WANT_READ: return .waitsForInput
    case SSL_ERROR_WANT_WRITE: return .waitsForOutput
    case SSL_ERROR_ZERO_RETURN: return .ended
    default:
      isBroken = true
      return .failed
    }
  }
}
