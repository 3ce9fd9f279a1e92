// The whole route table on one page, and the server that answers it. Routes/ has the handlers, openapi/openapi.yaml the
// description of the same table; Authentication.swift enforces each row's access.
import Contract
import Foundation
import HTTP
import Logging
import Store

/// The API over a store. Make it, then ``start()`` it.
public struct App: Sendable {
  let store: Store
  let settings: ServerSettings
  let logger: Logger
  let waiters: Waiters
  let feed: EventFeed
  let router: Router<Access, APIKey?>
  let requests = RequestMetrics()
  let gauges = ServerGauges()

  /// - Parameters:
  ///   - store: with a schema that is up to date, and at least one connection for every two of
  ///     ``ServerSettings/handlerThreads``.
  ///   - settings: address and limits.
  ///   - logger: gets one line for each request that is not a plain read.
  public init(store: Store, settings: ServerSettings, logger: Logger) throws {
    try self.init(
      store: store, settings: settings, logger: logger, waiters: Waiters(),
      feed: EventFeed(streamsMax: settings.limits.eventStreamsMax))
  }

  init(store: Store, settings: ServerSettings, logger: Logger, waiters: Waiters, feed: EventFeed) throws {
    self.store = store
    self.settings = settings
    self.logger = logger
    self.waiters = waiters
    self.feed = feed
    let authentication = Authentication { try store.authenticate(secret: $0) }
    let routes = Self.routes(
      store: store, settings: settings, logger: logger, waiters: waiters, feed: feed, authentication: authentication,
      metrics: MetricsRoutes(store: store, settings: settings, requests: requests, gauges: gauges, waiters: waiters))
    router = try Router(
      routes, describe: { key in key.map { ["key": $0.id, "project": $0.project] } ?? [:] },
      authorize: { access, head in try authentication.authorize(access, head) })
  }

  /// Every operation: method, path, who may ask, what it takes, and what answers.
  private static func routes(
    store: Store, settings: ServerSettings, logger: Logger, waiters: Waiters, feed: EventFeed,
    authentication: Authentication, metrics: MetricsRoutes
  ) -> [Route<Access, APIKey?>] {
    let limits = settings.limits
    let audit = AuditTrail(store: store, logger: logger)
    let auditLog = AuditRoutes(store: store)
    let projects = ProjectRoutes(store: store, audit: audit, limits: limits)
    let operations = OperationRoutes(store: store, settings: settings)
    let description = Description()
    let dashboard = Dashboard(dygraphsFolder: settings.dygraphsFolder)
    let keys = KeyRoutes(store: store, authentication: authentication, audit: audit, now: { Timestamp(Date()) })
    let datasets = DatasetRoutes(store: store, waiters: waiters, audit: audit, limits: limits)
    let models = ModelRoutes(store: store, waiters: waiters, audit: audit, limits: limits)
    let downloads = Downloads(store: store)
    let optimizers = OptimizerRoutes(store: store, waiters: waiters, audit: audit, downloads: downloads, limits: limits)
    let admission = JobAdmission(store: store, limits: limits)
    let jobs = JobRoutes(store: store, admission: admission, waiters: waiters, audit: audit)
    let curves = CurveRoutes(store: store, jobs: jobs)
    let checkpoints = CheckpointRoutes(store: store, jobs: jobs, downloads: downloads)
    let campaigns = CampaignRoutes(store: store, waiters: waiters, audit: audit, limits: limits)
    let events = EventRoutes(store: store, feed: feed, jobs: jobs, campaigns: campaigns)
    let evaluations = EvaluationRoutes(
      store: store, campaigns: campaigns, waiters: waiters, downloads: downloads, audit: audit)
    let results = CampaignResultRoutes(store: store, campaigns: campaigns, downloads: downloads, audit: audit)
    let json = Taken.json(limits.bodyBytesMax)
    // Statements, and no literal: the compiler's work grows faster than the length of one.
    var rows = Rows()
    rows.open("/", dashboard.page)
    rows.open("/assets/{name}", dashboard.asset)
    rows.open("/livez", inline: true, operations.alive)
    rows.open("/readyz", operations.ready)
    rows.open("/openapi.yaml", description.asYAML)
    rows.open("/openapi.json", description.asJSON)
    rows.route(.get, "/metrics", .scope(.metricsRead), metrics.metrics)
    rows.route(.get, "/v1/capabilities", .anyKey, operations.capabilities)
    rows.route(.get, "/v1/workers", .scope(.workersRead), operations.workers)

    rows.route(.post, "/v1/keys", .scope(.keysAdmin), taking: json, keys.create)
    rows.route(.get, "/v1/keys", .scope(.keysAdmin), keys.list)
    rows.route(.get, "/v1/keys/{key_id}", .scope(.keysAdmin), keys.get)
    rows.route(.delete, "/v1/keys/{key_id}", .scope(.keysAdmin), keys.revoke)
    rows.route(.post, "/v1/keys/{key_id}/rotate", .scope(.keysAdmin), taking: json, keys.rotate)
    rows.route(.post, "/v1/projects", .scope(.projectsAdmin), taking: json, projects.create)
    rows.route(.get, "/v1/projects", .scope(.projectsAdmin), projects.list)
    rows.route(.get, "/v1/projects/{project_id}", .scope(.projectsAdmin), projects.get)
    rows.route(.patch, "/v1/projects/{project_id}", .scope(.projectsAdmin), taking: json, projects.set)
    rows.route(.get, "/v1/audit", .scope(.auditRead), auditLog.list)

    rows.route(
      .post, "/v1/datasets", .scope(.datasetsWrite), admit: datasets.admit,
      taking: .upload(limits.uploadBytesMax), datasets.create)
    rows.route(.get, "/v1/datasets", .scope(.datasetsRead), datasets.list)
    rows.route(.get, "/v1/datasets/{dataset_id}", .scope(.datasetsRead), datasets.get)
    rows.route(.delete, "/v1/datasets/{dataset_id}", .scope(.datasetsWrite), datasets.delete)
    rows.route(.get, "/v1/datasets/{dataset_id}/preview", .scope(.datasetsRead), datasets.preview)
    rows.route(.get, "/v1/datasets/{dataset_id}/problems", .scope(.datasetsRead), datasets.problems)

    rows.route(
      .post, "/v1/models", .scope(.modelsWrite), admit: models.admit,
      taking: .model(max(limits.bodyBytesMax, ModelFile.bytesMax)), models.create)
    rows.route(.get, "/v1/models", .scope(.modelsRead), models.list)
    rows.route(.get, "/v1/models/{model_id}", .scope(.modelsRead), models.get)
    rows.route(.delete, "/v1/models/{model_id}", .scope(.modelsWrite), models.delete)
    rows.route(.post, "/v1/model-checks", .scope(.modelsRead), taking: json, models.check)

    rows.route(.get, "/v1/optimizers", .scope(.optimizersRead), optimizers.list)
    rows.route(
      .post, "/v1/optimizers", .scope(.optimizersAdmin), admit: optimizers.admit,
      taking: .file(LearnedOptimizerRecord.fileBytesMax), optimizers.create)
    rows.route(.get, "/v1/optimizers/{optimizer_id}", .scope(.optimizersRead), optimizers.get)
    rows.route(.get, "/v1/optimizers/{optimizer_id}/theta", .scope(.optimizersRead), optimizers.theta)
    rows.route(.post, "/v1/optimizers/{optimizer_id}/release", .scope(.optimizersAdmin), optimizers.release)
    rows.route(.post, "/v1/optimizers/{optimizer_id}/deprecate", .scope(.optimizersAdmin), optimizers.deprecate)

    rows.route(.post, "/v1/jobs", .scope(.jobsWrite), taking: json, jobs.create)
    rows.route(.get, "/v1/jobs", .scope(.jobsRead), jobs.list)
    rows.route(.get, "/v1/jobs/{job_id}", .scope(.jobsRead), jobs.get)
    rows.route(.patch, "/v1/jobs/{job_id}", .scope(.jobsWrite), taking: json, jobs.set)
    rows.route(.delete, "/v1/jobs/{job_id}", .scope(.jobsWrite), jobs.delete)
    rows.route(.post, "/v1/jobs/{job_id}/pause", .scope(.jobsWrite), jobs.pause)
    rows.route(.post, "/v1/jobs/{job_id}/resume", .scope(.jobsWrite), jobs.resume)
    rows.route(.post, "/v1/jobs/{job_id}/cancel", .scope(.jobsWrite), jobs.cancel)
    rows.route(.post, "/v1/jobs/{job_id}/extend", .scope(.jobsWrite), taking: json, jobs.extend)
    rows.route(.get, "/v1/jobs/{job_id}/events", .scope(.jobsRead), events.ofJob)
    rows.route(.get, "/v1/jobs/{job_id}/attempts", .scope(.jobsRead), jobs.attempts)
    rows.route(.get, "/v1/jobs/{job_id}/curves", .scope(.jobsRead), curves.summaries)
    rows.route(.get, "/v1/jobs/{job_id}/curves/{series}", .scope(.jobsRead), curves.points)
    rows.route(.get, "/v1/jobs/{job_id}/checkpoints", .scope(.jobsRead), checkpoints.list)
    rows.route(.get, "/v1/jobs/{job_id}/model", .scope(.jobsRead), checkpoints.model)
    rows.route(.get, "/v1/checkpoints/{checkpoint_id}/content", .scope(.jobsRead), checkpoints.content)
    rows.route(.post, "/v1/campaigns", .scope(.campaignsAdmin), taking: json, campaigns.create)
    rows.route(.get, "/v1/campaigns", .scope(.campaignsRead), campaigns.list)
    rows.route(.post, "/v1/campaigns/plan", .scope(.campaignsRead), taking: json, campaigns.plan)
    rows.route(.get, "/v1/campaigns/{campaign_id}", .scope(.campaignsRead), campaigns.get)
    rows.route(.patch, "/v1/campaigns/{campaign_id}", .scope(.campaignsAdmin), taking: json, campaigns.set)
    rows.route(.post, "/v1/campaigns/{campaign_id}/pause", .scope(.campaignsAdmin), campaigns.pause)
    rows.route(.post, "/v1/campaigns/{campaign_id}/resume", .scope(.campaignsAdmin), campaigns.resume)
    rows.route(.post, "/v1/campaigns/{campaign_id}/cancel", .scope(.campaignsAdmin), campaigns.cancel)
    rows.route(.get, "/v1/campaigns/{campaign_id}/phases", .scope(.campaignsRead), results.phases)
    rows.route(.get, "/v1/campaigns/{campaign_id}/steps", .scope(.campaignsRead), results.steps)
    rows.route(.get, "/v1/campaigns/{campaign_id}/events", .scope(.campaignsRead), events.ofCampaign)
    rows.route(.get, "/v1/campaigns/{campaign_id}/thetas", .scope(.campaignsRead), results.thetas)
    rows.route(
      .get, "/v1/campaigns/{campaign_id}/thetas/{version}/content", .scope(.campaignsRead), results.content)
    rows.route(.post, "/v1/campaigns/{campaign_id}/branch", .scope(.campaignsAdmin), taking: json, results.branch)
    rows.route(.post, "/v1/campaigns/{campaign_id}/rollback", .scope(.campaignsAdmin), taking: json, results.rollback)
    rows.route(.post, "/v1/campaigns/{campaign_id}/promote", .scope(.campaignsAdmin), taking: json, results.promote)
    rows.route(
      .post, "/v1/campaigns/{campaign_id}/evaluate", .scope(.campaignsAdmin), taking: json, evaluations.evaluate)

    rows.route(.post, "/v1/evaluations", .scope(.campaignsAdmin), taking: json, evaluations.create)
    rows.route(.get, "/v1/evaluations", .scope(.campaignsRead), evaluations.list)
    rows.route(.get, "/v1/evaluations/{evaluation_id}", .scope(.campaignsRead), evaluations.get)
    rows.route(.post, "/v1/evaluations/{evaluation_id}/cancel", .scope(.campaignsAdmin), evaluations.cancel)
    rows.route(.get, "/v1/evaluations/{evaluation_id}/report", .scope(.campaignsRead), evaluations.report)
    return rows.list
  }

  /// Listens and answers from now on.
  ///
  /// - Throws: ``ListenError`` when the address is malformed, in use or not to be bound; ``StoreError``.
  public func start() throws -> RunningServer {
    let log = RequestLog(logger: logger)
    let errors = ErrorAnswers(logger: logger)
    var configuration = Configuration(address: settings.address)
    configuration.credentials = settings.credentials
    configuration.handlerThreads = settings.handlerThreads
    configuration.allowedHosts = settings.allowedHosts
    configuration.spoolFolder = settings.spoolFolder
    configuration.limits.spoolTotalBytesMax = max(
      configuration.limits.spoolTotalBytesMax, 2 * settings.limits.uploadBytesMax)
    // Answers are data for programs: never sniffed, kept, framed or run.
    configuration.commonHeaders = [
      "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
      "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    ]
    configuration.formatProblem = ErrorAnswers.format
    configuration.respondToError = errors.respond
    configuration.gauges = gauges
    configuration.onComplete = { [requests] record in
      requests.record(record)
      log.record(record)
    }
    configuration.onHandshakeFailure = { [requests] peer, reason in
      requests.handshakeFailed()
      log.handshakeFailed(peer: peer, reason: reason)
    }
    configuration.onTrouble = { [logger] in logger.warning("trouble", metadata: ["what": "\($0)"]) }
    let listener = try store.listen(to: [.job, .dataset, .model, .optimizer, .campaign, .evaluation]) {
      [waiters, feed] _, id in
      waiters.wake(id)
      feed.wake(id)
    }
    do {
      return RunningServer(server: try HTTPServer(configuration, router: router), listener: listener, log: log)
    } catch {
      listener.stop()
      throw error
    }
  }

  // MARK: Rows of the table

  /// The body that an operation takes.
  private enum Taken {
    case nothing
    case json(Int)
    case upload(Int)
    /// A definition as JSON, or a file.
    case model(Int)
    /// A file alone.
    case file(Int)

    var bytesMax: Int {
      switch self {
      case .nothing: 0
      case .json(let bytes), .upload(let bytes), .model(let bytes), .file(let bytes): bytes
      }
    }

    var types: [String] {
      switch self {
      case .nothing: []
      case .json: ["application/json"]
      case .upload:
        [
          "application/octet-stream", "text/csv", "text/plain", "application/x-ndjson", "application/zip",
          "application/gzip",
        ]
      case .model: ["application/json", "application/octet-stream"]
      case .file: ["application/octet-stream"]
      }
    }

    /// Storing a large upload takes its time once it has arrived.
    var handlerSeconds: Double? {
      switch self {
      case .upload, .model, .file: return 600
      case .nothing, .json: return nil
      }
    }
  }

  /// The table in the making.
  private struct Rows {
    private(set) var list: [Route<Access, APIKey?>] = []

    /// A row for everybody.
    mutating func open(
      _ path: String, inline: Bool = false, _ handler: @escaping @Sendable (Request) throws -> Response
    ) {
      list.append(Route(.get, path, policy: Access(.open), inline: inline) { request, _ in try handler(request) })
    }

    /// A row for holders of a key.
    mutating func route(
      _ method: Method, _ path: String, _ rule: Access.Rule,
      admit: @escaping @Sendable (RequestHead, APIKey) throws -> Void = { _, _ in }, taking taken: Taken = .nothing,
      _ handler: @escaping @Sendable (Request, APIKey) throws -> Response
    ) {
      let row = Route<Access, APIKey?>(
        method, path, policy: Access(rule, admit: admit), bodyBytesMax: taken.bytesMax,
        acceptedContentTypes: taken.types, handlerSeconds: taken.handlerSeconds
      ) { request, key in
        guard let key else {
          throw Problem(.unauthenticated, status: 401, title: "Unauthorized", detail: "an API key is needed")
        }
        return try handler(request, key)
      }
      list.append(row)
    }
  }
}

/// A server that answers.
public final class RunningServer: Sendable {
  private let server: HTTPServer
  private let listener: NotificationListener
  private let log: RequestLog

  init(server: HTTPServer, listener: NotificationListener, log: RequestLog) {
    self.server = server
    self.listener = listener
    self.log = log
  }

  /// The port in effect.
  public var port: Int { server.port }
  /// `host:port` with the port in effect.
  public var address: String { server.address }

  /// Secures new connections with other credentials from now on; only for a server that was started with some.
  public func use(_ credentials: TLSCredentials) { server.use(credentials) }

  /// Stops accepting, answers what waits, lets requests in progress finish, and returns when all is over; a second
  /// call returns at once.
  ///
  /// - Parameter drainSeconds: after so long the remaining connections are cut. Default 10 s.
  /// - Returns: false if connections were cut.
  @discardableResult
  public func stop(drainSeconds: Double = 10) -> Bool {
    let isClean = server.stop(drainSeconds: drainSeconds)
    listener.stop()
    log.flush()
    return isClean
  }
}
