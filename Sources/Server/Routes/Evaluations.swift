// Evaluations of optimizers: created, waited for, listed, cancelled; their reports. One of a campaign's theta is asked for
// at the campaign.
import Contract
import HTTP
import Store

struct EvaluationRoutes: Sendable {
  let store: Store
  let campaigns: CampaignRoutes
  let waiters: Waiters
  let downloads: Downloads
  let audit: AuditTrail

  func create(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let spec = try EvaluationSpec.decode(request.json())
    return try make(
      spec, request, caller, idempotency: request.idempotency(route: "POST /v1/evaluations"))
  }

  /// Evaluates a theta of a campaign, together with what else is named.
  func evaluate(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let body = try CampaignEvaluationRequest.decode(request.json())
    let campaign = try campaigns.find(request.parameter("campaign_id"), caller)
    let theta = try store.theta(campaign: campaign.id, version: body.version)
    let spec = try body.spec(of: ThetaReference(campaign: campaign.id, version: theta.version))
    let idempotency = try request.idempotency(
      route: "POST /v1/campaigns/{campaign_id}/evaluate",
      content: SHA256.hexadecimal("\(campaign.id)\n\(SHA256.hexadecimal(request.body.bytes(max: .max)))".utf8))
    return try make(spec, request, caller, campaign: (campaign.id, theta.version), idempotency: idempotency)
  }

  private func make(
    _ spec: EvaluationSpec, _ request: Request, _ caller: APIKey, campaign: (id: String, version: Int)? = nil,
    idempotency: Idempotency?
  ) throws -> Response {
    let (evaluation, replayed) = try store.createEvaluation(
      spec, project: caller.project, campaign: campaign, idempotency: idempotency)
    if !replayed { audit.record("evaluation.create", evaluation.id, by: caller, request) }
    return .created(
      evaluation.json, at: "/v1/evaluations/\(evaluation.id)", replayed: replayed, tag: Self.tag(evaluation))
  }

  func list(_ request: Request, _ caller: APIKey) throws -> Response {
    let (state, campaign, place) = try Query.read(
      request.head, texts: Query.Place.texts + ["state", "campaign"], numbers: Query.Place.numbers
    ) { fields in
      (
        fields.choice("state", of: EvaluationState.self), fields.identifier("campaign", .campaign),
        Query.Place.read(&fields)
      )
    }
    let page = try store.evaluations(
      project: caller.project, state: state, campaign: campaign, cursor: place.cursor, limit: place.limit)
    return .json(page.json(\.json))
  }

  func get(_ request: Request, _ caller: APIKey) throws -> Response {
    let seconds = try Query.wait(request.head)
    let (id, head) = (request.parameter("evaluation_id"), request.head)
    // With an entity tag the client waits for news, else for the end.
    let waitsForNews = head.headers["if-none-match"] != nil
    return try waiters.answer(
      id: id, seconds: Double(seconds), read: { try find(id, caller) },
      isOver: { $0.state.isTerminal || waitsForNews && !head.hasCurrent(Self.tag($0)) },
      answer: { .state($0.json, tag: Self.tag($0), head) })
  }

  func cancel(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let id = request.parameter("evaluation_id")
    guard let evaluation = try store.cancelEvaluation(id: id, project: caller.project) else {
      throw ErrorAnswers.missing("evaluation", id)
    }
    audit.record("evaluation.cancel", id, by: caller, request)
    return .json(evaluation.json, headers: ["ETag": Self.tag(evaluation)])
  }

  func report(_ request: Request, _ caller: APIKey) throws -> Response {
    let format = try Query.read(request.head, texts: ["format"]) { fields in
      fields.choice("format", of: EvaluationReportFormat.self) ?? .json
    }
    let evaluation = try find(request.parameter("evaluation_id"), caller)
    guard let content = evaluation.reports[format] else {
      throw Problem(
        .notReady, status: 409, title: "Conflict",
        detail:
          "the evaluation \(evaluation.id) is \(evaluation.state.rawValue); it has a report once it has succeeded",
        retryable: !evaluation.state.isTerminal)
    }
    return try downloads.answer(content, fileName: "\(evaluation.id).\(format.rawValue)", request.head)
  }

  private func find(_ id: String, _ caller: APIKey) throws -> EvaluationRecord {
    guard Identifier.isValid(id, .evaluation), let found = try store.evaluation(id: id, project: caller.project) else {
      throw ErrorAnswers.missing("evaluation", id)
    }
    return found
  }

  /// Changes with the trainings that end, which are no changes of state.
  private static func tag(_ evaluation: EvaluationRecord) -> String {
    let progress = evaluation.progress
    return "\"\(evaluation.revision)-\(progress.running)-\(progress.done)-\(progress.failed)\""
  }
}

/// The body of a request that evaluates a campaign's theta.
struct CampaignEvaluationRequest {
  /// Nil for the newest that is stored.
  let version: Int?
  private let evaluation: JSON

  static func decode(_ json: JSON) throws(SpecError) -> CampaignEvaluationRequest {
    try Faults.collect { faults in
      guard var fields = Fields(json, faults: faults) else { return nil }
      let version = fields.integer("version", in: 0...1_000_000_000)
      let spec = fields.required("spec", "the evaluation: tasks and steps at least")
      if let spec, case .object = spec {
      } else if let spec {
        fields.fault("spec", "expected an object, got \(spec.kind)")
      }
      fields.finish()
      return spec.map { CampaignEvaluationRequest(version: version, evaluation: $0) }
    }
  }

  /// The evaluation with the theta as the first of its optimizers.
  func spec(of theta: ThetaReference) throws(SpecError) -> EvaluationSpec {
    let evaluation = evaluation
    return try Faults.collect { faults in
      guard case .object(var members) = evaluation else { return nil }
      members["optimizers"] = .array([theta.json] + (members["optimizers"]?.array ?? []))
      return EvaluationSpec.read(.object(members), path: "/spec", faults: faults)
    }
  }
}
