// Learned optimizers with their provenance: read by all, imported, released and deprecated by administrators. They belong
// to no project: whoever may read them reads all.
import Contract
import Foundation
import HTTP
import Store

struct OptimizerRoutes: Sendable {
  let store: Store
  let waiters: Waiters
  let audit: AuditTrail
  let downloads: Downloads
  let limits: Limits

  func list(_ request: Request, _ caller: APIKey) throws -> Response {
    let place = try Query.place(request.head)
    return .json(try store.optimizers(cursor: place.cursor, limit: place.limit).json(\.json))
  }

  func get(_ request: Request, _ caller: APIKey) throws -> Response {
    let seconds = try Query.wait(request.head)
    let id = request.parameter("optimizer_id")
    return try waiters.answer(
      id: id, seconds: Double(seconds), read: { try find(id) }, isOver: { $0.isSettled }, answer: { .json($0.json) })
  }

  private func find(_ id: String) throws -> LearnedOptimizerRecord {
    guard Identifier.isValid(id, .optimizer), let optimizer = try store.optimizer(id: id) else {
      throw ErrorAnswers.missing("optimizer", id)
    }
    return optimizer
  }

  private func upload(_ head: RequestHead) throws(SpecError) -> LearnedOptimizerRecord.Upload {
    typealias Upload = LearnedOptimizerRecord.Upload
    return try Query.read(head, texts: Upload.texts, numbers: Upload.numbers) { Upload.read(&$0) }
  }

  /// Refuses a file before it is read.
  func admit(_ head: RequestHead, _ caller: APIKey) throws {
    _ = try upload(head)
    try head.checkIdempotencyKey()
    try UploadIntake(store: store, limits: limits).checkQuota(bytes: head.declaredBodyBytes ?? 0, caller)
  }

  func create(_ request: Request, _ caller: APIKey) throws -> Response {
    let upload = try upload(request.head)
    let blob = try UploadIntake(store: store, limits: limits).keep(request, "the file of weights", caller)
    let idempotency = try request.idempotency(
      route: "POST /v1/optimizers",
      content: SHA256.hexadecimal("\(blob.sha256)\n\(request.head.target.query.map { "\($0)=\($1)" })".utf8))
    let facts = [
      "source_sha256": blob.sha256, "source_bytes": String(blob.bytes), "imported_by": caller.id,
      "imported_at": Timestamp(Date()).rfc3339,
    ]
    let (optimizer, replayed) = try store.createOptimizer(
      upload, file: blob, provenance: facts, project: caller.project, idempotency: idempotency)
    if !replayed {
      audit.record(
        "optimizer.create", optimizer.id, by: caller, request,
        ["sha256": .string(blob.sha256), "bytes": .integer(blob.bytes), "name": .string(optimizer.name.rawValue)])
    }
    return .created(optimizer.json, at: "/v1/optimizers/\(optimizer.id)", replayed: replayed)
  }

  func theta(_ request: Request, _ caller: APIKey) throws -> Response {
    typealias Format = LearnedOptimizerRecord.Format
    let format = try Query.read(request.head, texts: ["format"]) {
      $0.choice("format", of: Format.self) ?? .safetensors
    }
    let optimizer = try find(request.parameter("optimizer_id"))
    guard let content = optimizer.content(format) else {
      throw Problem(
        .notReady, status: 409, title: "Conflict",
        detail: optimizer.isUsable
          ? "optimizer \(optimizer.id) has no form in \(format.rawValue) yet; a restart of the server makes it"
          : "optimizer \(optimizer.id) is \(optimizer.state.rawValue); it has weights once its file was found good",
        retryable: optimizer.state != .rejected)
    }
    let name = "\(optimizer.name.rawValue)-\(optimizer.version)"
    let suffix = format == .flax ? "theta.state" : "safetensors"
    return try downloads.answer(content, fileName: "\(name).\(suffix)", request.head)
  }

  func release(_ request: Request, _ caller: APIKey) throws -> Response { try set(.released, request, caller) }

  func deprecate(_ request: Request, _ caller: APIKey) throws -> Response { try set(.deprecated, request, caller) }

  private func set(
    _ state: LearnedOptimizerRecord.State, _ request: Request, _ caller: APIKey
  ) throws -> Response {
    try Query.none(request.head)
    let id = request.parameter("optimizer_id")
    _ = try find(id)
    guard let optimizer = try store.setOptimizerState(id: id, state) else {
      throw ErrorAnswers.missing("optimizer", id)
    }
    audit.record("optimizer.\(state == .released ? "release" : "deprecate")", id, by: caller, request)
    return .json(optimizer.json)
  }
}
