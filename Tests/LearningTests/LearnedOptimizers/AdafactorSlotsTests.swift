// Which axes are factored, and how tensors are seen by the kernels.
import Compute
import Testing

@testable import Learning

@Suite("Adafactor's axes")
struct AdafactorSlotsTests {
  static let axes: [(shape: Shape, largest: Int, second: Int)] = [
    ([784, 32], 0, 1), ([32, 784], 1, 0), ([12, 12], 1, 0), ([3, 3, 64, 64], 3, 2), ([64, 64, 3, 3], 1, 0),
    ([5, 1], 0, 1), ([1, 1], 1, 0), ([5, 5, 3, 16], 3, 1), ([2, 3, 3], 2, 1),
  ]

  @Test("are the two largest, and of equal ones the later", arguments: axes)
  func factored(_ expected: (shape: Shape, largest: Int, second: Int)) throws {
    let axes = try #require(FactoredAxes(expected.shape))
    #expect((axes.largest, axes.second) == (expected.largest, expected.second))
  }

  @Test("do not exist below two axes")
  func none() {
    #expect(FactoredAxes(.scalar) == nil)
    #expect(FactoredAxes([7]) == nil)
  }

  @Test("give a view whose sizes multiply to the tensor's", arguments: axes.map(\.shape))
  func view(_ shape: Shape) throws {
    let layout = ParameterLayout([("t", shape)])
    let view = try #require(AdafactorSlots(tensor: layout.tensors[0]).view)
    #expect(view.outer * view.a * view.middle * view.b * view.inner == shape.count)
  }
}
