// Follows a campaign to its end: the curve of its meta-loss with progress, throughput, staleness and survivors on a
// terminal, plain lines elsewhere, one JSON document a change for machines. CampaignWatch runs it.
import Client
import Contract
import Foundation

/// Watches one campaign through the API and shows what happens.
struct CampaignFollower {
  let client: APIClient
  let console: Console
  let form: FollowLoop.Form
  let signals: TerminationSignals
  /// Seconds after which following ends with exit code 6; nil follows for ever.
  let timeoutSeconds: Double?

  // Points kept for drawing: several for each column of dots of any terminal.
  private static let pointsMax = 8_000

  /// What is known of the campaign so far.
  private struct View {
    var campaign: JSON = .null
    var note = ""
    var phases: [JSON] = []
    var phasesRevision = -1
    var curve = CurvePoints()
    var last: CampaignSteps.Row?
    var outerPace = Pace(windowSeconds: 30)
    var innerPace = Pace(windowSeconds: 30)
    var isConnected = true

    var state: CampaignState? { campaign["state"]?.string.flatMap(CampaignState.init) }
    var version: Int { campaign["version"]?.integer ?? 0 }
    var outerSteps: Int { campaign["outer_steps"]?.integer ?? 0 }
    var innerSteps: Int { campaign["inner_steps"]?.integer ?? 0 }
  }

  /// Follows until the campaign has ended and returns it; throws when time is over, the user interrupts, or it is gone.
  ///
  /// - Parameter stopsAtPause: whether a pause is an end too.
  func follow(_ id: String, stopsAtPause: Bool) throws -> JSON {
    let patient = FollowLoop.client(client)
    let news = FollowedNews(EventFollower(client, campaign: id))
    var view = View()
    let loop = FollowLoop(
      console: console, form: form, signals: signals, timeoutSeconds: timeoutSeconds, kind: "campaign", id: id,
      verb: "watch")
    try loop.run {
      try update(&view, id: id, client: patient, news: news)
    } shown: { seconds, isConnected in
      view.isConnected = isConnected
      view.outerPace.note(step: view.version, seconds: seconds)
      view.innerPace.note(step: view.innerSteps, seconds: seconds)
      let now = view
      let isOver = now.state.map { $0.isTerminal || stopsAtPause && $0 == .paused } ?? false
      return FollowLoop.Shown(
        state: now.state?.rawValue ?? "unknown", isOver: isOver, frame: { frame(now, id: id) },
        status: { Self.status(now) }, json: { now.campaign })
    }
    return view.campaign
  }

  private func update(_ view: inout View, id: String, client: APIClient, news: FollowedNews) throws {
    guard try news.wait() else { return }
    view.note = news.note
    view.campaign = try client.campaign(id)
    if form == .json {
      news.wasRead()
      return
    }
    let from = (view.curve.steps.last ?? 0) + 1
    if view.version >= from {
      let new = try client.campaignSteps(id, from: from, rowsMax: Self.pointsMax / 2)
      view.curve.steps += new.rows.map(\.version)
      view.curve.values += new.rows.map { Float($0.meanLoss ?? .nan) }
      view.last = new.rows.last ?? view.last
      if view.curve.steps.count > Self.pointsMax { view.curve = view.curve.sampled(pointsMax: Self.pointsMax / 2) }
    }
    // A change of the phases is a change of the campaign.
    let revision = view.campaign["revision"]?.integer ?? 0
    let phase = view.campaign["phase"]?.integer ?? 0
    if view.phases.isEmpty
      || (revision != view.phasesRevision && !view.phases.contains { $0["number"]?.integer == phase })
    {
      view.phases = try client.campaignPhases(id)
      view.phasesRevision = revision
    }
    news.wasRead()
  }

  // MARK: Text

  private func frame(_ view: View, id: String) -> [String] {
    let (columns, rows) = console.size
    let width = min(columns, 100)
    let curve = CurveView(columns: width, rows: max(4, min(14, rows - 8)), horizon: max(1, view.outerSteps))
    let bar = ProgressBar(columns: max(10, min(40, width - 40))).text(done: view.version, total: view.outerSteps)
    let percent = view.outerSteps > 0 ? view.version * 100 / view.outerSteps : 0
    var progress = "\(bar) \(percent)%  outer step \(view.version)/\(view.outerSteps)"
    if view.state == .running, let left = view.outerPace.secondsLeft(total: view.outerSteps) {
      progress += "  ETA \(Pace.short(seconds: left))"
    }
    let name = view.campaign["name"]?.string.map { " " + Table.printable($0) } ?? ""
    let state = view.isConnected ? view.state?.rawValue ?? "?" : "server unreachable, trying again"
    let heading =
      "\(id)\(name)  \(view.campaign.cell("optimizer") ?? "?")  \(Self.phase(view))  \(state)"
    return [heading] + curve.lines(view.curve, title: "meta-loss") + [
      progress, Self.throughput(view), Self.measures(view), view.note,
    ]
  }

  private static func phase(_ view: View) -> String {
    let number = view.campaign["phase"]?.integer ?? 0
    let record = view.phases.first { $0["number"]?.integer == number }
    let name = record?["phase"]?["name"]?.string.map { " " + Table.printable($0) } ?? ""
    return "phase \(number)\(name)"
  }

  private static func throughput(_ view: View) -> String {
    guard view.state == .running else { return "" }
    var parts: [String] = []
    if let pace = view.outerPace.stepsPerSecond { parts.append("\(CurveView.short(pace)) outer steps/s") }
    if let pace = view.innerPace.stepsPerSecond { parts.append("\(Int(pace.rounded())) inner steps/s") }
    return parts.joined(separator: "  ")
  }

  /// Loss, staleness and survivors of the last step.
  private static func measures(_ view: View) -> String {
    guard let last = view.last else { return "" }
    var parts = ["meta-loss \(last.meanLoss.map(CurveView.short) ?? "not finite")"]
    if last.surviving.isFinite { parts.append("surviving \(percent(last.surviving))") }
    if let staleness = last.staleness { parts.append("staleness \(CurveView.short(staleness))") }
    if last.discarded > 0 { parts.append("\(last.discarded) discarded") }
    if let clipped = last.clipShare, clipped > 0 { parts.append("clipped \(percent(clipped))") }
    return parts.joined(separator: "  ")
  }

  private static func percent(_ share: Double) -> String { "\(Int((share * 100).rounded()))%" }

  private static func status(_ view: View) -> String {
    var parts = [view.isConnected ? view.state?.rawValue ?? "?" : "server unreachable, trying again"]
    if view.outerSteps > 0 { parts.append("\(phase(view))  outer step \(view.version)/\(view.outerSteps)") }
    for text in [measures(view), throughput(view)] where !text.isEmpty { parts.append(text) }
    return parts.joined(separator: "  ")
  }
}
