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
      store: store, settings: settings, logger: logger, waiters: waiters, feed: feed, authentication: authentication)
    router = try Router(routes) { access, head in try authentication.authorize(access, head) }
  }

  /// Every operation: method, path, who may ask, what it takes, and what answers.
  private static func routes(
    store: Store, settings: ServerSettings, logger: Logger, waiters: Waiters, feed: EventFeed,
    authentication: Authentication
  ) -> [Route<Access, APIKey?>] {
    let limits = settings.limits
    let audit = AuditTrail(store: store, logger: logger)
    let operations = OperationRoutes(store: store, settings: settings)
    let description = Description()
    let dashboard = Dashboard(libraryFolder: settings.dygraphsFolder)
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
    // Two lists: the compiler's work grows faster than the length of one.
    let training: [Route<Access, APIKey?>] = [
      open("/", dashboard.page),
      open("/assets/{name}", dashboard.asset),
      open("/livez", inline: true, operations.alive),
      open("/readyz", operations.ready),
      open("/openapi.yaml", description.asYAML),
      open("/openapi.json", description.asJSON),
      route(.get, "/v1/capabilities", .anyKey, operations.capabilities),
      route(.get, "/v1/workers", .scope(.workersRead), operations.workers),

      route(.post, "/v1/keys", .scope(.keysAdmin), taking: json, keys.create),
      route(.get, "/v1/keys", .scope(.keysAdmin), keys.list),
      route(.get, "/v1/keys/{key_id}", .scope(.keysAdmin), keys.get),
      route(.delete, "/v1/keys/{key_id}", .scope(.keysAdmin), keys.revoke),

      route(
        .post, "/v1/datasets", .scope(.datasetsWrite), admit: datasets.admit,
        taking: .upload(limits.uploadBytesMax), datasets.create),
      route(.get, "/v1/datasets", .scope(.datasetsRead), datasets.list),
      route(.get, "/v1/datasets/{dataset_id}", .scope(.datasetsRead), datasets.get),
      route(.delete, "/v1/datasets/{dataset_id}", .scope(.datasetsWrite), datasets.delete),
      route(.get, "/v1/datasets/{dataset_id}/preview", .scope(.datasetsRead), datasets.preview),
      route(.get, "/v1/datasets/{dataset_id}/problems", .scope(.datasetsRead), datasets.problems),

      route(
        .post, "/v1/models", .scope(.modelsWrite), admit: models.admit,
        taking: .model(max(limits.bodyBytesMax, ModelFile.bytesMax)), models.create),
      route(.get, "/v1/models", .scope(.modelsRead), models.list),
      route(.get, "/v1/models/{model_id}", .scope(.modelsRead), models.get),
      route(.delete, "/v1/models/{model_id}", .scope(.modelsWrite), models.delete),
      route(.post, "/v1/model-checks", .scope(.modelsRead), taking: json, models.check),

      route(.get, "/v1/optimizers", .scope(.optimizersRead), optimizers.list),
      route(
        .post, "/v1/optimizers", .scope(.optimizersAdmin), admit: optimizers.admit,
        taking: .file(LearnedOptimizerRecord.fileBytesMax), optimizers.create),
      route(.get, "/v1/optimizers/{optimizer_id}", .scope(.optimizersRead), optimizers.get),
      route(.get, "/v1/optimizers/{optimizer_id}/theta", .scope(.optimizersRead), optimizers.theta),
      route(.post, "/v1/optimizers/{optimizer_id}/release", .scope(.optimizersAdmin), optimizers.release),
      route(.post, "/v1/optimizers/{optimizer_id}/deprecate", .scope(.optimizersAdmin), optimizers.deprecate),

      route(.post, "/v1/jobs", .scope(.jobsWrite), taking: json, jobs.create),
      route(.get, "/v1/jobs", .scope(.jobsRead), jobs.list),
      route(.get, "/v1/jobs/{job_id}", .scope(.jobsRead), jobs.get),
      route(.patch, "/v1/jobs/{job_id}", .scope(.jobsWrite), taking: json, jobs.set),
      route(.delete, "/v1/jobs/{job_id}", .scope(.jobsWrite), jobs.delete),
      route(.post, "/v1/jobs/{job_id}/pause", .scope(.jobsWrite), jobs.pause),
      route(.post, "/v1/jobs/{job_id}/resume", .scope(.jobsWrite), jobs.resume),
      route(.post, "/v1/jobs/{job_id}/cancel", .scope(.jobsWrite), jobs.cancel),
      route(.post, "/v1/jobs/{job_id}/extend", .scope(.jobsWrite), taking: json, jobs.extend),
      route(.get, "/v1/jobs/{job_id}/events", .scope(.jobsRead), events.ofJob),
      route(.get, "/v1/jobs/{job_id}/attempts", .scope(.jobsRead), jobs.attempts),
      route(.get, "/v1/jobs/{job_id}/curves", .scope(.jobsRead), curves.summaries),
      route(.get, "/v1/jobs/{job_id}/curves/{series}", .scope(.jobsRead), curves.points),
      route(.get, "/v1/jobs/{job_id}/checkpoints", .scope(.jobsRead), checkpoints.list),
      route(.get, "/v1/jobs/{job_id}/model", .scope(.jobsRead), checkpoints.model),
      route(.get, "/v1/checkpoints/{checkpoint_id}/content", .scope(.jobsRead), checkpoints.content),
    ]
    let metaTraining: [Route<Access, APIKey?>] = [
      route(.post, "/v1/campaigns", .scope(.campaignsAdmin), taking: json, campaigns.create),
      route(.get, "/v1/campaigns", .scope(.campaignsRead), campaigns.list),
      route(.post, "/v1/campaigns/plan", .scope(.campaignsRead), taking: json, campaigns.plan),
      route(.get, "/v1/campaigns/{campaign_id}", .scope(.campaignsRead), campaigns.get),
      route(.patch, "/v1/campaigns/{campaign_id}", .scope(.campaignsAdmin), taking: json, campaigns.set),
      route(.post, "/v1/campaigns/{campaign_id}/pause", .scope(.campaignsAdmin), campaigns.pause),
      route(.post, "/v1/campaigns/{campaign_id}/resume", .scope(.campaignsAdmin), campaigns.resume),
      route(.post, "/v1/campaigns/{campaign_id}/cancel", .scope(.campaignsAdmin), campaigns.cancel),
      route(.get, "/v1/campaigns/{campaign_id}/phases", .scope(.campaignsRead), results.phases),
      route(.get, "/v1/campaigns/{campaign_id}/steps", .scope(.campaignsRead), results.steps),
      route(.get, "/v1/campaigns/{campaign_id}/events", .scope(.campaignsRead), events.ofCampaign),
      route(.get, "/v1/campaigns/{campaign_id}/thetas", .scope(.campaignsRead), results.thetas),
      route(
        .get, "/v1/campaigns/{campaign_id}/thetas/{version}/content", .scope(.campaignsRead), results.content),
      route(.post, "/v1/campaigns/{campaign_id}/branch", .scope(.campaignsAdmin), taking: json, results.branch),
      route(.post, "/v1/campaigns/{campaign_id}/rollback", .scope(.campaignsAdmin), taking: json, results.rollback),
      route(.post, "/v1/campaigns/{campaign_id}/promote", .scope(.campaignsAdmin), taking: json, results.promote),
      route(
        .post, "/v1/campaigns/{campaign_id}/evaluate", .scope(.campaignsAdmin), taking: json, evaluations.evaluate),

      route(.post, "/v1/evaluations", .scope(.campaignsAdmin), taking: json, evaluations.create),
      route(.get, "/v1/evaluations", .scope(.campaignsRead), evaluations.list),
      route(.get, "/v1/evaluations/{evaluation_id}", .scope(.campaignsRead), evaluations.get),
      route(.post, "/v1/evaluations/{evaluation_id}/cancel", .scope(.campaignsAdmin), evaluations.cancel),
      route(.get, "/v1/evaluations/{evaluation_id}/report", .scope(.campaignsRead), evaluations.report),
    ]
    return training + metaTraining
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
    configuration.onComplete = log.record
    configuration.onHandshakeFailure = log.handshakeFailed
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

  /// A row for everybody.
  private static func open(
    _ path: String, inline: Bool = false, _ handler: @escaping @Sendable (Request) throws -> Response
  ) -> Route<Access, APIKey?> {
    Route(.get, path, policy: Access(.open), inline: inline) { request, _ in try handler(request) }
  }

  /// A row for holders of a key.
  private static func route(
    _ method: Method, _ path: String, _ rule: Access.Rule,
    admit: @escaping @Sendable (RequestHead, APIKey) throws -> Void = { _, _ in }, taking taken: Taken = .nothing,
    _ handler: @escaping @Sendable (Request, APIKey) throws -> Response
  ) -> Route<Access, APIKey?> {
    Route(
      method, path, policy: Access(rule, admit: admit), bodyBytesMax: taken.bytesMax, acceptedContentTypes: taken.types,
      handlerSeconds: taken.handlerSeconds
    ) { request, key in
      guard let key else {
        throw Problem(.unauthenticated, status: 401, title: "Unauthorized", detail: "an API key is needed")
      }
      return try handler(request, key)
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
