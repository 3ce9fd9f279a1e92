// The deadline heap against a plain dictionary; mirrors Sources/HTTP/Deadlines.swift.

import Testing

@testable import HTTP

struct DeadlinesTests {
  @Test("the heap gives the same expirations as a sorted list, whatever is set, moved and cleared")
  func matchesSortedList() {
    var random = SplitMix(seed: 7)
    var deadlines = Deadlines()
    var expected: [Int: UInt64] = [:]
    for round in 0..<20_000 {
      let slot = Int(random.next(below: 50))
      switch random.next(below: 4) {
      case 0, 1:
        let time = UInt64(round) + random.next(below: 500)
        deadlines.set(slot, at: time)
        expected[slot] = time
      case 2:
        deadlines.clear(slot)
        expected[slot] = nil
      default:
        while let slot = deadlines.takeExpired(now: UInt64(round)) {
          let time = expected.removeValue(forKey: slot)
          #expect(time.map { $0 <= UInt64(round) } == true)
        }
        #expect(expected.values.allSatisfy { $0 > UInt64(round) })
      }
      #expect(deadlines.count == expected.count)
      #expect(deadlines.earliest == expected.values.min())
    }
  }
}
