// The server as its owner sees it: configure, start, ask for the port, stop. Below it: EventLoop, Service, Connection.

import Foundation
import Glibc

/// An HTTP/1.1 server: one thread owns all sockets, a few run handlers.
public final class HTTPServer: Sendable {
  /// The port that is listened on; the one chosen by the system if 0 was asked for.
  public let port: Int
  /// `host:port` with the port in effect.
  public let address: String
  private let loop: EventLoop
  private let hasEnded = DispatchSemaphore(value: 0)

  /// Binds the address and starts to serve.
  ///
  /// - Parameters:
  ///   - configuration: address, limits and hooks.
  ///   - router: the routes with their policies.
  /// - Throws: ListenError when the address is malformed, already in use or not to be bound.
  public init<Policy, Identity>(_ configuration: Configuration, router: Router<Policy, Identity>) throws {
    // A client that went away while it is written to must be an error of that write, not the end of the process.
    signal(SIGPIPE, SIG_IGN)
    let listener = try Listener(address: configuration.address)
    port = listener.port
    let host = String(configuration.address[..<configuration.address.lastIndex(of: ":")!])
    address = "\(host):\(listener.port)"
    let needed = configuration.limits.connectionsMax + 256
    let available = raiseDescriptorLimit(to: needed)
    if available < needed {
      configuration.onTrouble(
        "the open files limit is \(available); \(needed) are needed for \(configuration.limits.connectionsMax) connections"
      )
    }
    let service = Service(configuration: configuration, table: router.table, boundHost: host.lowercased())
    loop = try EventLoop(service: service, listener: listener)
    let thread = Thread { [loop, hasEnded] in
      loop.run()
      hasEnded.signal()
    }
    thread.name = "http-loop"
    thread.start()
  }

  /// Secures new connections with other credentials from now on; those that are open go on with what they have.
  ///
  /// Only for a server that was started with credentials.
  public func use(_ credentials: TLSCredentials) {
    precondition(loop.service.credentials != nil, "a server that was started without TLS cannot begin with it")
    loop.service.credentials = credentials
  }

  /// Stops accepting, closes idle connections, ends event streams, answers what waits, lets requests in progress finish, and
  /// returns when all is over. Blocks, so it must not be called from a handler.
  ///
  /// - Parameter drainSeconds: after so long the remaining connections are cut. Default 10 s.
  /// - Returns: false if connections were cut or a handler still runs.
  @discardableResult
  public func stop(drainSeconds: Double = 10) -> Bool {
    let deadline = Date(timeIntervalSinceNow: drainSeconds)
    loop.stop(drainSeconds: drainSeconds)
    hasEnded.wait()
    // Left as it was for a second caller.
    hasEnded.signal()
    let left = max(0.1, deadline.timeIntervalSinceNow)
    let handlersEnded = loop.service.handlers.stop(waitingSeconds: left)
    let spoolerEnded = loop.service.spooler.stop(waitingSeconds: left)
    return handlersEnded && spoolerEnded && !loop.cutConnections
  }
}
