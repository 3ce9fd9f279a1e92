// The loop of all commands that follow something on a server to its end: asks, draws or prints, waits out restarts, and
// ends on a timeout or an interrupt. JobFollower and CampaignFollower say what is asked and shown.
import Client
import Contract
import Foundation

/// Follows one thing.
struct FollowLoop {
  enum Form { case live, lines, json }

  let console: Console
  let form: Form
  let signals: TerminationSignals
  /// Seconds after which following ends with exit code 6; nil follows for ever.
  let timeoutSeconds: Double?
  /// What is followed, such as `job`, which is also the command's name, and its id.
  let kind: String
  let id: String
  /// The subcommand that takes up again.
  let verb: String

  // Plain lines come at most this often.
  private static let lineSeconds = 2.0
  private static let frameSeconds = 0.25
  // Restarts and upgrades of the server take seconds; what is followed may take days, so patience is long.
  private static let patienceSeconds = 600.0

  /// What a follower shows of the state it holds.
  struct Shown {
    var state: String
    var isOver: Bool
    /// The block of lines for a terminal.
    var frame: () -> [String]
    /// One line for everything else.
    var status: () -> String
    var json: () -> JSON
  }

  /// Follows until it is over; throws when time is over, the user interrupts, or the thing is gone.
  ///
  /// - Parameters:
  ///   - update: asks the server, for at most about a second.
  ///   - shown: what to show after `seconds`, and whether the server could be reached.
  func run(update: () throws -> Void, shown: (_ seconds: Double, _ isConnected: Bool) -> Shown) throws {
    let start = ContinuousClock.now
    var unreachableSince: ContinuousClock.Instant?
    var drawn = 0
    var lastLine: (text: String, at: ContinuousClock.Instant)?
    while true {
      let asked = ContinuousClock.now
      do {
        try update()
        unreachableSince = nil
      } catch let error as APIError where error.retryable && Self.isPassing(error) {
        let since = unreachableSince ?? asked
        unreachableSince = since
        guard ContinuousClock.now - since < .seconds(Self.patienceSeconds) else { throw error }
      }
      let seconds = Self.seconds(ContinuousClock.now - start)
      let shown = shown(seconds, unreachableSince == nil)
      switch form {
      case .live: drawn = console.redraw(shown.frame(), over: drawn)
      case .lines, .json:
        let text = form == .json ? shown.json().text : shown.status()
        let isDue =
          lastLine.map { ContinuousClock.now - $0.at >= .seconds(form == .json ? 0 : Self.lineSeconds) } ?? true
        if text != lastLine?.text, isDue || shown.isOver {
          console.line(text)
          lastLine = (text, ContinuousClock.now)
        }
      }
      if shown.isOver { return }
      if let timeoutSeconds, seconds >= timeoutSeconds {
        throw CommandFailure(
          .timedOut, "\(kind) \(id) is still \(shown.state) after \(Pace.short(seconds: seconds))",
          cure: "It goes on; `trainyard \(kind) \(verb) \(id)` takes up again.")
      }
      // The server held its answer for up to a second when nothing changed; a fast one is not asked more often.
      let left = Self.frameSeconds - Self.seconds(ContinuousClock.now - asked)
      if signals.wait(seconds: max(0, left)) {
        throw CommandFailure(
          .interrupted, "stopped following",
          cure: "The \(kind) goes on; `trainyard \(kind) \(verb) \(id)` takes up again, "
            + "`trainyard \(kind) cancel \(id)` ends it.")
      }
    }
  }

  /// A client that gives up soon, so that the loop can say what is wrong.
  static func client(_ client: APIClient) -> APIClient {
    client.with(retry: RetryPolicy(firstDelaySeconds: 0.1, delaySecondsMax: 1, deadlineSeconds: 1))
  }

  /// Whether an error is about the way to the server, and not about the request.
  private static func isPassing(_ error: APIError) -> Bool {
    switch error.kind {
    case .unreachable, .timedOut, .answered(status: 503), .answered(status: 429): return true
    default: return false
    }
  }

  private static func seconds(_ duration: Duration) -> Double { duration / .seconds(1) }
}

/// When what is followed has to be read again: a stream of events says so, and a slow poll where none gets through.
final class FollowedNews {
  private let follower: EventFollower
  private var readAt: ContinuousClock.Instant?
  private var isStale = true
  /// The message of the last event that people want to know of.
  private(set) var note = ""

  // Without news it is read this often all the same.
  private static let silenceSeconds = 5.0

  init(_ follower: EventFollower) { self.follower = follower }

  deinit { follower.stop() }

  /// Waits for news for at most a second; true when there is something to read.
  ///
  /// - Throws: ``APIError`` when the server refuses to tell any.
  func wait() throws -> Bool {
    let events = try follower.take(seconds: isStale ? 0 : 1)
    for event in events where event.sequence != nil && ["state", "attempt", "warning", "phase"].contains(event.name) {
      note = event.data["message"]?.string.map(Table.printable) ?? note
    }
    // While there is no stream it is asked again and again, which also tells why.
    if !events.isEmpty || follower.trouble != nil { isStale = true }
    if let readAt, ContinuousClock.now - readAt >= .seconds(Self.silenceSeconds) { isStale = true }
    return isStale
  }

  /// Everything was read.
  func wasRead() {
    isStale = false
    readAt = .now
  }
}
