// Datasets: uploaded as a raw body, validated by a worker, waited for, looked into, deleted.
import Contract
import HTTP
import Store

struct DatasetRoutes: Sendable {
  let store: Store
  let waiters: Waiters
  let audit: AuditTrail
  let limits: Limits

  private var intake: UploadIntake { UploadIntake(store: store, limits: limits) }

  /// What an upload says in its query.
  private struct Upload {
    let name: String
    let options: DatasetOptions

    static func read(_ head: RequestHead) throws -> Upload {
      try Query.read(
        head, texts: ["name"] + DatasetOptions.texts, numbers: DatasetOptions.numbers,
        truths: DatasetOptions.truths
      ) { fields in
        let name = fields.string("name", required: "what the dataset is called")
        let options = DatasetOptions.read(&fields)
        guard let name, let options else { return nil }
        return Upload(name: name, options: options)
      }
    }
  }

  /// Refuses an upload before its body is read: by its query, its idempotency key, or the project's quota.
  func admit(_ head: RequestHead, _ caller: APIKey) throws {
    _ = try Upload.read(head)
    try head.checkIdempotencyKey()
    try intake.checkQuota(bytes: head.declaredBodyBytes ?? 0, caller)
  }

  func create(_ request: Request, _ caller: APIKey) throws -> Response {
    let upload = try Upload.read(request.head)
    let blob = try intake.keep(request, "the data itself", caller)
    let idempotency = try request.idempotency(
      route: "POST /v1/datasets",
      content: SHA256.hexadecimal("\(blob.sha256)\n\(upload.options.json.text)\n\(upload.name)".utf8))
    let (dataset, replayed) = try store.createDataset(
      name: upload.name, options: upload.options, blob: blob, project: caller.project, idempotency: idempotency,
      defaults: limits.quotas)
    if !replayed {
      audit.record(
        "dataset.create", dataset.id, by: caller, request,
        ["sha256": .string(blob.sha256), "bytes": .integer(blob.bytes)])
    }
    return .created(dataset.json, at: "/v1/datasets/\(dataset.id)", replayed: replayed)
  }

  func list(_ request: Request, _ caller: APIKey) throws -> Response {
    let place = try Query.place(request.head)
    return .json(try store.datasets(project: caller.project, cursor: place.cursor, limit: place.limit).json(\.json))
  }

  func get(_ request: Request, _ caller: APIKey) throws -> Response {
    let seconds = try Query.wait(request.head)
    let id = request.parameter("dataset_id")
    return try waiters.answer(
      id: id, seconds: Double(seconds), read: { try find(id, caller) }, isOver: { $0.state.isTerminal },
      answer: { .json($0.json) })
  }

  func preview(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let dataset = try find(request.parameter("dataset_id"), caller)
    guard let preview = try store.datasetPreview(id: dataset.id, project: caller.project) else {
      let isValidating = dataset.state == .validating
      throw Problem(
        .notReady, status: 409, title: "Conflict",
        detail: isValidating
          ? "the dataset \(dataset.id) is still validating; wait for it with "
            + "GET /v1/datasets/\(dataset.id)?wait=\(Limits.waitSecondsMax)"
          : "the dataset \(dataset.id) is \(dataset.state.rawValue) and has no preview", retryable: isValidating)
    }
    return .json(preview)
  }

  func problems(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let id = request.parameter("dataset_id")
    guard let problems = try store.datasetProblems(id: id, project: caller.project) else {
      throw ErrorAnswers.missing("dataset", id)
    }
    return .items(problems.map(\.json))
  }

  func delete(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let id = request.parameter("dataset_id")
    guard try store.deleteDataset(id: id, project: caller.project) else { throw ErrorAnswers.missing("dataset", id) }
    audit.record("dataset.delete", id, by: caller, request)
    return Response(status: .noContent)
  }

  private func find(_ id: String, _ caller: APIKey) throws -> Dataset {
    guard Identifier.isValid(id, .dataset), let dataset = try store.dataset(id: id, project: caller.project) else {
      throw ErrorAnswers.missing("dataset", id)
    }
    return dataset
  }
}
