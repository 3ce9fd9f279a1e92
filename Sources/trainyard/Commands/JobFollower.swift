// Follows a job to its end by its stream of events: a live curve with a progress bar on a terminal, plain lines elsewhere,
// one JSON document a change for machines. Server restarts are waited out. JobCommand.swift runs it.
import Client
import Contract
import Foundation

/// Watches one job through the API and shows what happens.
struct JobFollower {
  let client: APIClient
  let console: Console
  let form: FollowLoop.Form
  let signals: TerminationSignals
  /// Seconds after which following ends with exit code 6; nil follows for ever.
  let timeoutSeconds: Double?

  // Points kept for drawing: several for each column of dots of any terminal.
  private static let pointsMax = 8_000

  /// What is known of the job so far.
  private struct View {
    var job: JSON = .null
    var note = ""
    var attempt = 0
    var fallback: JSON = .null
    var curve = CurvePoints()
    var heldOut = Metrics()
    var evaluatedStep = -1
    var pace = Pace()
    var isConnected = true

    /// As the server names it, also where a newer one has states that are not known here.
    var stateName: String? { job["state"]?.string }
    var isOver: Bool { stateName.flatMap(JobState.init)?.isTerminal ?? false }
    /// Whether it is worth asking how soon it will end.
    var isMoving: Bool { stateName == JobState.running.rawValue }
    var step: Int { job["step"]?.integer ?? 0 }
    var steps: Int { job["steps"]?.integer ?? 0 }
  }

  /// Follows until the job has ended and returns it; throws when time is over, the user interrupts, or the job is gone.
  func follow(_ id: String) throws -> JSON {
    let patient = FollowLoop.client(client)
    let news = FollowedNews(EventFollower(client, job: id))
    var view = View()
    let loop = FollowLoop(
      console: console, form: form, signals: signals, timeoutSeconds: timeoutSeconds, kind: "job", id: id,
      verb: "follow")
    try loop.run {
      try update(&view, id: id, client: patient, news: news)
    } shown: { seconds, isConnected in
      view.isConnected = isConnected
      view.pace.note(step: view.step, seconds: seconds)
      let now = view
      return FollowLoop.Shown(
        state: now.stateName ?? "unknown", isOver: now.isOver,
        frame: { frame(now, id: id) }, status: { Self.status(now, id: id) }, json: { now.job })
    }
    return view.job
  }

  private func update(_ view: inout View, id: String, client: APIClient, news: FollowedNews) throws {
    guard try news.wait() else { return }
    view.note = news.note
    let job = try client.job(id)
    let attempt = job["attempt"]?.integer ?? 0
    let fallback = job["fallback"] ?? .null
    if attempt != view.attempt || fallback != view.fallback {
      // A new attempt, or another optimizer, may have gone back to an earlier state: what it supersedes is read again.
      view.curve = CurvePoints()
      view.evaluatedStep = -1
      (view.attempt, view.fallback) = (attempt, fallback)
    }
    view.job = job
    if form == .json {
      news.wasRead()
      return
    }
    let from = view.curve.steps.last.map { $0 + 1 } ?? 0
    if view.step >= from || view.isOver {
      let new = try client.curve(
        job: id, series: .trainLoss, query: CurveQuery(from: from, pointsMax: Self.pointsMax / 2))
      view.curve.steps += new.steps
      view.curve.values += new.values
      if view.curve.steps.count > Self.pointsMax { view.curve = view.curve.sampled(pointsMax: Self.pointsMax / 2) }
    }
    let every = max(1, job["evaluate_every"]?.integer ?? 1)
    if view.step >= view.evaluatedStep + every || view.isOver {
      for summary in try client.curveSummaries(job: id) {
        guard let last = summary["last"]?.number else { continue }
        guard case .heldOut(let metric) = summary["series"]?.string.flatMap(CurveSeries.init) else { continue }
        view.heldOut[metric] = last
        view.evaluatedStep = max(view.evaluatedStep, summary["last_step"]?.integer ?? 0)
      }
    }
    news.wasRead()
  }

  // MARK: Text

  private func frame(_ view: View, id: String) -> [String] {
    let (columns, rows) = console.size
    let width = min(columns, 100)
    let curve = CurveView(columns: width, rows: max(4, min(14, rows - 7)), horizon: max(1, view.steps))
    let bar = ProgressBar(columns: max(10, min(40, width - 40))).text(done: view.step, total: view.steps)
    let percent = view.steps > 0 ? view.step * 100 / view.steps : 0
    var progress = "\(bar) \(percent)%  step \(view.step)/\(view.steps)"
    if view.isMoving {
      if let pace = view.pace.stepsPerSecond { progress += "  \(Int(pace.rounded())) steps/s" }
      if let left = view.pace.secondsLeft(total: view.steps) { progress += "  ETA \(Pace.short(seconds: left))" }
    }
    return [Self.heading(view, id: id)] + curve.lines(view.curve, title: "training loss") + [
      progress, Self.measures(view), view.note,
    ]
  }

  private static func heading(_ view: View, id: String) -> String {
    let name = view.job["name"]?.string.map { " " + Table.printable($0) } ?? ""
    let optimizer = view.job["optimizer"]?["name"]?.string ?? "?"
    let state = view.isConnected ? view.stateName ?? "?" : "server unreachable, trying again"
    return "\(id)\(name)  \(optimizer)  \(state)"
  }

  private static func measures(_ view: View) -> String {
    var parts: [String] = []
    if let loss = view.curve.values.last { parts.append("loss \(CurveView.short(Double(loss)))") }
    parts += view.heldOut.ordered.map { "held-out \($0.metric.words) \($0.metric.text($0.value))" }
    return parts.joined(separator: "  ")
  }

  private static func status(_ view: View, id: String) -> String {
    var parts = [view.isConnected ? view.stateName ?? "?" : "server unreachable, trying again"]
    if view.steps > 0 { parts.append("step \(view.step)/\(view.steps)") }
    let measures = measures(view)
    if !measures.isEmpty { parts.append(measures) }
    return parts.joined(separator: "  ")
  }
}
