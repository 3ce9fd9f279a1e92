// Checkpoints of a job and their contents, the trained model among them.
import Contract
import HTTP
import Store

struct CheckpointRoutes: Sendable {
  let store: Store
  let jobs: JobRoutes
  let downloads: Downloads

  private enum Format: String, CaseIterable {
    case safetensors, onnx

    var kind: Checkpoint.Kind { self == .safetensors ? .model : .onnx }
  }

  func list(_ request: Request, _ caller: APIKey) throws -> Response {
    let place = try Query.place(request.head)
    let job = try jobs.find(request.parameter("job_id"), caller)
    // A job keeps few checkpoints, so a page is cut from all of them.
    let all = try store.checkpoints(job: job.id)
    var start = 0
    if let cursor = place.cursor {
      guard let index = all.firstIndex(where: { $0.id == cursor }) else { throw StoreError.invalidCursor(cursor) }
      start = index + 1
    }
    let items = Array(all[start...].prefix(place.limit))
    let hasMore = start + items.count < all.count
    return .json(Page(items: items, nextCursor: hasMore ? items.last?.id : nil).json(\.json))
  }

  func content(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let id = request.parameter("checkpoint_id")
    guard let checkpoint = try store.checkpoint(id: id, project: caller.project) else {
      throw ErrorAnswers.missing("checkpoint", id)
    }
    let suffix = checkpoint.kind == .onnx ? "onnx" : "safetensors"
    return try downloads.answer(checkpoint.content, fileName: "\(checkpoint.id).\(suffix)", request.head)
  }

  func model(_ request: Request, _ caller: APIKey) throws -> Response {
    let format = try Query.read(request.head, texts: ["format"]) { fields in
      fields.choice("format", of: Format.self) ?? .safetensors
    }
    let job = try jobs.find(request.parameter("job_id"), caller)
    guard job.state == .succeeded else {
      throw Problem(
        .notReady, status: 409, title: "Conflict",
        detail: "the job \(job.id) is \(job.state.rawValue); it has a model once it has succeeded",
        retryable: !job.state.isTerminal)
    }
    guard let model = try store.checkpoints(job: job.id).first(where: { $0.kind == format.kind }) else {
      guard format == .onnx else { throw ErrorAnswers.missing("model of job", job.id) }
      throw Problem(
        .notFound, status: 404, title: "Not Found",
        detail:
          "the model of job \(job.id) has no form in ONNX; its events say why, and format=safetensors has its weights")
    }
    return try downloads.answer(model.content, fileName: "\(job.id).\(format.rawValue)", request.head)
  }
}
