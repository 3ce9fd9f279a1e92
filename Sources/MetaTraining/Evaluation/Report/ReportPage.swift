// The report of an evaluation as one HTML page that stands alone: no scripts, nothing loaded, one style sheet whose hash
// its content policy names. Tables and words say what plots show. ReportPage+Plots draws; Chart is the pencil.
import Contract
import Foundation

/// The page of a report.
public struct ReportPage {
  let report: JSON
  let labels: [String]
  let steps: [Int]

  /// - Parameter report: as ``EvaluationReport`` made it.
  public init(_ report: EvaluationReport) { self.init(json: report.json) }

  /// A page from a stored report.
  public init(json: JSON) {
    report = json
    labels = (json["entrants"]?.array ?? []).map { $0["label"]?.string ?? "?" }
    steps = (json["spec"]?["steps"]?.array ?? []).compactMap(\.integer)
  }

  /// The whole document.
  public var html: String {
    let name = Chart.escape(report["name"]?.string ?? "evaluation")
    let body = [
      "<h1>\(name)</h1>", facts, "<h2>Headlines</h2>", headlines, legend, "<h2>Speed-ups by task</h2>", sortedSpeedUps,
      "<h2>Profiles</h2>", profiles, "<h2>Tasks</h2>", tasks, "<h2>Paths on functions of two variables</h2>",
      trajectories, "<h2>Failures</h2>", failures, "<h2>Compute</h2>", compute, "<h2>How to read this</h2>", reading,
    ].joined(separator: "\n")
    return """
      <!doctype html>
      <html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
      <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src '\(Self.styleHash)'">
      <title>\(name)</title><style>\(Self.style)</style></head><body><main>
      \(body)
      </main></body></html>

      """
  }

  // MARK: Parts

  private var facts: String {
    let seeds = report["spec"]?["seeds"]?.array?.count ?? 0
    let taskCount = report["tasks"]?.array?.count ?? 0
    let baseline = labels.first.map(Chart.escape) ?? ""
    return "<p>\(labels.count - 1) optimizer\(labels.count == 2 ? "" : "s") against <b>\(baseline)</b> on \(taskCount) "
      + "task\(taskCount == 1 ? "" : "s"), \(seeds) seed\(seeds == 1 ? "" : "s"), "
      + "budgets of \(steps.map(String.init).joined(separator: ", ")) updates.</p>"
  }

  private var headlines: String {
    var rows: [[String]] = []
    for line in report["headlines"]?.array ?? [] {
      let censored = line["censored"]?.integer ?? 0
      rows.append([
        "\(line["steps"]?.integer ?? 0)", Chart.escape(line["label"]?.string ?? ""), "\(line["trials"]?.integer ?? 0)",
        Self.estimate(line["speed_up"])
          + (censored > 0 ? " <small>(\(censored) beyond the baseline's end)</small>" : ""),
        Self.estimate(line["speed_up_reference"]), Self.estimate(line["ratio"]), Self.estimate(line["anchored"]),
        Self.number(line["probability_of_improvement"]), Self.number(line["optimality_gap"]),
        "\(line["failures"]?.integer ?? 0) of \(line["runs"]?.integer ?? 0)",
      ])
    }
    let note = (report["headlines"]?.array ?? []).contains { $0["speed_up"]?["resampled"]?.string == "tasks" }
    return Self.table(
      [
        "Budget", "Optimizer", "Trials", "Speed-up, IQM (95 %)", "by the reference rule", "Loss ratio, IQM (95 %)",
        "Anchored loss, IQM (95 %)", "P(better)", "Gap to 1", "Failures",
      ], rows, numeric: [0, 2, 3, 4, 5, 6, 7, 8, 9], caption: "Interquartile means over all tasks and seeds")
      + (note ? "<p>One seed a task: intervals are over tasks, not over seeds.</p>" : "") + intervals
  }

  private var legend: String {
    "<p>\(Self.keys(labels.indices.map { (style(of: $0), labels[$0]) }))</p>"
  }

  private var failures: String {
    let rows = (report["failures"]?.array ?? []).map { failure in
      [
        Chart.escape(failure["task"]?.string ?? ""), "\(failure["steps"]?.integer ?? 0)",
        Chart.escape(failure["label"]?.string ?? ""), "\(failure["seed"]?.integer ?? 0)",
        Chart.escape(failure["reason"]?.string ?? ""),
      ]
    }
    guard !rows.isEmpty else { return "<p>No selected training failed or diverged.</p>" }
    return Self.table(
      ["Task", "Budget", "Optimizer", "Seed", "Reason"], rows, numeric: [1, 3],
      caption: "Trainings of selected settings without a loss")
  }

  private var compute: String {
    let rows = (report["compute"]?["entrants"]?.array ?? []).map { entrant in
      [
        Chart.escape(entrant["label"]?.string ?? ""), "\(entrant["updates"]?.integer ?? 0)",
        Self.number(entrant["core_seconds"]), Self.number(entrant["training_seconds"]),
      ]
    }
    return Self.table(
      ["Optimizer", "Updates", "Core-seconds", "of them training"], rows, numeric: [1, 2, 3],
      caption: "All trials, tuning included")
  }

  private var reading: String {
    """
    <dl>
    <dt>Speed-up</dt><dd>The updates that the baseline, at the best of its settings at every moment, needs to reach the loss
    that the optimizer ends with, divided by the budget. Both losses are smoothed alike. 1 is the baseline itself, 0 a
    failure or an end worse than the start. Where the baseline never gets there, its end counts: the truth is more.</dd>
    <dt>By the reference rule</dt><dd>The optimizer's loss is not smoothed, the baseline's is, as in published figures: short
    budgets look too fast by about 200 updates.</dd>
    <dt>Loss ratio</dt><dd>The baseline's final loss over the optimizer's: above 1 is better. 0 is a failure.</dd>
    <dt>Anchored loss</dt><dd>How much of the way from the initial loss to the best known one was done, from -1 to 1.5.</dd>
    <dt>IQM</dt><dd>The mean of the middle half of all scores, with an interval of 95 % from 2000 resamplings of the seeds
    within each task.</dd>
    <dt>Trials</dt><dd>How many settings were tried for each task; the best was chosen by its training loss, which flatters
    whoever tries many.</dd>
    </dl>
    """
  }

  // MARK: Markup

  /// The style class of an entrant's lines.
  func style(of entrant: Int) -> String { "c\(entrant % 8)\(entrant >= 8 ? " dashed" : "")" }

  static func number(_ json: JSON?) -> String { json?.number.map(Chart.figure) ?? "–" }

  private static func estimate(_ json: JSON?) -> String {
    guard let json, json["iqm"]?.number != nil else { return "–" }
    return "<b>\(number(json["iqm"]))</b> <small>\(number(json["low"]))–\(number(json["high"]))</small>"
  }

  static func table(_ headings: [String], _ rows: [[String]], numeric: Set<Int>, caption: String) -> String {
    func cells(_ cells: [String], _ tag: String) -> String {
      cells.enumerated().map { "<\(tag)\(numeric.contains($0) ? " class=\"n\"" : "")>\($1)</\(tag)>" }.joined()
    }
    let lines = rows.map { "<tr>\(cells($0, "td"))</tr>" }.joined(separator: "\n")
    return "<div class=\"wide\"><table><caption>\(caption)</caption><thead><tr>\(cells(headings, "th"))</tr></thead>"
      + "<tbody>\(lines)</tbody></table></div>"
  }

  /// A plot in a figure with its caption, and what its lines are where they are not optimizers.
  static func figure(_ chart: Chart, legend: [(style: String, name: String)] = []) -> String {
    "<figure>\(chart.svg)<figcaption>\(Chart.escape(chart.title))\(legend.isEmpty ? "" : "<br>" + keys(legend))"
      + "</figcaption></figure>"
  }

  /// Names with samples of their lines.
  private static func keys(_ entries: [(style: String, name: String)]) -> String {
    let keys = entries.map { entry in
      "<span><svg viewBox=\"0 0 20 10\" aria-hidden=\"true\"><path class=\"line \(entry.style)\" d=\"M1 5H19\"/></svg> "
        + "\(Chart.escape(entry.name))</span>"
    }
    return "<span class=\"legend\">\(keys.joined(separator: " "))</span>"
  }

  static let styleHash: String = {
    let digits = Array(SHA256Digest.hexadecimal(of: Array(style.utf8)).utf8)
    let bytes = stride(from: 0, to: digits.count, by: 2).map { place in
      UInt8(String(decoding: digits[place..<place + 2], as: UTF8.self), radix: 16)!
    }
    return "sha256-" + Data(bytes).base64EncodedString()
  }()

  /// Colours that differ in lightness as well as in hue (Okabe and Ito), on light and on dark.
  private static let style: String = {
    let light = ["#555555", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#7b4fd0"]
    let dark = ["#aaaaaa", "#4db1ff", "#ff8a3d", "#2fd6a2", "#f0a3cc", "#f0d040", "#9bd8ff", "#b79bff"]
    func variables(_ colours: [String]) -> String {
      colours.enumerated().map { "--c\($0):\($1);" }.joined()
    }
    let lines = light.indices.map { ".c\($0){stroke:var(--c\($0));fill:var(--c\($0))}" }.joined()
    let shades = (0..<12).map { ".s\($0){fill:var(--shade);fill-opacity:\(Double(12 - $0) / 14)}" }.joined()
    return """
      :root{color-scheme:light dark;--text:#1b1b1b;--page:#fff;--faint:#d8d8d8;--shade:#3b6ea5;\(variables(light))}
      @media(prefers-color-scheme:dark){:root{--text:#e6e6e6;--page:#16181c;--faint:#3a3d44;--shade:#6fa3dc;\(variables(dark))}}
      body{font:15px/1.5 system-ui,sans-serif;color:var(--text);background:var(--page);margin:0}
      main{max-width:72rem;margin:0 auto;padding:1rem}
      h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2rem}
      .wide{overflow-x:auto}
      table{border-collapse:collapse;font-variant-numeric:tabular-nums}
      caption{text-align:left;padding:.3rem 0;font-style:italic}
      th,td{padding:.2rem .6rem;border-bottom:1px solid var(--faint);text-align:left;vertical-align:top}
      .n{text-align:right;white-space:nowrap}
      .plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,26rem),1fr));gap:1rem}
      figure{margin:0}figcaption{font-size:.85rem}
      svg{width:100%;height:auto;display:block}
      .legend svg{width:20px;height:10px;display:inline-block;vertical-align:middle}
      .legend span{margin-right:1rem;display:inline-block}
      details{border-top:1px solid var(--faint);padding:.4rem 0}summary{cursor:pointer}
      .tick{font-size:11px}.axis{font-size:12px}text{fill:var(--text)}
      .middle{text-anchor:middle}.end{text-anchor:end}
      .grid{stroke:var(--faint);fill:none;stroke-width:1}
      \(lines)\(shades).s12{fill:none}
      .line{fill:none;stroke-width:1.6}.thin{stroke-width:1}.dashed{stroke-dasharray:5 3}
      .band{stroke:none;fill-opacity:.16}
      .one{stroke:var(--text);stroke-width:1;stroke-dasharray:2 3;fill:none}
      dt{font-weight:600}dd{margin:0 0 .5rem 1rem}
      """
  }()
}
