// The way in: from bytes to a head, a route, an identity, a body and a handler's outcome. Connection+Answer is the way out.

extension Connection {
  // MARK: Head

  func readHead() -> Bool {
    guard takesTurn() else { return false }
    if input.isEmpty {
      guard receive({ input.append($0) }) else {
        if inputHasEnded { close() } else { becomeIdle() }
        return false
      }
    }
    if headStartedAt == nil { headStartedAt = loop.now }
    switch input.withBytes({ parser.advance($0) }) {
    case .incomplete:
      if receive({ input.append($0) }) { return true }
      if case .closed = phase { return false }
      if inputHasEnded {
        refuse(.bad("the request ends in the middle of its head"))
        return true
      }
      keepClock(.header, seconds: limits.headerSeconds)
      return false
    case .fault(let fault):
      refuse(fault)
    case .head(let raw, let consumed):
      input.consume(consumed)
      do throws(ProtocolFault) { begin(try InterpretedHead(raw)) } catch { refuse(error) }
    }
    return true
  }

  private func becomeIdle() {
    if case .closed = phase { return }
    if service.isStopping.load(ordering: .relaxed) { close() } else { keepClock(.idle, seconds: limits.idleSeconds) }
  }

  /// Answers what cannot be a request, and closes: after a breach of framing nothing that follows can be trusted. The caller
  /// goes on with `advance`.
  func refuse(_ fault: ProtocolFault) { refuse(HTTPError(fault.status, detail: fault.detail)) }

  func refuse(_ error: HTTPError) {
    if exchange == nil {
      let context = ResponseContext(
        requestId: service.configuration.makeRequestId(), isHead: false, minorVersion: 1, keepsAlive: false)
      exchange = Exchange(context: context, startedAt: headStartedAt ?? loop.now)
    }
    exchange!.context.keepsAlive = false
    answer(error)
  }

  private func begin(_ interpreted: InterpretedHead) {
    let fields = interpreted.fields
    let requestId = RequestIds.sane(fields.firstTwo("x-request-id").first) ?? service.configuration.makeRequestId()
    let reader = BodyReader(interpreted.framing, limits: limits.head)
    var declared: Int?
    var unreadIsBounded = true
    switch interpreted.framing {
    case .none: declared = 0
    case .length(let length):
      declared = length
      unreadIsBounded = length <= limits.unreadBodyBytesMax
    case .chunked: break
    }
    // A client that asked before sending a body may or may not send it after a final answer: that connection cannot go on.
    if reader != nil, interpreted.expectsContinue { unreadIsBounded = false }
    let keepsAlive = interpreted.keepsAlive && !service.isStopping.load(ordering: .relaxed)
    var exchange = Exchange(
      context: ResponseContext(
        requestId: requestId, isHead: interpreted.method == .head, minorVersion: interpreted.minorVersion,
        keepsAlive: keepsAlive && unreadIsBounded),
      startedAt: headStartedAt ?? loop.now)
    headStartedAt = nil
    parser = HeadParser(limits: limits.head)
    exchange.body = reader.map { IncomingBody(reader: $0, collector: BodyCollector(spool: service.spool)) }
    exchange.expectsContinue = interpreted.expectsContinue
    exchange.keepsAliveOnceRead = keepsAlive
    var head = RequestHead(
      method: interpreted.method, target: interpreted.target, headers: fields,
      host: interpreted.host.map { host in host.port.map { "\(host.host):\($0)" } ?? host.host } ?? "",
      parameters: [:], pattern: nil, requestId: requestId,
      traceparent: RequestIds.traceparent(fields.firstTwo("traceparent").first), peer: peer.text,
      declaredBodyBytes: declared)
    exchange.head = head
    self.exchange = exchange
    if let host = interpreted.host, !service.answers(for: host.host) {
      answer(HTTPError(.misdirectedRequest, detail: "this server does not answer for the host \(host.host)"))
      return
    }
    switch service.table.match(head.method, head.target) {
    case .none:
      answer(HTTPError(.notFound, detail: "there is nothing at \(head.target.rawPath)"))
    case .otherMethods(let allow):
      answer(
        HTTPError(
          .methodNotAllowed, detail: "\(head.method.rawValue) is not possible here; \(allow) are",
          headers: ["Allow": allow]))
    case .endpoint(let endpoint, let parameters):
      head.parameters = parameters
      head.pattern = endpoint.pattern
      self.exchange!.head = head
      self.exchange!.endpoint = endpoint
      run(inline: endpoint.inline) { [service, head, context = exchange.context, ticket = exchange.ticket] in
        service.admit(head, endpoint, hasBody: reader != nil, context, ticket)
      }
    }
  }

  // MARK: Handlers

  /// Has `work` done here or on a handler thread and goes on with what it leads to.
  func run(inline: Bool, _ work: @escaping @Sendable () -> Service.Outcome) {
    guard let exchange else { return }
    if inline {
      take(work())
      return
    }
    phase = .waiting
    setClock(.handler, seconds: exchange.endpoint?.handlerSeconds ?? limits.handlerSeconds)
    let ticket = exchange.ticket
    let isQueued = service.handlers.submit { [self] in
      // Nobody waits any more: the client has gone or was told so.
      if ticket.isAbandoned.load(ordering: .relaxed) { return }
      let outcome = work()
      loop.post { [self] in
        if self.exchange?.ticket === ticket, case .waiting = phase {
          take(outcome)
          resume()
        } else {
          Self.discard(outcome)
        }
      }
    }
    if !isQueued {
      answer(
        HTTPError(
          .serviceUnavailable, detail: "too many requests are waiting at the moment", headers: ["Retry-After": "1"]))
    }
  }

  /// An outcome that came too late still holds things that must be told.
  private static func discard(_ outcome: Service.Outcome) {
    switch outcome {
    case .admitted: break
    case .deferred(let deferral): deferral.end()
    case .response(let response):
      if case .events(let stream, _) = response.rest { stream.close() }
    }
  }

  private func take(_ outcome: Service.Outcome) {
    switch outcome {
    case .admitted(let handler): admitted(handler)
    case .response(let response): answer(response)
    case .deferred(let deferral): wait(for: deferral)
    }
  }

  func handlerDeadlinePassed() {
    if case .streaming = phase {
      abort("the handler made no further piece of its answer in time")
      return
    }
    guard case .waiting = phase, exchange != nil else { return }
    exchange!.context.keepsAlive = false
    exchange!.failure = "the handler made no answer in time"
    answer(
      HTTPError(.serviceUnavailable, detail: "the server did not finish this request in time; it may still take effect")
    )
  }

  // MARK: Body

  /// The route, the identity and the declared form of the body are fine: only now is the body asked for.
  private func admitted(_ handler: @escaping RouteTable.Handler) {
    guard let head = exchange?.head, let endpoint = exchange?.endpoint else { return }
    if let declared = head.declaredBodyBytes {
      guard declared <= endpoint.bodyBytesMax else {
        answer(Self.tooLarge(endpoint.bodyBytesMax))
        return
      }
      guard service.spool.mayFit(declared) else {
        answer(BodySpool.full)
        return
      }
    }
    if !endpoint.acceptedContentTypes.isEmpty {
      let essence = (head.headers["content-type"] ?? "").prefix { $0 != ";" }
      let type = essence.lowercased().trimmingBlanks()
      guard endpoint.acceptedContentTypes.contains(type) else {
        let accepted = endpoint.acceptedContentTypes.joined(separator: ", ")
        answer(
          HTTPError(
            .unsupportedMediaType, detail: "a body for \(endpoint.pattern) must have a Content-Type of \(accepted)",
            headers: ["Accept": accepted]))
        return
      }
    }
    exchange!.handler = handler
    exchange!.bodyStartedAt = loop.now
    if exchange!.expectsContinue, input.isEmpty {
      output.append(Array("HTTP/1.1 100 Continue\r\n\r\n".utf8))
    }
    phase = .body
    setBodyClock()
  }

  private static func tooLarge(_ bytesMax: Int) -> HTTPError {
    let detail = bytesMax == 0 ? "no body is taken here" : "the body is longer than the \(bytesMax) bytes allowed here"
    return HTTPError(.contentTooLarge, detail: detail)
  }

  func readBody() -> Bool {
    if !output.isEmpty {
      // The 100 Continue; a client that does not take those 25 bytes gets no further.
      guard flush() else { return false }
      setBodyClock()
    }
    guard let bytesMax = exchange?.endpoint?.bodyBytesMax else { return false }
    var fault: ProtocolFault?
    var isTooLarge = false
    func feed(_ bytes: UnsafeBufferPointer<UInt8>) -> Int {
      do throws(ProtocolFault) {
        let fed = try exchange!.body!.feed(bytes, bytesMax: bytesMax)
        isTooLarge = fed.isTooLarge
        return fed.used
      } catch {
        fault = error
        return 0
      }
    }
    var didRead = true
    if !input.isEmpty {
      input.consume(input.withBytes(feed))
    } else if !exchange!.body!.isRead {
      didRead = receive { raw in
        // Straight from the scratch; only what follows the body is kept.
        let used = raw.withMemoryRebound(to: UInt8.self, feed)
        if used < raw.count { input.append(UnsafeRawBufferPointer(rebasing: raw[used...])) }
      }
    }
    if case .closed = phase { return false }
    if let fault {
      refuse(fault)
      return true
    }
    if isTooLarge {
      exchange!.context.keepsAlive = false
      answer(Self.tooLarge(bytesMax))
      return true
    }
    if exchange!.body!.isRead {
      if exchange!.body!.collector.needsWrite(atEnd: true) { spoolPiece() } else { handleBody() }
      return true
    }
    if exchange!.body!.collector.needsWrite(atEnd: false) {
      spoolPiece()
      return true
    }
    if !didRead, inputHasEnded {
      refuse(.bad("the request ends in the middle of its body"))
      return true
    }
    return didRead
  }

  private func handleBody() {
    guard let head = exchange?.head, let handler = exchange?.handler, let endpoint = exchange?.endpoint else { return }
    let request = Request(head: head, body: exchange!.body!.collector.finish())
    exchange!.context.keepsAlive = exchange!.keepsAliveOnceRead
    let context = exchange!.context
    run(inline: endpoint.inline) { [service] in service.handle(request, handler, context) }
  }

  /// Has the bytes in memory written to disk on another thread; nothing is read meanwhile.
  private func spoolPiece() {
    let piece: BodyCollector.Piece
    do throws(HTTPError) { piece = try exchange!.body!.collector.takePiece() } catch {
      exchange!.context.keepsAlive = false
      answer(error)
      return
    }
    phase = .waiting
    let begun = loop.now
    setClock(.handler, seconds: limits.handlerSeconds)
    let ticket = exchange!.ticket
    let folder = service.spool.folder
    let isQueued = service.spooler.submit { [self] in
      let result = Result { () throws(HTTPError) in try piece.write(folder: folder) }
      loop.post { [self] in
        guard exchange?.ticket === ticket, case .waiting = phase else { return }
        switch result {
        case .success(let file):
          exchange!.body!.collector.pieceWritten(to: file)
          // The disk's time is not held against the client.
          exchange!.bodyStartedAt += loop.now - begun
          phase = .body
          setBodyClock()
        case .failure(let error):
          exchange!.context.keepsAlive = false
          exchange!.failure = "a piece of the body could not be stored"
          answer(error)
        }
        resume()
      }
    }
    if !isQueued { abort("the server is stopping") }
  }

  /// When the body must be there or must at least have come far enough.
  private var bodyDeadlineSeconds: Double {
    let received = Double(exchange?.body?.collector.byteCount ?? 0)
    let elapsed = Double(loop.now &- (exchange?.bodyStartedAt ?? loop.now)) / 1e9
    return min(limits.bodySeconds, limits.bodyGraceSeconds + received / limits.bodyBytesPerSecondMin) - elapsed
  }

  private func setBodyClock() { setClock(.body, seconds: bodyDeadlineSeconds) }

  func bodyDeadlinePassed() {
    if case .unreadBody = phase {
      _ = startLingering()
      return
    }
    // What came since the deadline was set may have moved it.
    if bodyDeadlineSeconds > 0 {
      setBodyClock()
      return
    }
    refuse(HTTPError(.requestTimeout, detail: "the request body arrived too slowly"))
  }

  /// Reads past a body that nobody wanted, within a bound, to reach the next request.
  func dropBody(_ reader: BodyReader, droppedBytes: Int) -> Bool {
    var reader = reader
    var dropped = droppedBytes
    var isBroken = false
    let didRead = !input.isEmpty || receive { input.append($0) }
    if case .closed = phase { return false }
    let used = input.withBytes { bytes in
      do throws(ProtocolFault) {
        return try reader.read(bytes) { data in
          dropped += data.count
          return dropped <= limits.unreadBodyBytesMax
        }
      } catch {
        isBroken = true
        return 0
      }
    }
    input.consume(used)
    if isBroken || inputHasEnded || dropped > limits.unreadBodyBytesMax { return startLingering() }
    phase = reader.isFinished ? .head : .unreadBody(reader, droppedBytes: dropped)
    return didRead
  }
}

extension String {
  fileprivate func trimmingBlanks() -> String {
    var text = Substring(self)
    while text.first == " " || text.first == "\t" { text.removeFirst() }
    while text.last == " " || text.last == "\t" { text.removeLast() }
    return String(text)
  }
}
