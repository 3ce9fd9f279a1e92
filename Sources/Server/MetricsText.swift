// The text form of metrics that Prometheus reads (version 0.0.4), written with care for its rules. Routes/Metrics.swift
// says what is in it.

/// Families of metrics as text, in the order they were added.
struct MetricsText {
  /// The media type of what is written here.
  static let contentType = "text/plain; version=0.0.4; charset=utf-8"

  /// What a family's numbers mean over time.
  enum Kind: String {
    /// Only rises, until the process starts anew.
    case counter
    case gauge
  }

  /// One number of a family, told from the others by its labels.
  struct Sample {
    var labels: KeyValuePairs<String, String>
    var value: Double

    init(_ value: Double, _ labels: KeyValuePairs<String, String> = [:]) {
      self.labels = labels
      self.value = value
    }
  }

  /// How often values fell into buckets.
  struct Histogram {
    var labels: KeyValuePairs<String, String>
    /// The upper bounds of the buckets, rising; values above the last count in the total alone.
    var bounds: [Double]
    /// How many values fell into each bucket, not summed up; one more than bounds, for those above.
    var counts: [Int]
    var sum: Double
  }

  private(set) var text = ""

  /// Adds a family; one without samples is left out, as there is nothing to say about it.
  mutating func add(_ name: String, _ kind: Kind, _ help: String, _ samples: [Sample]) {
    guard !samples.isEmpty else { return }
    head(name, kind.rawValue, help)
    for sample in samples { line(name, sample.labels.map { ($0, $1) }, Self.number(sample.value)) }
  }

  /// Adds a family of histograms.
  mutating func add(_ name: String, _ help: String, _ histograms: [Histogram]) {
    guard !histograms.isEmpty else { return }
    head(name, "histogram", help)
    for histogram in histograms {
      precondition(histogram.counts.count == histogram.bounds.count + 1, "a histogram has one count more than bounds")
      let labels = histogram.labels.map { ($0, $1) }
      var total = 0
      for (bound, count) in zip(histogram.bounds + [.infinity], histogram.counts) {
        total += count
        line("\(name)_bucket", labels + [("le", Self.number(bound))], String(total))
      }
      line("\(name)_sum", labels, Self.number(histogram.sum))
      line("\(name)_count", labels, String(total))
    }
  }

  private mutating func head(_ name: String, _ kind: String, _ help: String) {
    text += "# HELP \(name) \(Self.escaped(help, quotes: false))\n# TYPE \(name) \(kind)\n"
  }

  private mutating func line(_ name: String, _ labels: [(String, String)], _ value: String) {
    let list = labels.map { "\($0)=\"\(Self.escaped($1, quotes: true))\"" }.joined(separator: ",")
    text += list.isEmpty ? "\(name) \(value)\n" : "\(name){\(list)} \(value)\n"
  }

  private static func escaped(_ text: String, quotes: Bool) -> String {
    var out = ""
    for character in text.unicodeScalars {
      switch character {
      case "\\": out += "\\\\"
      case "\n": out += "\\n"
      case "\"" where quotes: out += "\\\""
      default: out.unicodeScalars.append(character)
      }
    }
    return out
  }

  private static func number(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
    return Int(exactly: value).map(String.init) ?? String(value)
  }
}
