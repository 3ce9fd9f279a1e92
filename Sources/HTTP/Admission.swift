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
  private var total = 0
  private var perPeer: [UInt64: Int] = [:]

  init(limits: ServerLimits) { self.limits = limits }

  /// Decides on a new connection and counts it unless it is dropped.
  mutating func judge(_ peer: Peer) -> Verdict {
    let ofPeer = perPeer[peer.key, default: 0]
    guard total < limits.connectionsMax + Self.refusedMax else { return .dropped }
    total += 1
    perPeer[peer.key] = ofPeer + 1
    if total > limits.connectionsMax {
      return .refused(
        HTTPError(
          .serviceUnavailable, detail: "all \(limits.connectionsMax) connections of this server are in use",
          headers: ["Retry-After": "5"]))
    }
    if ofPeer >= limits.connectionsPerPeerMax, !(peer.isLoopback && limits.loopbackIsExempt) {
      return .refused(
        HTTPError(
          .tooManyRequests, detail: "at most \(limits.connectionsPerPeerMax) connections of one address are served",
          headers: ["Retry-After": "5"]))
    }
    return .welcome
  }

  mutating func left(_ peer: Peer) {
    total -= 1
    if let count = perPeer[peer.key], count > 1 { perPeer[peer.key] = count - 1 } else { perPeer[peer.key] = nil }
  }
}

extension EventLoop {
  /// Accepts what waits, within a bound that leaves the other connections their turn.
  func acceptWaiting() {
    for _ in 0..<64 {
      switch listener.accept() {
      case .none: return
      case .exhausted:
        service.configuration.onTrouble("no descriptor is left for a new connection; raise the open files limit")
        // The transport closes its socket when it is let go.
        reserve.spend { _ = listener.accept() }
        return
      case .connection(let transport, let peer):
        admit(transport, peer)
      }
    }
  }

  private func admit(_ transport: Transport, _ peer: Peer) {
    let verdict = admission.judge(peer)
    if case .dropped = verdict { return }
    guard let connection = open(transport, peer: peer) else {
      admission.left(peer)
      return
    }
    if case .refused(let error) = verdict { connection.refuse(error) } else { connection.begin() }
  }
}
