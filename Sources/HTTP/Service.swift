// What all connections of a server share: settings, routes, threads, budgets; and the running of handlers, on any thread.

import Synchronization

/// Says whether anyone still waits for an answer; shared by a connection and the handler thread that works for it.
final class Ticket: Sendable {
  let isAbandoned = Atomic(false)
  /// What is told of the caller once it was let in.
  let caller = Guarded<[String: String]>([:])
}

/// The shared, immutable side of a server.
final class Service: Sendable {
  /// What running admission or a handler led to.
  enum Outcome: Sendable {
    case admitted(RouteTable.Handler)
    case response(OutgoingResponse)
    case deferred(Deferral)
  }

  let configuration: Configuration
  let table: RouteTable
  let handlers: HandlerPool
  /// Writes bodies to disk; apart from the handlers, so that a slow disk and busy handlers do not block each other.
  let spooler: HandlerPool
  /// Makes the steps of TLS handshakes; nil without TLS.
  let handshakes: HandlerPool?
  let spool: BodySpool
  let writer: ResponseWriter
  let hosts: HostRule
  let isStopping = Atomic(false)
  private let currentCredentials: Guarded<TLSCredentials?>

  init(configuration: Configuration, table: RouteTable, boundHost: String) {
    self.configuration = configuration
    self.table = table
    let limits = configuration.limits
    handlers = HandlerPool(
      name: "http-handler", threads: configuration.handlerThreads, queueMax: limits.handlerQueueMax)
    // At most one piece of each connection waits here.
    spooler = HandlerPool(name: "http-spool", threads: 1, queueMax: limits.connectionsMax)
    // Two keep up with what a machine of a few cores can sign; each connection waits here once at most.
    handshakes = configuration.credentials.map { _ in
      HandlerPool(name: "http-tls", threads: 2, queueMax: limits.connectionsMax)
    }
    currentCredentials = Guarded(configuration.credentials)
    spool = BodySpool(folder: configuration.spoolFolder, limits: limits)
    writer = ResponseWriter(configuration)
    hosts = HostRule(allowed: configuration.allowedHosts, boundHost: boundHost)
  }

  /// What new connections are secured with; nil without TLS.
  var credentials: TLSCredentials? {
    get { currentCredentials.withLock { $0 } }
    set { currentCredentials.withLock { $0 = newValue } }
  }

  /// Whether requests may name this host: one of the settings, or, since no stranger's page can bring a certificate for
  /// its own name, one that the certificate is for.
  func answers(for host: String) -> Bool { hosts.allows(host) || credentials?.covers(host) == true }

  /// Authorises and, when no body is to be read first, handles.
  func admit(
    _ head: RequestHead, _ endpoint: RouteTable.Endpoint, hasBody: Bool, _ context: ResponseContext, _ ticket: Ticket
  ) -> Outcome {
    run(head, context) {
      let (handler, caller) = try endpoint.admit(head)
      if !caller.isEmpty { ticket.caller.withLock { $0 = caller } }
      return hasBody ? .admitted(handler) : self.outcome(try handler(Request(head: head, body: .empty)), context)
    }
  }

  func handle(_ request: Request, _ handler: RouteTable.Handler, _ context: ResponseContext) -> Outcome {
    run(request.head, context) { self.outcome(try handler(request), context) }
  }

  /// Makes the answer of a deferral.
  func resume(_ deferral: Deferral, _ reason: Deferral.Reason, _ head: RequestHead, _ context: ResponseContext)
    -> Outcome
  {
    run(head, context) { self.outcome(try deferral.answer(reason), context) }
  }

  private func outcome(_ response: Response, _ context: ResponseContext) -> Outcome {
    if case .deferred(let deferral) = response.body { return .deferred(deferral) }
    return .response(write(response, context))
  }

  func write(_ response: Response, _ context: ResponseContext) -> OutgoingResponse {
    writer.write(response, current(context))
  }

  /// A client is told to open a new connection, elsewhere if there is one, rather than to find this one closed.
  private func current(_ context: ResponseContext) -> ResponseContext {
    var context = context
    if isStopping.load(ordering: .relaxed) { context.keepsAlive = false }
    return context
  }

  /// Turns whatever `work` throws into an answer.
  private func run(_ head: RequestHead, _ context: ResponseContext, _ work: () throws -> Outcome) -> Outcome {
    do {
      return try work()
    } catch let error as HTTPError {
      return .response(writer.problem(error, current(context)))
    } catch {
      if let response = configuration.respondToError(error, head) { return outcome(response, context) }
      let hidden = HTTPError(
        .internalServerError, detail: "the server failed on this request; quote the request id when you report it")
      return .response(writer.problem(hidden, current(context), failure: "\(error)"))
    }
  }
}

/// Which hosts the Host field may name.
struct HostRule: Sendable {
  private let names: Set<String>
  private let allowsAll: Bool
  private let allowsAddresses: Bool

  /// - Parameter boundHost: the host part of the address the server listens on, brackets included.
  init(allowed: [String], boundHost: String) {
    names = Set((allowed + ["localhost", "127.0.0.1", "[::1]", boundHost]).map { $0.lowercased() })
    allowsAll = allowed.contains("*")
    // A server on all addresses does not know which ones it has. An address in the Host field is harmless: a foreign web page
    // can point a name at this server, but its requests then carry that name.
    allowsAddresses = boundHost == "0.0.0.0" || boundHost == "[::]"
  }

  func allows(_ host: String) -> Bool {
    if allowsAll || names.contains(host) { return true }
    guard allowsAddresses else { return false }
    return host.hasPrefix("[") || host.utf8.allSatisfy { $0.isDigit || $0 == UInt8(ascii: ".") }
  }
}
