// Whether an address can be listened on, asked before anything expensive is started. `serve` and `doctor` ask.
import Foundation
import Glibc

extension ListenAddress {
  /// Why this address cannot be listened on now, in words; nil when it can.
  func obstacle() -> String? {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(host, String(port), &hints, &list)
    guard code == 0, let first = list else { return String(cString: gai_strerror(code)) }
    defer { freeaddrinfo(list) }
    let probe = socket(first.pointee.ai_family, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard probe >= 0 else { return String(cString: strerror(errno)) }
    defer { close(probe) }
    // As the server itself does: connections of a former server in TIME_WAIT are no obstacle.
    var yes: Int32 = 1
    setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
    guard bind(probe, first.pointee.ai_addr, first.pointee.ai_addrlen) == 0, listen(probe, 1) == 0 else {
      return errno == EADDRINUSE ? "another program listens there" : String(cString: strerror(errno))
    }
    return nil
  }
}
