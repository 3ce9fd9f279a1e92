// The plots of a report's page, from the figures of its JSON.
import Contract
import Foundation

extension ReportPage {
  private static func numbers(_ json: JSON?) -> [Double] { (json?.array ?? []).map { $0.number ?? .nan } }

  private func entrant(_ json: JSON) -> Int { labels.firstIndex(of: json["label"]?.string ?? "") ?? 0 }

  // MARK: All tasks

  /// Interquartile means as points with their intervals, one row for each optimizer and budget.
  var intervals: String {
    let lines = (report["headlines"]?.array ?? []).filter { $0["speed_up"]?["iqm"]?.number != nil }
    guard !lines.isEmpty else { return "" }
    let values = lines.flatMap { [$0["speed_up"]?["low"], $0["speed_up"]?["high"]].compactMap { $0?.number } }
    let top = max(values.max() ?? 1, 1) * 1.05
    let plots = steps.map { budget -> String in
      let own = lines.filter { $0["steps"]?.integer == budget }
      var chart = Chart(
        "IQM of the speed-up with intervals of 95 %, budget \(budget)",
        description: own.map {
          "\($0["label"]?.string ?? ""): \(Self.number($0["speed_up"]?["iqm"])), "
            + "\(Self.number($0["speed_up"]?["low"])) to \(Self.number($0["speed_up"]?["high"]))"
        }.joined(separator: "; "),
        id: "iqm\(budget)", x: Scale(0, top), y: Scale(-0.5, Double(max(own.count, 1)) - 0.5), xTitle: "speed-up",
        yTitle: "optimizer")
      chart.hasNumbers = false
      chart.line([(1, -1), (1, Double(own.count))], style: "one")
      for (row, line) in own.enumerated() {
        let place = Double(own.count - 1 - row), style = style(of: entrant(line))
        let low = line["speed_up"]?["low"]?.number ?? .nan, high = line["speed_up"]?["high"]?.number ?? .nan
        chart.line([(low, place), (high, place)], style: style)
        chart.dot(line["speed_up"]?["iqm"]?.number ?? .nan, place, radius: 5, style: style)
        chart.words(line["label"]?.string ?? "", top * 0.01, place)
      }
      return Self.figure(chart)
    }
    return "<div class=\"plots\">\(plots.joined())</div>"
  }

  /// For each optimizer its tasks by falling speed-up.
  var sortedSpeedUps: String {
    let tasks = report["tasks"]?.array ?? []
    let plots = steps.enumerated().map { budget, count -> String in
      var sorted: [(Int, [Double])] = []
      for entrant in labels.indices {
        let values = tasks.compactMap { task -> Double? in
          let cell = task["budgets"]?.array?[budget]["entrants"]?.array?[entrant]
          let scores = Self.numbers(cell?["speed_ups"]).filter(\.isFinite)
          return scores.isEmpty ? nil : scores.reduce(0, +) / Double(scores.count)
        }
        sorted.append((entrant, values.sorted(by: >)))
      }
      let top = max(2, sorted.flatMap(\.1).max() ?? 2)
      var chart = Chart(
        "Speed-ups of tasks, sorted, budget \(count)",
        description: sorted.map { entrant, values in
          let half = values.isEmpty ? .nan : values[values.count / 2]
          let faster = values.count { $0 > 1 }
          return
            "\(labels[entrant]): median \(Chart.figure(half)), faster than the baseline on \(faster) of \(values.count)"
        }.joined(separator: "; "),
        id: "sorted\(count)", x: Scale(0, 100), y: Scale(1.0 / 16, pow(2, log2(top).rounded(.up)), base: 2),
        xTitle: "percent of tasks", yTitle: "speed-up")
      chart.line([(0, 1), (100, 1)], style: "one")
      for (entrant, values) in sorted where !values.isEmpty {
        let points = values.enumerated().map { index, value in
          (x: 100 * (Double(index) + 0.5) / Double(values.count), y: max(value, 1.0 / 64))
        }
        chart.line(points, style: style(of: entrant))
        for point in points { chart.dot(point.x, point.y, radius: 2, style: style(of: entrant)) }
      }
      return Self.figure(chart)
    }
    return "<div class=\"plots\">\(plots.joined())</div>"
  }

  /// Shares of trainings above a speed-up, and shares of tasks solved within a time.
  var profiles: String {
    let thresholds = Self.numbers(report["profiles"]?["thresholds"])
    var plots = steps.map { budget -> String in
      var chart = Chart(
        "Performance profile, budget \(budget)",
        description: "Share of trainings whose speed-up is above a threshold, with bands of 95 %, for every optimizer.",
        id: "profile\(budget)", x: Scale(1.0 / 16, 64, base: 2), y: Scale(0, 1), xTitle: "speed-up τ",
        yTitle: "share of trainings above τ")
      chart.line([(1, 0), (1, 1)], style: "one")
      for line in report["profiles"]?["entrants"]?.array ?? [] where line["steps"]?.integer == budget {
        let share = Self.numbers(line["share"]), low = Self.numbers(line["low"]), high = Self.numbers(line["high"])
        guard share.count == thresholds.count, low.count == share.count, high.count == share.count else { continue }
        let style = style(of: entrant(line))
        chart.band(thresholds.indices.map { (thresholds[$0], low[$0], high[$0]) }, style: style)
        chart.line(thresholds.indices.map { (thresholds[$0], share[$0]) }, style: style)
      }
      return Self.figure(chart)
    }
    if let times = report["time_profile"] {
      let ratios = Self.numbers(times["ratios"])
      var chart = Chart(
        "Time to the loss that the baseline has after three quarters of its run, budget \(times["steps"]?.integer ?? 0)",
        description:
          "Share of tasks on which each optimizer reached that loss within a multiple of the "
          + "fastest optimizer's updates.",
        id: "times", x: Scale(1, 16, base: 2), y: Scale(0, 1), xTitle: "multiple of the fastest",
        yTitle: "share of tasks")
      for line in times["entrants"]?.array ?? [] {
        let share = Self.numbers(line["share"])
        guard share.count == ratios.count else { continue }
        chart.line(ratios.indices.map { (ratios[$0], share[$0]) }, style: style(of: entrant(line)))
      }
      plots.append(Self.figure(chart))
    }
    return "<div class=\"plots\">\(plots.joined())</div>"
  }

  // MARK: Single tasks

  /// A section for each task: its table, then its plots.
  var tasks: String {
    (report["tasks"]?.array ?? []).enumerated().map { place, task in
      let name = task["name"]?.string ?? ""
      let best = steps.indices.last.flatMap { task["budgets"]?.array?[$0]["entrants"]?.array }
      let summary = (best ?? []).map { "\(Chart.escape($0["label"]?.string ?? "")) \(Self.number($0["loss"]))" }
      return
        "<details><summary><b>\(Chart.escape(name))</b> <small>\(summary.joined(separator: " · "))</small></summary>"
        + taskTable(task) + "<div class=\"plots\">" + curves(name, place) + updates(name, place)
        + landscapes(name, place)
        + "</div></details>"
    }.joined(separator: "\n")
  }

  private func taskTable(_ task: JSON) -> String {
    var rows: [[String]] = []
    for budget in task["budgets"]?.array ?? [] {
      for cell in budget["entrants"]?.array ?? [] {
        func mean(_ key: String) -> String {
          let values = Self.numbers(cell[key]).filter(\.isFinite)
          return values.isEmpty ? "–" : Chart.figure(values.reduce(0, +) / Double(values.count))
        }
        let failures = (cell["failures"]?.array ?? []).count { $0 != .null }
        let isCensored = (cell["censored"]?.array ?? []).contains(true)
        rows.append([
          "\(budget["steps"]?.integer ?? 0)", Chart.escape(cell["label"]?.string ?? ""),
          Chart.escape(Self.setting(cell["settings"])), Self.number(cell["loss"]), mean("ratios"),
          (isCensored ? "≥ " : "") + mean("speed_ups"), mean("speed_ups_reference"), mean("anchored"), "\(failures)",
        ])
      }
    }
    return Self.table(
      ["Budget", "Optimizer", "Setting", "Loss", "Ratio", "Speed-up", "Reference", "Anchored", "Failures"], rows,
      numeric: [0, 3, 4, 5, 6, 7, 8], caption: "Means over seeds; initial loss \(Self.number(task["initial_loss"]))")
  }

  /// The options of a setting in a few words.
  private static func setting(_ json: JSON?) -> String {
    guard case .object(let members)? = json else { return "" }
    if let rate = members["learning_rate"]?.number, members.count == 1 { return "rate \(Chart.figure(rate))" }
    return members.sorted { $0.key < $1.key }.map { key, value in
      "\(key) \(value.number.map(Chart.figure) ?? value.text)"
    }.joined(separator: ", ")
  }

  private func curves(_ task: String, _ place: Int) -> String {
    steps.map { budget -> String in
      let lines = (report["curves"]?.array ?? []).filter {
        $0["task"]?.string == task && $0["steps"]?.integer == budget
      }
      let curves = lines.map {
        (
          entrant: entrant($0), x: Self.numbers($0["x"]), mean: Self.numbers($0["mean"]), low: Self.numbers($0["low"]),
          high: Self.numbers($0["high"])
        )
      }
      // The first twentieth would leave no room for the rest.
      let early = Double(budget) / 20
      let shown = curves.flatMap { curve in
        zip(curve.x, curve.mean).filter { $0.0 >= early && $0.1.isFinite }.map(\.1)
      }
      let bottom = shown.min() ?? 0, top = shown.max() ?? 1
      let isLog = bottom > 0 && top / bottom > 10
      var chart = Chart(
        "Loss on fresh training batches, budget \(budget)",
        description: "Mean over seeds with the range between the least and the greatest. At the end: "
          + curves.map { "\(labels[$0.entrant]) \(Chart.figure($0.mean.last ?? .nan))" }.joined(separator: ", "),
        id: "curve\(place)-\(budget)", x: Scale(0, Double(budget)),
        y: isLog ? Scale(bottom, top, base: 10) : Scale(bottom - (top - bottom) * 0.03, top), xTitle: "updates",
        yTitle: "loss")
      for curve in curves {
        chart.band(
          curve.x.indices.map { (curve.x[$0], curve.low[$0], curve.high[$0]) }, style: style(of: curve.entrant))
        chart.line(curve.x.indices.map { (curve.x[$0], curve.mean[$0]) }, style: style(of: curve.entrant))
      }
      return Self.figure(chart)
    }.joined()
  }

  /// Relative update sizes of tensors over the training; the twelve largest tensors' at most.
  private func updates(_ task: String, _ place: Int) -> String {
    (report["updates"]?.array ?? []).filter { $0["task"]?.string == task }.enumerated().map { number, line in
      let budget = Double(line["steps"]?.integer ?? 1)
      let x = Self.numbers(line["x"]).map { $0 / budget }
      let moved = (line["moved"]?.array ?? []).map { Self.numbers($0) }
      let norms = (line["norms"]?.array ?? []).map { Self.numbers($0) }
      let names = (line["tensors"]?.array ?? []).map { $0.string ?? "" }
      let chosen = Array(names.indices.sorted { (norms[$0].first ?? 0, $1) > (norms[$1].first ?? 0, $0) }.prefix(12))
      let ratios = chosen.map { tensor in
        // Tensors that start at zero have no size to compare with: theirs is the update itself.
        zip(moved[tensor], norms[tensor]).map { $1 > 0 ? $0 / $1 : $0 }
      }
      let positive = ratios.flatMap(\.self).filter { $0 > 0 && $0.isFinite }
      var chart = Chart(
        "Update sizes of \(line["label"]?.string ?? ""), budget \(Int(budget))",
        description: "Norm of the update over the norm of the tensor, at the start and at the end: "
          + zip(chosen, ratios).map {
            "\(names[$0]) \(Chart.figure($1.first ?? .nan)), \(Chart.figure($1.last ?? .nan))"
          }.joined(separator: "; "),
        id: "moves\(place)-\(number)", x: Scale(0, 1), y: Scale(positive.min() ?? 1e-6, positive.max() ?? 1, base: 10),
        xTitle: "share of the budget", yTitle: "‖Δp‖ / ‖p‖")
      for (index, values) in ratios.enumerated() {
        chart.line(zip(x, values).map { ($0, $1 > 0 ? $1 : .nan) }, style: "thin \(style(of: index))")
      }
      return Self.figure(chart, legend: chosen.map { names[$0] }.enumerated().map { (style(of: $0), $1) })
    }.joined()
  }

  private func landscapes(_ task: String, _ place: Int) -> String {
    let slices = (report["landscapes"]?.array ?? []).filter { $0["task"]?.string == task }
    guard !slices.isEmpty else { return "" }
    let planes = slices.enumerated().map { number, slice -> String in
      let values = Self.numbers(slice["plane"]), side = slice["side"]?.integer ?? 0
      let finite = values.filter(\.isFinite)
      var chart = Chart(
        "Loss around the end of \(slice["label"]?.string ?? ""), along two random directions",
        description: "From \(Chart.figure(finite.min() ?? .nan)) to \(Chart.figure(finite.max() ?? .nan)); darker is "
          + "lower; at the end \(Chart.figure(values.isEmpty ? .nan : values[values.count / 2])).",
        id: "plane\(place)-\(number)", x: Scale(-1, 1), y: Scale(-1, 1), xTitle: "α", yTitle: "β")
      chart.shades(values, side: side)
      chart.dot(0, 0, style: style(of: entrant(slice)))
      return Self.figure(chart)
    }
    let lines = slices.map {
      (entrant: entrant($0), x: Self.numbers($0["line_x"]), y: Self.numbers($0["line"]))
    }
    let all = lines.flatMap(\.y).filter(\.isFinite)
    var chart = Chart(
      "Loss on the line from the start (0) to the end (1)",
      description: lines.map { line in
        "\(labels[line.entrant]): highest \(Chart.figure(line.y.filter(\.isFinite).max() ?? .nan))"
      }.joined(separator: "; "),
      id: "way\(place)", x: Scale(-0.25, 1.25), y: Scale(all.min() ?? 0, all.max() ?? 1), xTitle: "share of the way",
      yTitle: "loss")
    for line in lines { chart.line(Array(zip(line.x, line.y)), style: style(of: line.entrant)) }
    return planes.joined() + Self.figure(chart)
  }

  // MARK: Paths

  var trajectories: String {
    let drawings = (report["trajectories"]?.array ?? []).enumerated().map { place, drawing -> String in
      let grid = drawing["grid"]
      let paths = drawing["paths"]?.array ?? []
      func range(_ key: String) -> Scale {
        let ends = Self.numbers(grid?[key])
        return ends.count == 2 ? Scale(ends[0], ends[1]) : Scale(-1, 1)
      }
      var chart = Chart(
        "\(drawing["task"]?.string ?? ""), \(drawing["steps"]?.integer ?? 0) updates from a common start",
        description: paths.map { path in
          let x = Self.numbers(path["x"]), y = Self.numbers(path["y"])
          return
            "\(path["label"]?.string ?? "") ends at (\(Chart.figure(x.last ?? .nan)), \(Chart.figure(y.last ?? .nan)))"
            + " with loss \(Self.number(path["loss"]))"
        }.joined(separator: "; "),
        id: "path\(place)", x: range("x"), y: range("y"), xTitle: "x", yTitle: "y")
      chart.shades(Self.numbers(grid?["values"]), side: grid?["side"]?.integer ?? 0)
      for path in paths {
        let x = Self.numbers(path["x"]), y = Self.numbers(path["y"]), style = style(of: entrant(path))
        chart.line(Array(zip(x, y)), style: style)
        for index in stride(from: 0, to: min(x.count, y.count), by: 10) {
          chart.dot(x[index], y[index], radius: 1.8, style: style)
        }
        if let endX = x.last, let endY = y.last { chart.dot(endX, endY, radius: 4, style: style) }
      }
      return Self.figure(chart)
    }
    guard !drawings.isEmpty else { return "<p>Not asked for.</p>" }
    return "<p>Darker is lower; dots every ten updates. Where minima form a valley, where a path ends shows what its "
      + "optimizer prefers among equals.</p><div class=\"plots\">\(drawings.joined())</div>"
  }
}
