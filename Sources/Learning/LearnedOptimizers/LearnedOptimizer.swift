// LearnedOptimizer: what a learned optimizer's type tells of its weights, so that files of theta can be read, written
// and recognised. OptimizerCatalog lists the types; ThetaSchema is one of them with its constants.
import Compute
import Contract

/// An optimizer whose rule has meta-parameters.
public protocol LearnedOptimizer: Optimizer {
  /// The constants that are fixed before meta-training.
  associatedtype Configuration: ThetaConfiguration
  /// Which it is in jobs and campaigns.
  static var optimizer: OptimizerName { get }
  /// Its name in files of theta, such as `adafac`.
  static var architecture: String { get }

  /// The tensors of theta in canonical order: sorted key by key.
  static func leaves(_ configuration: Configuration) -> [ThetaLeaf]

  /// The constants of a tree of weights as far as its paths and shapes tell them, defaults for the rest; nil for the
  /// weights of something else.
  static func recognise(_ tree: ThetaTree) -> Configuration?

  /// - Parameter settings: its options, where it has any.
  init(parameters: ParameterLayout, configuration: Configuration, settings: OptimizerSettings, level: CPULevel)
}

/// Constants of an architecture, stored beside theta.
public protocol ThetaConfiguration: Sendable, Hashable {
  /// The published constants.
  init()
  /// Reads the constants that are given, each within its range; the others stay. Knows published names too.
  mutating func read(_ fields: inout Fields)
  /// All constants, as ``read(_:)`` takes them.
  var json: JSON { get }
}

/// One tensor of theta. Its path keeps the keys apart, since a key may itself hold a slash.
public struct ThetaLeaf: Sendable, Hashable {
  /// How it starts where meta-training begins.
  public enum Start: Sendable, Hashable {
    /// All elements the same.
    case constant(Float)
    /// Standard normal resampled to [-2, 2], times the deviation.
    case truncatedNormal(deviation: Float)
  }
  public let path: [String]
  public let shape: Shape
  public let start: Start

  /// Weights of a layer start at 1/sqrt(fanIn), other leaves at zero.
  public init(_ path: [String], _ shape: Shape, fanIn: Int? = nil) {
    self.init(path, shape, start: fanIn.map { .truncatedNormal(deviation: 1 / Float($0).squareRoot()) } ?? .constant(0))
  }

  public init(_ path: [String], _ shape: Shape, start: Start) {
    self.path = path
    self.shape = shape
    self.start = start
  }

  /// A linear layer's bias and weights.
  static func linear(_ path: [String], _ rows: Int, _ columns: Int) -> [ThetaLeaf] {
    [ThetaLeaf(path + ["b"], [columns]), ThetaLeaf(path + ["w"], [rows, columns], fanIn: rows)]
  }

  /// The name in a `ParameterLayout`.
  var name: String { path.joined(separator: "/") }

  /// The name in a file: slashes within a key become colons and `~` becomes `_root`, so that dots part the keys.
  var fileName: String {
    path.map { key in
      String(
        key.flatMap { (character: Character) -> [Character] in
          switch character {
          case "/": return [":"]
          case "~": return Array("_root")
          default: return [character]
          }
        })
    }.joined(separator: ".")
  }
}

/// The paths and shapes of a tree of weights.
public struct ThetaTree: Sendable {
  /// Shapes by the keys of their path joined with `/`, as recordings and layouts name tensors.
  private let shapes: [String: [Int]]

  init(_ shapes: [String: [Int]]) { self.shapes = shapes }

  /// The shape of the tensor at a path, nil where there is none.
  public func shape(_ path: [String]) -> [Int]? { shapes[path.joined(separator: "/")] }

  /// Whether any tensor lies below this path.
  public func has(_ path: [String]) -> Bool {
    let name = path.joined(separator: "/")
    return shapes.keys.contains { $0 == name || $0.hasPrefix(name + "/") }
  }
}
