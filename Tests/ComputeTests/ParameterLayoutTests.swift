// Places and padding of ParameterLayout, memory of AlignedBuffer.
import Testing

@testable import Compute

@Suite("ParameterLayout")
struct ParameterLayoutTests {
  @Test("tensors keep their order and start on 64-byte boundaries")
  func offsets() throws {
    let layout = ParameterLayout([("b", [3]), ("a", [4, 5]), ("scalar", .scalar), ("c", [16])])
    #expect(layout.tensors.map(\.name) == ["b", "a", "scalar", "c"])
    #expect(layout.tensors.map(\.offset) == [0, 16, 48, 64])
    #expect(layout.tensors.map(\.count) == [3, 20, 1, 16])
    #expect(layout.elements == 40)
    #expect(layout.floats == 96)
    #expect(try #require(layout["a"]).shape == [4, 5])
    #expect(layout["missing"] == nil)
  }

  @Test("a shape whose count overflows says so without trapping")
  func overflow() {
    #expect(Shape([Int.max, 2]).count == Int.max)
    #expect(Shape.scalar.count == 1)
    #expect(Shape([7, 3]).rows == 7)
    #expect(Shape([2, 3, 5]).rows == 6)
    #expect(Shape([7, 3]).description == "[7, 3]")
  }

  @Test("a buffer is zeroed, aligned and copies by value")
  func buffer() {
    let first = AlignedBuffer(floats: 37)
    #expect(Int(bitPattern: first.pointer) % 64 == 0)
    #expect(first.buffer.allSatisfy { $0 == 0 })
    first.pointer[36] = 4
    let second = AlignedBuffer(floats: 37)
    second.copy(from: first)
    first.zero()
    #expect(second.pointer[36] == 4 && first.pointer[36] == 0)
  }
}
