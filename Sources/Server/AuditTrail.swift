// Writes down who changed what. The change is done when this runs, so a failure is logged and not answered.
import Contract
import HTTP
import Logging
import Store

/// The audit log as handlers write to it.
struct AuditTrail: Sendable {
  let store: Store
  let logger: Logger

  /// Adds an entry with the id of the request that made the change.
  func record(_ action: String, _ subject: String, by key: APIKey, _ request: Request, _ detail: [String: JSON] = [:]) {
    let detail = JSON.object(detail.merging(["request_id": .string(request.requestId)]) { $1 })
    do {
      try store.recordAudit(project: key.project, key: key.id, action: action, subject: subject, detail: detail)
    } catch {
      logger.error(
        "a change was not written to the audit log",
        metadata: [
          "request_id": "\(request.requestId)", "action": "\(action)", "subject": "\(subject)", "key": "\(key.id)",
          "error": "\(error)",
        ])
    }
  }
}
