// Models: definitions as JSON, files as raw bodies that a worker validates; and checks of what a model comes to.
import Contract
import HTTP
import Store

struct ModelRoutes: Sendable {
  let store: Store
  let waiters: Waiters
  let audit: AuditTrail
  let limits: Limits

  private var intake: UploadIntake { UploadIntake(store: store, limits: limits) }

  private enum Format: String, CaseIterable { case onnx }

  /// What an upload is called, or nil where the query says that the body is a definition.
  private func upload(_ head: RequestHead) throws -> String? {
    guard !head.target.query.isEmpty else { return nil }
    return try Query.read(head, texts: ["name", "format"]) { fields in
      // Without either, whatever else is there is at fault alone.
      guard fields.has("name") || fields.has("format") else { return nil }
      let name = fields.string("name", required: "what the model is called")
      let format = fields.choice("format", of: Format.self, required: "the format of the file")
      return format == nil ? nil : name
    }
  }

  /// Refuses a body before it is read: a definition for its length, a file by its query, its idempotency key, or the
  /// project's quota.
  func admit(_ head: RequestHead, _ caller: APIKey) throws {
    let type = head.headers["content-type"]?.prefix { !"; \t".contains($0) }.lowercased()
    let isFile = try upload(head) != nil
    if !isFile { try checkLength(head.declaredBodyBytes ?? 0) }
    guard isFile == (type != "application/json") else {
      throw HTTPError(
        .unsupportedMediaType,
        detail: "a definition is application/json without a query; a model file is application/octet-stream with "
          + "?name=…&format=onnx")
    }
    guard isFile else { return }
    try head.checkIdempotencyKey()
    try intake.checkQuota(bytes: head.declaredBodyBytes ?? 0, caller)
  }

  private func checkLength(_ bytes: Int) throws {
    guard bytes <= limits.bodyBytesMax else {
      throw HTTPError(
        .contentTooLarge,
        detail: "a definition may have \(limits.bodyBytesMax) bytes, this one has \(bytes); a model file needs "
          + "?name=…&format=onnx")
    }
  }

  func create(_ request: Request, _ caller: APIKey) throws -> Response {
    if let name = try upload(request.head) { return try createFile(name, request, caller) }
    try checkLength(request.body.byteCount)
    let (name, spec) = try ModelDefinition.decodeRequest(request.json())
    let (model, replayed) = try store.createModel(
      name: name, spec: spec, project: caller.project, idempotency: request.idempotency(route: "POST /v1/models"))
    if !replayed { audit.record("model.create", model.id, by: caller, request) }
    return .created(model.json, at: "/v1/models/\(model.id)", replayed: replayed)
  }

  private func createFile(_ name: String, _ request: Request, _ caller: APIKey) throws -> Response {
    let blob = try intake.keep(request, "the file itself", caller)
    let idempotency = try request.idempotency(
      route: "POST /v1/models", content: SHA256.hexadecimal("\(blob.sha256)\n\(name)".utf8))
    let (model, replayed) = try store.createModel(
      name: name, file: blob, project: caller.project, idempotency: idempotency, defaults: limits.quotas)
    if !replayed {
      audit.record(
        "model.create", model.id, by: caller, request,
        ["sha256": .string(blob.sha256), "bytes": .integer(blob.bytes)])
    }
    return .created(model.json, at: "/v1/models/\(model.id)", replayed: replayed)
  }

  func list(_ request: Request, _ caller: APIKey) throws -> Response {
    let place = try Query.place(request.head)
    return .json(try store.models(project: caller.project, cursor: place.cursor, limit: place.limit).json(\.json))
  }

  func get(_ request: Request, _ caller: APIKey) throws -> Response {
    let seconds = try Query.wait(request.head)
    let id = request.parameter("model_id")
    return try waiters.answer(
      id: id, seconds: Double(seconds), read: { try find(id, caller) }, isOver: { $0.isSettled },
      answer: { .json($0.json) })
  }

  func delete(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let id = request.parameter("model_id")
    guard try store.deleteModel(id: id, project: caller.project) else { throw ErrorAnswers.missing("model", id) }
    audit.record("model.delete", id, by: caller, request)
    return Response(status: .noContent)
  }

  func check(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let check = try ModelCheck.decode(request.json())
    return .json(
      try check.answer(store: store, project: caller.project, memoryBytesMax: limits.jobMemoryBytesMax))
  }

  private func find(_ id: String, _ caller: APIKey) throws -> ModelDefinition {
    guard Identifier.isValid(id, .model), let model = try store.model(id: id, project: caller.project) else {
      throw ErrorAnswers.missing("model", id)
    }
    return model
  }
}
