// The executable's entry: the command tree, and the one place where errors become messages and exit codes.
import ArgumentParser
import Client
import Contract
import Glibc
import Store

/// `trainyard`, the one program for servers, workers and users.
struct Trainyard: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "trainyard",
    abstract: "A training service without hyperparameters: post a model, data and a step budget; get a trained model.",
    discussion: """
      A first run:
        trainyard serve --data DIR              start a server with its own database and workers
        trainyard dataset add FILE... --data DIR
        trainyard job submit --dataset ID --steps 1000 --follow --data DIR

      Environment: TRAINYARD_URL, TRAINYARD_KEY, TRAINYARD_KEY_FILE and TRAINYARD_DATA for clients;
      TRAINYARD_DATA, TRAINYARD_DATABASE_URL, TRAINYARD_DATABASE_PASSWORD_FILE, TRAINYARD_LISTEN, TRAINYARD_TLS_CERT,
      TRAINYARD_TLS_KEY, TRAINYARD_ALLOWED_HOSTS, TRAINYARD_WORKERS, TRAINYARD_SLOTS, TRAINYARD_LOG and
      TRAINYARD_LOG_FORMAT for servers. A flag wins over its variable.

      Exit codes: 0 success, 1 failure, 2 wrong usage, 3 not found, 4 not authorised, 5 the job failed or was
      cancelled, 6 timed out.
      """,
    version: Release.version,
    subcommands: [
      ServeCommand.self, WorkerCommand.self, MigrateCommand.self, DoctorCommand.self, HealthCommand.self,
      DatabaseCommand.self, KeyCommand.self, ProjectCommand.self, AuditCommand.self,
      DatasetCommand.self, ModelCommand.self, JobCommand.self, OptimizerCommand.self,
      CampaignCommand.self, EvaluationCommand.self, TaskCommand.self, BenchCommand.self,
    ]
  )
}

/// What this build calls itself.
enum Release {
  static let version = "0.1.0"
}

@main
enum Main {
  static func main() {
    // A reader that went away is an error of write(2) here, not the end of the process.
    signal(SIGPIPE, SIG_IGN)
    do {
      var command = try Trainyard.parseAsRoot()
      try command.run()
    } catch {
      exit(report(error).rawValue)
    }
  }

  /// Prints what went wrong on standard error and says how the process ends.
  private static func report(_ error: Error) -> ExitStatus {
    let console = Console()
    switch error {
    case let failure as CommandFailure:
      console.error(failure.text)
      return failure.status
    case let failure as APIError: return report(CommandFailure(failure))
    case let failure as StoreError: return report(CommandFailure(failure))
    case let faults as SpecError:
      console.error(
        "error: the settings are wrong\n" + faults.faults.map { "  \($0.path): \($0.reason)" }.joined(separator: "\n"))
      return .usage
    default:
      let text = Trainyard.fullMessage(for: error)
      // Help and version arrive here too: they are errors to ArgumentParser, with exit code 0.
      if Trainyard.exitCode(for: error) == .success {
        console.line(text)
        return .success
      }
      if Trainyard.exitCode(for: error) == .validationFailure {
        console.error(text)
        return .usage
      }
      console.error("error: \(error)")
      return .failure
    }
  }
}
