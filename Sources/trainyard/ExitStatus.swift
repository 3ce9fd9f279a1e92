// Exit codes of the command line, and the error that carries one. Trainyard.swift ends the process with them.
import Client
import Store

/// What a command's exit code says. Scripts rely on these numbers.
enum ExitStatus: Int32 {
  /// Done; for commands that follow a job only when it succeeded.
  case success = 0
  /// Anything without a code of its own.
  case failure = 1
  /// The command line or the settings are wrong.
  case usage = 2
  case notFound = 3
  /// No key, a key that is not valid, or one that may not do this.
  case notAuthorised = 4
  /// The job failed or was cancelled, or the dataset was rejected.
  case jobFailed = 5
  case timedOut = 6
  /// Interrupted by the user (128 + SIGINT, as shells count).
  case interrupted = 130
}

/// A failure that ends a command: what happened, what to do next, and the exit code.
struct CommandFailure: Error {
  let status: ExitStatus
  let message: String
  /// What the user can do about it; nil where the message says it.
  let cure: String?

  init(_ status: ExitStatus, _ message: String, cure: String? = nil) {
    self.status = status
    self.message = message
    self.cure = cure
  }

  /// The lines for standard error.
  var text: String { "error: \(message)" + (cure.map { "\n\($0)" } ?? "") }
}

extension CommandFailure {
  /// What the database refused, with what to do about it.
  init(_ error: StoreError) {
    let cure: String? =
      switch error {
      case .unavailable("connect", _):
        "Check that PostgreSQL runs there and lets this user in, and what --database-url or TRAINYARD_DATABASE_URL names."
      case .diskFull: "Make room on the disk of the database, then try again."
      default: nil
      }
    self.init(.failure, error.description, cure: cure)
  }

  /// A failed call of the API, with what to do about it.
  init(_ error: APIError) {
    switch error.kind {
    case .unreachable:
      // The address stands first in the detail.
      let isSecure = error.detail.hasPrefix("https:")
      self.init(
        .failure, error.description,
        cure: "Is it running? `trainyard serve --data DIR` starts one; --url or TRAINYARD_URL names another."
          + (isSecure
            ? " A certificate of your own authority must be trusted by this machine: update-ca-certificates." : ""))
    case .timedOut: self.init(.timedOut, error.description)
    case .answered(status: 401):
      self.init(
        .notAuthorised, error.description,
        cure: "Give a key: TRAINYARD_KEY, --key-file FILE, or --data DIR of a local server (its admin.key is used).")
    case .answered(status: 403):
      self.init(
        .notAuthorised, error.description,
        cure: "This key may not do that: `trainyard key create --scope ...` with an admin key makes one that may.")
    case .answered(status: 404): self.init(.notFound, error.description)
    case .answered, .malformedAnswer, .corrupt, .file: self.init(.failure, error.description)
    }
  }
}
