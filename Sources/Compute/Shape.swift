// Shape: the dimensions of a tensor, outermost first. Every file of Compute uses it; ParameterLayout places
// shaped tensors in memory, Graph checks that shapes fit together.
//
// Shape letters used in all comments of the engine:
//   B batch   T time (sequence)   C channels (or classes)   V vocabulary   D input width   H hidden width
//   M, N, K   rows, columns and inner length of a matrix product [M, K] x [K, N] -> [M, N]

/// The dimensions of a dense row-major tensor, outermost first; `[]` is a scalar.
///
/// A shape holds any integers; `Graph` refuses those that are not positive or too large, so that a shape read
/// from a client can be carried until it is checked.
public struct Shape: Sendable, Hashable, ExpressibleByArrayLiteral, CustomStringConvertible {
  /// The length along each axis, outermost first.
  public let dimensions: [Int]

  /// Makes a shape of the given dimensions, outermost first.
  public init(_ dimensions: [Int]) { self.dimensions = dimensions }

  /// Makes a shape from a literal such as `[128, 784]`.
  public init(arrayLiteral dimensions: Int...) { self.dimensions = dimensions }

  /// The scalar shape, `[]`.
  public static let scalar = Shape([])

  /// The number of axes; 0 for a scalar.
  public var rank: Int { dimensions.count }

  /// The number of elements; `Int.max` where the product does not fit an `Int`.
  public var count: Int {
    var product = 1
    for dimension in dimensions {
      let (next, overflow) = product.multipliedReportingOverflow(by: dimension)
      if overflow { return Int.max }
      product = next
    }
    return product
  }

  /// The length of the innermost axis; 1 for a scalar.
  public var last: Int { dimensions.last ?? 1 }

  /// The number of innermost rows: the product of all axes but the last; 1 for a scalar.
  public var rows: Int { Shape(Array(dimensions.dropLast())).count }

  /// The length along `axis`; traps outside `0..<rank`.
  public subscript(axis: Int) -> Int { dimensions[axis] }

  /// The dimensions as written in messages, such as `[128, 784]`.
  public var description: String { "[" + dimensions.map(String.init).joined(separator: ", ") + "]" }
}
