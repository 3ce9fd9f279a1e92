// Errors as answers: the only switch that turns what handlers throw, and what the HTTP layer refuses by itself, into a
// status and problem JSON.
import Contract
import Foundation
import HTTP
import Logging
import Store

/// A problem as the contract has it; the HTTP layer's own kind is only met here.
typealias Problem = Contract.Problem

/// Turns errors into answers.
struct ErrorAnswers: Sendable {
  let logger: Logger

  /// The answer to an error; nil for one that is the server's own fault and says nothing to clients.
  func respond(to error: any Error, _ head: RequestHead) -> Response? {
    guard let problem = problem(of: error) else { return nil }
    if problem.status >= 500 {
      logger.warning(
        "unavailable", metadata: ["request_id": "\(head.requestId)", "error": "\(error)"])
    }
    return Self.response(problem, requestID: head.requestId)
  }

  /// The problem that an error stands for.
  private func problem(of error: any Error) -> Problem? {
    switch error {
    case let problem as Problem: return problem
    case let error as SpecError: return Self.invalid(error.faults)
    case let error as JSONError:
      return Problem(.badRequest, status: 400, title: "Bad Request", detail: error.description)
    case let error as StoreError: return Self.problem(of: error)
    default: return nil
    }
  }

  private static func problem(of error: StoreError) -> Problem? {
    switch error {
    case .notFound(let what):
      return Problem(.notFound, status: 404, title: "Not Found", detail: "\(what) does not exist")
    case .missingTheta(let text): return Problem(.notFound, status: 404, title: "Not Found", detail: text)
    case .conflict(.datasetNotReady, let text):
      return Problem(.notReady, status: 409, title: "Conflict", detail: text, retryable: true)
    case .conflict(.inUse, let text):
      return Problem(.conflict, status: 409, title: "Conflict", detail: text, retryable: true)
    case .conflict(.revision, let text):
      return Problem(.conflict, status: 412, title: "Precondition Failed", detail: text)
    case .conflict(_, let text):
      return Problem(.conflict, status: 409, title: "Conflict", detail: text)
    case .staleLease: return Problem(.conflict, status: 409, title: "Conflict", detail: error.description)
    case .invalid(let faults): return invalid(faults)
    case .invalidCursor: return invalid([Fault(path: "?cursor", reason: error.description)])
    case .quota(let text):
      return Problem(.quota, status: 429, title: "Too Many Requests", detail: text, retryable: true)
    case .limit(let text): return invalid([Fault(path: "", reason: text)])
    case .unavailable:
      return unavailable("the database cannot be reached at the moment, or is busy; try again")
    case .diskFull:
      return unavailable(
        "the database's disk is full; nothing of this request was kept: try again when the operator has made room")
    case .schema:
      return unavailable("the database's schema does not fit this program; the operator has to migrate it")
    case .corruptContent, .cluster, .database: return nil
    }
  }

  static func unavailable(_ detail: String) -> Problem {
    Problem(.unavailable, status: 503, title: "Service Unavailable", detail: detail, retryable: true)
  }

  /// 422 with every fault; the detail tells the first, for people who read only that.
  static func invalid(_ faults: [Fault]) -> Problem {
    let first =
      faults.first.map { $0.path.isEmpty ? $0.reason : "\($0.path): \($0.reason)" } ?? "the request is invalid"
    return Problem(
      .invalidField, status: 422, title: "Unprocessable Content",
      detail: faults.count > 1 ? "\(first) (and \(faults.count - 1) more)" : first, errors: faults)
  }

  /// 404 for an id that the project does not have.
  static func missing(_ what: String, _ id: String) -> Problem {
    Problem(.notFound, status: 404, title: "Not Found", detail: "there is no \(what) \(id.prefix(64))")
  }

  static func response(_ problem: Problem, requestID: String) -> Response {
    var headers: ResponseHeaders = [:]
    switch problem.kind {
    case .unauthenticated: headers["WWW-Authenticate"] = "Bearer realm=\"trainyard\""
    case .forbidden: headers["WWW-Authenticate"] = "Bearer realm=\"trainyard\", error=\"insufficient_scope\""
    default: break
    }
    if problem.retryable { headers["Retry-After"] = "1" }
    return .bytes(
      problem.json(requestID: requestID).bytes, contentType: "application/problem+json",
      status: Status(problem.status), headers: headers)
  }

  /// The body of an answer that the HTTP layer makes itself, in the same form as all others.
  static func format(_ problem: HTTP.Problem) -> [UInt8] {
    let kind: Problem.Kind
    switch problem.status.code {
    case 401: kind = .unauthenticated
    case 403: kind = .forbidden
    case 404: kind = .notFound
    case 409: kind = .conflict
    case 429: kind = .quota
    case 500: kind = .internalError
    case 503, 504, 507: kind = .unavailable
    default: kind = .badRequest
    }
    return Problem(
      kind, status: problem.status.code, title: problem.title, detail: problem.detail, retryable: problem.retryable
    ).json(requestID: problem.requestId).bytes
  }
}
