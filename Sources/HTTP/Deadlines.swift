// One deadline per connection in a binary heap; EventLoop sleeps until the earliest.

/// Deadlines by slot (a small number such as a descriptor), each slot with at most one; setting, clearing and taking cost
/// O(log n), and a moved deadline leaves nothing stale behind.
struct Deadlines {
  private var heap: [(nanoseconds: UInt64, slot: Int)] = []
  /// Where a slot's entry is in the heap; minus one for none.
  private var places: [Int] = []

  var count: Int { heap.count }

  /// The earliest deadline, nil if there is none.
  var earliest: UInt64? { heap.first?.nanoseconds }

  mutating func set(_ slot: Int, at nanoseconds: UInt64) {
    if slot >= places.count {
      places.append(contentsOf: repeatElement(-1, count: slot + 1 - places.count))
    }
    var place = places[slot]
    if place < 0 {
      place = heap.count
      heap.append((nanoseconds, slot))
      places[slot] = place
    } else {
      heap[place].nanoseconds = nanoseconds
    }
    settle(place)
  }

  mutating func clear(_ slot: Int) {
    guard slot < places.count, places[slot] >= 0 else { return }
    let place = places[slot]
    places[slot] = -1
    let last = heap.removeLast()
    guard place < heap.count else { return }
    heap[place] = last
    places[last.slot] = place
    settle(place)
  }

  /// Removes the earliest deadline and returns its slot if it lies at or before `now`.
  mutating func takeExpired(now: UInt64) -> Int? {
    guard let first = heap.first, first.nanoseconds <= now else { return nil }
    clear(first.slot)
    return first.slot
  }

  private mutating func settle(_ start: Int) {
    var place = start
    while place > 0, heap[place].nanoseconds < heap[(place - 1) / 2].nanoseconds {
      swap(place, (place - 1) / 2)
      place = (place - 1) / 2
    }
    while true {
      var least = place
      for child in [2 * place + 1, 2 * place + 2] where child < heap.count {
        if heap[child].nanoseconds < heap[least].nanoseconds { least = child }
      }
      if least == place { return }
      swap(place, least)
      place = least
    }
  }

  private mutating func swap(_ a: Int, _ b: Int) {
    heap.swapAt(a, b)
    places[heap[a].slot] = a
    places[heap[b].slot] = b
  }
}
