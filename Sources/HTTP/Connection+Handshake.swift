// How a connection begins: at once, or with a TLS handshake, step by step on threads of its own. Connection has the rest.

extension Connection {
  /// Where the handshake stands; nil in `Connection` once it is over.
  struct Handshake {
    /// A step is at work on another thread, which alone may touch the transport meanwhile.
    var isRunning = false
    /// The next step waits for room to write, and not for input.
    var needsRoom = false
    /// Whether the client's first byte was looked at.
    var isRecognised = false
    /// The connection is to be closed as soon as the step at work is over.
    var mustClose = false
  }

  /// A new connection, to be served, or to be told that it cannot be.
  func begin(refusal: HTTPError? = nil) {
    self.refusal = refusal
    guard transport.isSecure else {
      welcome()
      return
    }
    phase = .handshake
    handshake = Handshake()
    // Nothing is spent on a client that says nothing: the first step is made when its first bytes are reported.
    canRead = false
    setClock(.handshake, seconds: limits.headerSeconds)
  }

  private func welcome() {
    phase = .head
    setClock(.idle, seconds: limits.idleSeconds)
    if let refusal {
      refuse(refusal)
      resume()
    }
  }

  /// Makes the next step if the socket is ready for it; false when there is nothing more to do now.
  ///
  /// A step runs on a thread apart, as it may cost a millisecond: a crowd of new clients must not hold up those that are
  /// being served. It has no share in the handlers' threads either, which wait for the database.
  func shakeHands() -> Bool {
    guard let state = handshake, !state.isRunning, state.needsRoom ? canWrite : canRead else { return false }
    if !state.isRecognised {
      switch transport.peek() {
      case .moved(let byte):
        handshake!.isRecognised = true
        // A record of a handshake begins with 22; a request begins with its method in capitals.
        if (0x41...0x5A).contains(byte) {
          answerInClear()
          return true
        }
      case .waitsForInput, .waitsForOutput:
        canRead = false
        return false
      case .ended, .failed:
        close()
        return false
      }
    }
    // What the kernel reports from here on may be news to this step, so it is kept for the next.
    canRead = false
    canWrite = false
    handshake!.isRunning = true
    let isQueued = service.handshakes?.submit { [self] in
      let step = transport.handshake()
      loop.post { [self] in handshakeStepped(step) }
    }
    if isQueued != true {
      handshake!.isRunning = false
      close()
    }
    return false
  }

  private func handshakeStepped(_ step: TLSSession.Step) {
    handshake!.isRunning = false
    if handshake!.mustClose {
      close()
      return
    }
    switch step {
    case .done:
      handshake = nil
      // Requests may have come along with the last message.
      canRead = true
      canWrite = true
      welcome()
      resume()
    case .waitsForInput:
      handshake!.needsRoom = false
      resume()
    case .waitsForOutput:
      handshake!.needsRoom = true
      resume()
    case .failed(let reason):
      failHandshake(reason)
      resume()
    }
  }

  func handshakeDeadlinePassed() {
    service.configuration.onHandshakeFailure(peer.text, "it was not over within \(limits.headerSeconds) s")
    close()
  }

  private func failHandshake(_ reason: String) {
    service.configuration.onHandshakeFailure(peer.text, reason)
    handshake = nil
    // The alert that says so is on its way; the client's bytes are still read, lest a reset overtake it.
    transport.leaveTLS()
    canRead = true
    canWrite = true
    _ = startLingering()
  }

  /// Whoever speaks plain HTTP to this port gets an answer that can be read.
  private func answerInClear() {
    handshake = nil
    transport.leaveTLS()
    phase = .head
    refuse(HTTPError(.badRequest, detail: "this port speaks TLS: write https:// in place of http://"))
  }
}
