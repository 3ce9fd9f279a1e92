// Takes in raw bodies: judged by the project's quota before they are read where their length is declared, after it
// where not, and kept as blobs. Routes for datasets, model files and weights of optimizers share it.
import Contract
import HTTP
import Store

struct UploadIntake: Sendable {
  let store: Store
  let limits: Limits

  /// Refuses a body that would take the project over its quota.
  func checkQuota(bytes: Int, _ caller: APIKey) throws {
    try store.checkUpload(bytes: bytes, project: caller.project, defaults: limits.quotas)
  }

  /// Keeps a body, which must not be empty; `what` names it in the refusal.
  func keep(_ request: Request, _ what: String, _ caller: APIKey) throws -> BlobReference {
    guard request.body.byteCount > 0 else {
      throw Problem(.badRequest, status: 400, title: "Bad Request", detail: "the body is empty; \(what) is expected")
    }
    // A chunked body had no length to judge before.
    if request.head.declaredBodyBytes == nil { try checkQuota(bytes: request.body.byteCount, caller) }
    return switch request.body {
    case .memory(let bytes): try store.putBlob(bytes)
    case .file(let file): try store.putBlob(fileDescriptor: file.descriptor)
    }
  }
}
