// CoordinateDifferences: the coordinate-wise gradient estimate (CGE) of DeepZero (Chen et al. 2024, arXiv 2310.02025).
// ZerothOrder.swift hands it to a rule.
//
//   g_i = (L(p + epsilon e_i) - L(p - epsilon e_i)) / (2 epsilon)        central
//   g_i = (L(p + epsilon e_i) - L(p)) / epsilon                          one-sided
//
// for the coordinates of this step, g_i = 0 for the others. With fewer coordinates than parameters the parameters in
// order are cut into as many stretches, equal up to one, and each gives one coordinate drawn from the step's key: no
// coordinate twice, none ruled out, nothing to remember. What is exact at each of them is not scaled up.
import Compute
import Contract

/// Estimates gradients one coordinate at a time.
struct CoordinateDifferences: Sendable {
  private let epsilon: Float
  private let isOneSided: Bool
  private let layout: ParameterLayout
  private let floats: Int
  private let count: Int

  /// - Parameter settings: `epsilon`, `one_sided`, `coordinates`.
  init(_ parameters: ParameterLayout, _ settings: OptimizerSettings) {
    epsilon = Float(settings.number("epsilon"))
    isOneSided = settings.flag("one_sided")
    layout = parameters
    floats = parameters.packedFloats
    count = min(settings.integer("coordinates"), parameters.elements)
  }

  /// Changes one parameter at a time and sets it back.
  func write(
    into gradients: UnsafeMutablePointer<Float>, at parameters: UnsafeMutablePointer<Float>, _ problem: BatchProblem,
    step: OptimizerStep
  ) {
    gradients.update(repeating: 0, count: floats)
    let key = step.key.derive(1, UInt32(truncatingIfNeeded: step.iteration), 0)
    var block = key.words(block: 0)
    // The tensor that the coordinate lies in, and the number of its first element.
    var tensor = 0
    var first = 0
    for number in 0..<count {
      if number % 4 == 0 { block = key.words(block: UInt32(number / 4)) }
      let word = number % 4 == 0 ? block.0 : number % 4 == 1 ? block.1 : number % 4 == 2 ? block.2 : block.3
      let (start, end) = (boundary(number), boundary(number + 1))
      let coordinate = start + Int((UInt64(word) * UInt64(end - start)) >> 32)
      while coordinate >= first + layout.tensors[tensor].count {
        first += layout.tensors[tensor].count
        tensor += 1
      }
      let place = layout.tensors[tensor].offset + coordinate - first
      gradients[place] = slope(along: parameters + place, at: parameters, problem, loss: step.loss)
    }
  }

  /// Where stretch `number` begins: the floor of number * elements / count, without its product overflowing.
  private func boundary(_ number: Int) -> Int {
    let (whole, rest) = layout.elements.quotientAndRemainder(dividingBy: count)
    return number * whole + number * rest / count
  }

  private func slope(
    along place: UnsafeMutablePointer<Float>, at parameters: UnsafePointer<Float>, _ problem: BatchProblem, loss: Float
  ) -> Float {
    let here = place.pointee
    // The width as it is after rounding, which is what the losses differ over.
    let (high, low) = (here + epsilon, isOneSided ? here : here - epsilon)
    place.pointee = high
    let above = problem.loss(parameters)
    var below = loss
    if !isOneSided {
      place.pointee = low
      below = problem.loss(parameters)
    }
    place.pointee = here
    // Of a parameter so large that epsilon is lost in it nothing can be seen.
    guard high > low else { return 0 }
    return Float((Double(above) - Double(below)) / (Double(high) - Double(low)))
  }
}
