// The way out: sends an answer whole, piece by piece or event by event, and goes on to the next request or closes.

extension Connection {
  // MARK: Starting an answer

  func answer(_ error: HTTPError) {
    guard let exchange else { return }
    answer(service.writer.problem(error, exchange.context, failure: exchange.failure))
  }

  /// Starts to send; the caller goes on with `advance`.
  func answer(_ response: OutgoingResponse) {
    guard exchange != nil else { return }
    exchange!.status = response.status
    exchange!.keepsAlive = response.keepsAlive
    if let failure = response.failure { exchange!.failure = failure }
    stopClock()
    output.append(response.bytes)
    output.append(response.tail)
    switch response.rest {
    case .none:
      phase = .sending
    case .stream(let stream, let isChunked):
      phase = .streaming(stream, isChunked: isChunked)
    case .events(let stream, let isChunked):
      phase = .events(stream, isChunked: isChunked)
      exchange!.isEventStream = true
      service.configuration.gauges.openEventStreams.add(1, ordering: .relaxed)
      let ticket = exchange!.ticket
      stream.attach { [weak self] in
        guard let self else { return }
        loop.post {
          if self.exchange?.ticket === ticket { self.resume() }
        }
      }
      if service.isStopping.load(ordering: .relaxed) { stream.finish() }
    }
  }

  func wait(for deferral: Deferral) {
    guard let exchange else { return }
    phase = .deferred(deferral)
    setClock(.deferral, seconds: deferral.seconds)
    let ticket = exchange.ticket
    deferral.attach { [self] resolution in
      loop.post { [self] in
        guard self.exchange?.ticket === ticket, case .deferred(let deferral) = phase else { return }
        deferral.end()
        resolved(deferral, resolution)
        resume()
      }
    }
    if service.isStopping.load(ordering: .relaxed) { deferral.resolve(.run(.stopping)) }
  }

  private func resolved(_ deferral: Deferral, _ resolution: Deferral.Resolution) {
    guard let head = exchange?.head, let context = exchange?.context else { return }
    switch resolution {
    case .response(let response):
      answer(service.write(response, context))
    case .run(let reason):
      run(inline: false) { [service, context] in service.resume(deferral, reason, head, context) }
    }
  }

  // MARK: Sending

  func finishSending() -> Bool {
    guard flush() else { return false }
    return finishExchange()
  }

  /// The answer is out: next request, rest of the body, or the end.
  private func finishExchange() -> Bool {
    guard let ended = exchange else { return false }
    let goesOn = ended.keepsAlive && !service.isStopping.load(ordering: .relaxed)
    endExchange()
    guard goesOn else { return startLingering() }
    if let body = ended.body, !body.isRead {
      phase = .unreadBody(body.reader, droppedBytes: 0)
      setClock(.body, seconds: limits.bodyGraceSeconds)
    } else {
      phase = .head
      stopClock()
    }
    return true
  }

  /// Queues a piece of a body of unknown length.
  func send(_ bytes: [UInt8], isChunked: Bool) {
    if isChunked { output.appendChunk(bytes) } else { output.append(bytes) }
  }

  private func endBody(isChunked: Bool) {
    if isChunked { output.append(Array("0\r\n\r\n".utf8)) }
    phase = .sending
  }

  // MARK: Streams

  /// Keeps one piece ahead of the client: the next is made when most of the last is gone.
  func pump(_ stream: BodyStream, isChunked: Bool) -> Bool {
    let isFlushed = flush()
    guard let exchange else { return false }
    if exchange.streamHasEnded {
      endBody(isChunked: isChunked)
      return true
    }
    if !exchange.isProducing, output.count < 64 << 10 { produce(stream, isChunked: isChunked) }
    if case .closed = phase { return false }
    if isFlushed { keepClock(.handler, seconds: exchange.endpoint?.handlerSeconds ?? limits.handlerSeconds) }
    return false
  }

  private func produce(_ stream: BodyStream, isChunked: Bool) {
    let ticket = exchange!.ticket
    exchange!.isProducing = true
    let isQueued = service.handlers.submit { [self] in
      if ticket.isAbandoned.load(ordering: .relaxed) { return }
      let result = Result { try stream.next() }
      loop.post { [self] in
        guard exchange?.ticket === ticket else { return }
        exchange!.isProducing = false
        produced(result, stream, isChunked: isChunked)
        resume()
      }
    }
    if !isQueued { abort("no handler thread was free for the next piece of the answer") }
  }

  private func produced(_ result: Result<[UInt8]?, any Error>, _ stream: BodyStream, isChunked: Bool) {
    switch result {
    case .failure(let error):
      abort("the answer's stream failed: \(error)")
    case .success(let piece?):
      // Each piece has the handler's time to itself; while bytes wait, the clock is the client's.
      if output.isEmpty { stopClock() }
      exchange!.streamedBytes += piece.count
      if let length = stream.byteCount, exchange!.streamedBytes > length {
        abort("the answer's stream gave more than the \(length) bytes announced")
        return
      }
      send(piece, isChunked: isChunked)
    case .success(nil):
      if let length = stream.byteCount, exchange!.streamedBytes != length {
        abort("the answer's stream gave \(exchange!.streamedBytes) of the \(length) bytes announced")
        return
      }
      exchange!.streamHasEnded = true
    }
  }

  // MARK: Events

  /// Sends what is queued; while the client is slow it stays in the stream, whose bound then counts.
  func pump(_ stream: EventStream, isChunked: Bool) -> Bool {
    guard flush() else { return false }
    let (bytes, isFinished) = stream.take()
    if !bytes.isEmpty {
      send(bytes, isChunked: isChunked)
      stopClock()
      if !isFinished { return true }
    }
    if isFinished {
      stream.close()
      endBody(isChunked: isChunked)
      return true
    }
    keepClock(.heartbeat, seconds: stream.heartbeatSeconds)
    return false
  }
}
