// Where a pair is in its episodes and its noises: all of a particle that is neither a training nor derived from keys.

/// The counters of a pair.
struct PairPosition: Hashable {
  /// Windows run.
  var windows: UInt32 = 0
  /// Noises drawn; the newest has the number one below.
  var drawn: UInt32 = 0
  /// The first of the noises that weigh the episode's differences.
  var firstNoise: UInt32 = 0
  /// Steps since the newest noise was drawn.
  var noiseSteps: UInt32 = 0
  /// Episodes begun.
  var episodes: UInt32 = 0
  /// Steps of the episode done, and those that it has; the next window begins another where they are the same.
  var step: UInt32 = 0
  var length: UInt32 = 0
  /// Steps that the optimizer is told of.
  var planned: UInt32 = 0
  var variant: UInt32 = 0

  /// The fields in their stored order.
  static let fields: [WritableKeyPath<PairPosition, UInt32> & Sendable] = [
    \.windows, \.drawn, \.firstNoise, \.noiseSteps, \.episodes, \.step, \.length, \.planned, \.variant,
  ]

  /// Whether these can be a pair's counters; `variants` is how many kinds of episodes there are.
  func isPossible(variants: Int) -> Bool {
    step <= length && length <= planned && length <= 1 << 30 && variant < variants
      && firstNoise <= drawn && episodes <= 1 << 30 && drawn <= 1 << 30 && windows <= 1 << 30
      && (step == length || (firstNoise < drawn && episodes > 0))
  }
}
