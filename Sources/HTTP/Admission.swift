// Which new connections are let in: caps in total and per peer, and what to do without descriptors; part of EventLoop.

/// The counts behind the connection caps.
struct Admission {
  enum Verdict {
    case welcome
    /// Answered with this error, then closed.
    case refused(HTTPError)
    /// Closed without a word: even refusals have a bound.
    case dropped
  }

  /// Refused connections linger a moment so that their answer arrives; so many may do that at once.
  private static let refusedMax = 64

  private let limits: ServerLimits
  private var welcomed = 0
  /// Kept apart: a crowd that is turned away must not keep out those who find a place free.
  private var refused = 0
  private var perPeer: [UInt64: Int] = [:]

  init(limits: ServerLimits) { self.limits = limits }

  /// Decides on a new connection and counts it unless it is dropped.
  mutating func judge(_ peer: Peer) -> Verdict {
    let error: HTTPError
    if welcomed >= limits.connectionsMax {
      error = HTTPError(
        .serviceUnavailable, detail: "all \(limits.connectionsMax) connections of this server are in use",
        headers: ["Retry-After": "5"])
    } else if perPeer[peer.key, default: 0] >= limits.connectionsPerPeerMax,
      !(peer.isLoopback && limits.loopbackIsExempt)
    {
      error = HTTPError(
        .tooManyRequests, detail: "at most \(limits.connectionsPerPeerMax) connections of one address are served",
        headers: ["Retry-After": "5"])
    } else {
      welcomed += 1
      perPeer[peer.key, default: 0] += 1
      return .welcome
    }
    guard refused < Self.refusedMax else { return .dropped }
    refused += 1
    return .refused(error)
  }

  mutating func left(_ peer: Peer, wasRefused: Bool) {
    if wasRefused {
      refused -= 1
      return
    }
    welcomed -= 1
    if let count = perPeer[peer.key], count > 1 { perPeer[peer.key] = count - 1 } else { perPeer[peer.key] = nil }
  }
}

extension EventLoop {
  /// Accepts what waits, within a bound that leaves the other connections their turn.
  func acceptWaiting() {
    let credentials = service.credentials
    for _ in 0..<64 {
      switch listener.accept(credentials) {
      case .none: return
      case .exhausted:
        service.configuration.onTrouble("no descriptor is left for a new connection; raise the open files limit")
        // The transport closes its socket when it is let go.
        reserve.spend { _ = listener.accept(nil) }
        return
      case .connection(let transport, let peer):
        admit(transport, peer)
      }
    }
  }

  private func admit(_ transport: Transport, _ peer: Peer) {
    switch admission.judge(peer) {
    case .dropped: break
    case .welcome: open(transport, peer: peer, wasRefused: false)?.begin()
    case .refused(let error): open(transport, peer: peer, wasRefused: true)?.begin(refusal: error)
    }
  }
}
