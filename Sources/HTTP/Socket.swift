// The only file that calls sockets, epoll and eventfd: listener, connected transport, poller; used by EventLoop and Connection.

import CEpoll
import Foundation
import Glibc

/// Why a server cannot listen.
public struct ListenError: Error, CustomStringConvertible, Equatable {
  /// The address and the reason.
  public let description: String
}

/// What a transport answers instead of blocking.
enum TransportResult: Equatable {
  /// So many bytes were moved, at least one.
  case moved(Int)
  /// Nothing can be done until the peer sends something.
  case waitsForInput
  /// Nothing can be done until the socket takes more.
  case waitsForOutput
  /// The peer will send nothing more (reading only).
  case ended
  /// The connection is broken.
  case failed
}

/// One connected, non-blocking socket, and TLS on it if it is a secure one.
///
/// Owned and used by the event loop's thread alone, but for a step of the handshake, during which another thread owns it;
/// closes its descriptor when told, at the latest when released.
///
/// `@unchecked Sendable`: the hand-overs go through locked queues.
final class Transport: @unchecked Sendable {
  let descriptor: Int32
  /// Whether the last read took all that there was, so that whatever comes next is reported by the kernel.
  private(set) var isDrained = false
  private var tls: TLSSession?
  private var isOpen = true

  /// - Parameter credentials: nil for a plain connection.
  /// - Returns: nil, with the descriptor closed, when there is no memory for TLS.
  init?(descriptor: Int32, credentials: TLSCredentials?) {
    self.descriptor = descriptor
    if let credentials {
      guard let session = TLSSession(credentials, descriptor: descriptor) else {
        Glibc.close(descriptor)
        return nil
      }
      tls = session
    }
    // Every answer leaves in one write as far as it can; waiting to merge small ones would only stall clients.
    var on: Int32 = 1
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
  }

  deinit { close() }

  /// Whether a handshake must come first.
  var isSecure: Bool { tls != nil }

  func handshake() -> TLSSession.Step { tls?.handshake() ?? .failed(reason: "the connection is not secure") }

  /// From here on the bytes on the wire are read and written as they are.
  func leaveTLS() { tls = nil }

  /// The value of the next byte on the wire, which stays there.
  func peek() -> TransportResult {
    var byte: UInt8 = 0
    while true {
      let count = recv(descriptor, &byte, 1, Int32(MSG_PEEK))
      if count > 0 { return .moved(Int(byte)) }
      if count == 0 { return .ended }
      if errno == EINTR { continue }
      return errno == EAGAIN ? .waitsForInput : .failed
    }
  }

  func read(into buffer: UnsafeMutableRawBufferPointer) -> TransportResult {
    if let tls {
      defer { isDrained = tls.isDrained }
      return tls.read(into: buffer)
    }
    while true {
      let count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
      isDrained = count < buffer.count
      if count > 0 { return .moved(count) }
      if count == 0 { return .ended }
      if errno == EINTR { continue }
      return errno == EAGAIN ? .waitsForInput : .failed
    }
  }

  /// - Parameter more: whether another write follows at once, so that the kernel may merge both into one segment.
  func write(_ bytes: UnsafeRawBufferPointer, more: Bool) -> TransportResult {
    if let tls { return tls.write(bytes) }
    let flags = Int32(MSG_NOSIGNAL) | (more ? Int32(MSG_MORE) : 0)
    while true {
      let count = send(descriptor, bytes.baseAddress, bytes.count, flags)
      if count >= 0 { return .moved(count) }
      if errno == EINTR { continue }
      return errno == EAGAIN ? .waitsForOutput : .failed
    }
  }

  /// Tells the peer that nothing more comes, while its bytes can still be read and dropped.
  ///
  /// - Returns: false if the socket has no room for that yet.
  func endWriting() -> Bool {
    if let tls {
      if tls.sayEnd() == .waitsForOutput { return false }
      leaveTLS()
    }
    shutdown(descriptor, Int32(SHUT_WR))
    return true
  }

  func close() {
    guard isOpen else { return }
    isOpen = false
    tls = nil
    Glibc.close(descriptor)
  }
}

/// The address of a client.
struct Peer {
  var text: String
  /// The whole IPv4 address, or the first 64 bits of an IPv6 one: what a single user commands.
  var key: UInt64
  var isLoopback: Bool

  init(_ storage: sockaddr_storage) {
    var storage = storage
    let family = storage.ss_family
    self = withUnsafeBytes(of: &storage) { raw in
      guard family == sa_family_t(AF_INET6) else {
        let address = raw.loadUnaligned(fromByteOffset: 4, as: UInt32.self).bigEndian
        return Peer(ipv4: address)
      }
      let high = raw.loadUnaligned(fromByteOffset: 8, as: UInt64.self).bigEndian
      let low = raw.loadUnaligned(fromByteOffset: 16, as: UInt64.self).bigEndian
      // ::ffff:a.b.c.d is an IPv4 client of a dual-stack listener.
      if high == 0, low >> 32 == 0xFFFF { return Peer(ipv4: UInt32(truncatingIfNeeded: low)) }
      var name = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
      inet_ntop(AF_INET6, raw.baseAddress! + 8, &name, socklen_t(name.count))
      let text = String(decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
      return Peer(text: text, key: high, isLoopback: high == 0 && low == 1)
    }
  }

  private init(ipv4: UInt32) {
    let text = "\(ipv4 >> 24).\(ipv4 >> 16 & 255).\(ipv4 >> 8 & 255).\(ipv4 & 255)"
    self.init(text: text, key: UInt64(ipv4), isLoopback: ipv4 >> 24 == 127)
  }

  private init(text: String, key: UInt64, isLoopback: Bool) {
    self.text = text
    self.key = key
    self.isLoopback = isLoopback
  }
}

/// A listening socket, non-blocking.
final class Listener {
  enum Accepted {
    case connection(Transport, Peer)
    case none
    /// No descriptor is left for another connection.
    case exhausted
  }

  let descriptor: Int32
  let port: Int
  private var isOpen = true

  /// Binds and listens; throws ListenError with the address and the reason.
  init(address: String) throws {
    guard let colon = address.lastIndex(of: ":"), let port = UInt16(address[address.index(after: colon)...])
    else {
      throw ListenError(description: "\(address) is not host:port, e.g. 127.0.0.1:8080 or [::1]:8080")
    }
    var host = String(address[..<colon])
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = String(host.dropFirst().dropLast())
    } else if host.isEmpty || host.contains(":") {
      throw ListenError(description: "\(address) is not host:port; an IPv6 address stands in brackets, e.g. [::1]:8080")
    }
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV
    var found: UnsafeMutablePointer<addrinfo>?
    let failure = getaddrinfo(host, String(port), &hints, &found)
    guard failure == 0, let info = found?.pointee else {
      throw ListenError(description: "address \(address) cannot be resolved: \(String(cString: gai_strerror(failure)))")
    }
    defer { freeaddrinfo(found) }
    let descriptor = socket(
      info.ai_family, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
    guard descriptor >= 0 else { throw ListenError(description: "address \(address): \(Self.message(errno))") }
    var on: Int32 = 1
    var off: Int32 = 0
    // A restarted server must not wait for the old connections' TIME_WAIT; two live servers still exclude each other.
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
    if info.ai_family == AF_INET6 {
      setsockopt(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &off, socklen_t(MemoryLayout<Int32>.size))
    }
    guard bind(descriptor, info.ai_addr, info.ai_addrlen) == 0, listen(descriptor, 1024) == 0 else {
      let code = errno
      Glibc.close(descriptor)
      throw ListenError(
        description: code == EADDRINUSE
          ? "address \(address) is already in use: stop the program that listens there or choose another port"
          : "address \(address) cannot be bound: \(Self.message(code))")
    }
    self.descriptor = descriptor
    self.port = Self.boundPort(descriptor)
  }

  deinit { close() }

  /// - Parameter credentials: for a secure connection; nil for a plain one.
  func accept(_ credentials: TLSCredentials?) -> Accepted {
    while true {
      var storage = sockaddr_storage()
      var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
      let accepted = withUnsafeMutablePointer(to: &storage) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { cepoll_accept(descriptor, $0, &length) }
      }
      if accepted >= 0 {
        guard let transport = Transport(descriptor: accepted, credentials: credentials) else { return .none }
        return .connection(transport, Peer(storage))
      }
      switch errno {
      case EMFILE, ENFILE, ENOBUFS, ENOMEM: return .exhausted
      case EAGAIN: return .none
      // The others concern one connection that failed while it waited; the next may be fine.
      case EBADF, EINVAL, ENOTSOCK: return .none
      default: continue
      }
    }
  }

  func close() {
    guard isOpen else { return }
    isOpen = false
    Glibc.close(descriptor)
  }

  private static func boundPort(_ descriptor: Int32) -> Int {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    _ = withUnsafeMutablePointer(to: &storage) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
    }
    // The port lies at the same place in both address families.
    return withUnsafeBytes(of: &storage) { Int($0.loadUnaligned(fromByteOffset: 2, as: UInt16.self).bigEndian) }
  }

  private static func message(_ code: Int32) -> String { String(cString: strerror(code)) }
}

/// A descriptor kept in reserve: given up for a moment, it lets a connection be accepted and closed when none is left,
/// without which the client would hang and the listener report it for ever.
struct ReserveDescriptor: ~Copyable {
  private var descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC)

  deinit { close(descriptor) }

  mutating func spend(_ use: () -> Void) {
    if descriptor >= 0 { close(descriptor) }
    use()
    descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC)
  }
}

/// An epoll instance with an eventfd to wake it; `wake` may be called from any thread, the rest by one.
final class Poller: Sendable {
  /// The token that `wait` reports for `wake`.
  static let wakeToken = UInt64.max

  struct Readiness {
    let token: UInt64
    let bits: UInt32
    var canRead: Bool { bits & (cepoll_in | cepoll_peer_closed | cepoll_failed) != 0 }
    var canWrite: Bool { bits & (cepoll_out | cepoll_failed) != 0 }
    var peerClosed: Bool { bits & cepoll_peer_closed != 0 }
    /// Reset, or closed in both directions.
    var failed: Bool { bits & cepoll_failed != 0 }
  }

  private let epoll: Int32
  private let event: Int32

  init() throws {
    epoll = cepoll_create()
    event = cepoll_eventfd()
    guard epoll >= 0, event >= 0, cepoll_add(epoll, event, cepoll_in | cepoll_edge, Self.wakeToken) == 0 else {
      throw ListenError(description: "no event queue could be made: \(String(cString: strerror(errno)))")
    }
  }

  deinit {
    close(event)
    close(epoll)
  }

  /// Reports every change of readiness from now on, once each (edge-triggered), until the descriptor is closed.
  func add(_ descriptor: Int32, token: UInt64) -> Bool {
    cepoll_add(epoll, descriptor, cepoll_in | cepoll_out | cepoll_peer_closed | cepoll_edge, token) == 0
  }

  /// Reports as long as there is something to accept (level-triggered).
  func addListener(_ descriptor: Int32, token: UInt64) -> Bool {
    cepoll_add(epoll, descriptor, cepoll_in, token) == 0
  }

  /// Waits until something is ready or `milliseconds` passed (nil: without end) and hands each readiness over.
  func wait(milliseconds: Int32?, _ handle: (Readiness) -> Void) {
    withUnsafeTemporaryAllocation(of: cepoll_event.self, capacity: 256) { events in
      let count = cepoll_wait(epoll, events.baseAddress, Int32(events.count), milliseconds ?? -1)
      guard count > 0 else { return }
      for event in events[..<Int(count)] { handle(Readiness(token: event.token, bits: event.ready)) }
    }
  }

  func wake() {
    // Edge-triggered: each write reports anew, so the counter is never read.
    var one: UInt64 = 1
    _ = write(event, &one, 8)
  }
}

/// Lets this process open as many descriptors as its hard limit allows, at most `count`; returns what is allowed then.
func raiseDescriptorLimit(to count: Int) -> Int {
  var limit = rlimit()
  guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return count }
  if limit.rlim_cur < rlim_t(count) {
    limit.rlim_cur = min(rlim_t(count), limit.rlim_max)
    _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }
  return Int(clamping: limit.rlim_cur)
}

/// The monotonic clock in nanoseconds.
func monotonicNanoseconds() -> UInt64 {
  var now = timespec()
  clock_gettime(CLOCK_MONOTONIC, &now)
  return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
}
