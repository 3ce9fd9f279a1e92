// What judging a model measures: names and values, the same in evaluations, results, curves and on the command line.
import Foundation

/// A measure of a model on a part of the data.
public enum Metric: String, Sendable, CaseIterable {
  /// The mean of what the model is trained to lower.
  case loss
  /// Share of classes, or of next tokens, that were right; 0 to 1.
  case accuracy
  /// exp(loss) of a language model: among how many tokens it is undecided.
  case perplexity
  /// The loss of a language model in bits; bits a byte where tokens are bytes.
  case bitsPerToken = "bits_per_token"
  /// Mean squared error in the target's own units; the loss is in units of the target's variance.
  case mse
  /// Mean squared difference between a reconstruction and its input, in the numbers the model sees.
  case reconstructionError = "reconstruction_error"
  /// Negative evidence lower bound of a variational autoencoder, in nats an example.
  case negativeELBO = "negative_elbo"

  /// Its name for the held-out part, as results, events and curves have it.
  public var heldOutName: String { "held_out_\(rawValue)" }
}

/// The measures that judging found; which ones depends on the model's objective.
public struct Metrics: Sendable, Hashable {
  public var values: [Metric: Double]

  public init(_ values: [Metric: Double] = [:]) { self.values = values }

  public subscript(metric: Metric) -> Double? {
    get { values[metric] }
    set { values[metric] = newValue }
  }

  /// Mean loss over all rows.
  public var loss: Double { values[.loss] ?? .nan }
  /// Share that was right; nil where there is no right.
  public var accuracy: Double? { values[.accuracy] }

  /// The measures in the order of ``Metric``.
  public var ordered: [(metric: Metric, value: Double)] {
    Metric.allCases.compactMap { metric in values[metric].map { (metric, $0) } }
  }

  /// Members `held_out_loss` and so on; null where a value is not finite.
  public var heldOutMembers: [String: JSON] {
    Dictionary(uniqueKeysWithValues: ordered.map { ($0.metric.heldOutName, JSON.finite($0.value)) })
  }

  /// Reads back what ``heldOutMembers`` wrote; null becomes NaN.
  public static func heldOut(_ json: JSON) -> Metrics {
    var metrics = Metrics()
    for metric in Metric.allCases {
      if let value = json[metric.heldOutName] { metrics[metric] = value.number ?? .nan }
    }
    return metrics
  }

  /// The measures in words: `loss 0.31, accuracy 91.20 %`.
  public var text: String {
    ordered.map { "\($0.metric.words) \($0.metric.text($0.value))" }.joined(separator: ", ")
  }
}

extension Metric {
  /// Its name in words.
  public var words: String {
    self == .negativeELBO ? "negative ELBO" : rawValue.replacingOccurrences(of: "_", with: " ")
  }

  /// A value as people read it.
  public func text(_ value: Double) -> String {
    if self == .accuracy { return String(format: "%.2f %%", value * 100) }
    let size = abs(value)
    if size != 0 && (size < 1e-3 || size >= 1e5) { return String(format: "%.1e", value) }
    return String(format: size >= 100 ? "%.1f" : size >= 0.1 ? "%.3f" : "%.4f", value)
  }
}
