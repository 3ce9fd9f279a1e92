// Progress of a job as text: the bar, the pace over the last seconds, and the time that is left.
// JobFollower.swift feeds it with what the server reports.

/// A bar of a fixed width, filled to an eighth of a character.
struct ProgressBar {
  var columns: Int

  /// The bar for `done` of `total`; `total` of 0 gives an empty one.
  func text(done: Int, total: Int) -> String {
    let eighths = total > 0 ? min(columns * 8, max(0, done) * columns * 8 / total) : 0
    let parts = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"]
    let filled = String(repeating: "█", count: eighths / 8) + parts[eighths % 8]
    return filled + String(repeating: "░", count: columns - filled.count)
  }
}

/// Steps a second over the recent past, so that a start-up or a pause does not bend the estimate for long.
struct Pace {
  /// How far back it looks, in seconds.
  var windowSeconds: Double = 10
  private var samples: [(seconds: Double, step: Int)] = []

  init(windowSeconds: Double = 10) { self.windowSeconds = windowSeconds }

  /// Notes that `step` was reached at `seconds` on any steady clock. A step that went back starts afresh.
  mutating func note(step: Int, seconds: Double) {
    if let last = samples.last, step < last.step { samples.removeAll() }
    if let last = samples.last, step == last.step, samples.count > 1 { return }
    samples.append((seconds, step))
    while samples.count > 2, samples[1].seconds <= seconds - windowSeconds { samples.removeFirst() }
  }

  /// Steps a second; nil before two different steps were seen.
  var stepsPerSecond: Double? {
    guard let first = samples.first, let last = samples.last, last.seconds > first.seconds, last.step > first.step
    else { return nil }
    return Double(last.step - first.step) / (last.seconds - first.seconds)
  }

  /// Seconds until `total` at this pace.
  func secondsLeft(total: Int) -> Double? {
    guard let pace = stepsPerSecond, let last = samples.last else { return nil }
    return Double(max(0, total - last.step)) / pace
  }

  /// `42s`, `3m05s`, `2h10m`, `4d02h`.
  static func short(seconds: Double) -> String {
    let whole = Int(min(max(0, seconds.rounded(.up)), 1e9))
    func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
    switch whole {
    case ..<60: return "\(whole)s"
    case ..<3600: return "\(whole / 60)m\(two(whole % 60))s"
    case ..<86_400: return "\(whole / 3600)h\(two(whole / 60 % 60))m"
    default: return "\(whole / 86_400)d\(two(whole / 3600 % 24))h"
    }
  }
}
