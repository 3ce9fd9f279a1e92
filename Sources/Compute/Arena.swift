// Arena: places values with known lifetimes in one block of memory. Plan asks for a place per stored value.

/// The layout of one block of memory shared by values that are not alive at the same time.
///
/// Steps are numbered from 0; a value lives from the step that writes it through the last step that reads it.
struct Arena {
  /// One region: its length and the steps through which it must keep its content.
  struct Region {
    let floats: Int
    var first: Int
    var last: Int
    /// Where it lies, in floats; set by `place`.
    fileprivate(set) var offset = 0
  }

  private(set) var regions: [Region] = []
  /// The block's length in floats, with one vector of slack; valid after `place`.
  private(set) var floats = 0

  /// Adds a region of at least `count` floats that is alive from step `first` through step `last`.
  mutating func add(count: Int, first: Int, last: Int) -> Int {
    let line = ParameterLayout.alignment
    regions.append(Region(floats: (count + line - 1) / line * line, first: first, last: last))
    return regions.count - 1
  }

  /// Extends a region's life through step `last`.
  mutating func extend(_ region: Int, through last: Int) { regions[region].last = max(regions[region].last, last) }

  /// Chooses the offsets, the largest regions first, each at the lowest offset free during its whole life.
  ///
  /// Throws `ComputeError` where the block would not fit an `Int`.
  mutating func place() throws {
    var placed: [Int] = []  // by offset
    var end = 0
    for index in regions.indices.sorted(by: { (regions[$1].floats, $0) < (regions[$0].floats, $1) }) {
      let region = regions[index]
      var offset = 0
      for other in placed where regions[other].first <= region.last && region.first <= regions[other].last {
        if offset + region.floats <= regions[other].offset { break }
        offset = max(offset, regions[other].offset + regions[other].floats)
      }
      guard offset < Int.max / 16 - region.floats else {
        throw ComputeError(op: "arena", expected: "a size that fits memory", got: "more than \(offset) floats")
      }
      regions[index].offset = offset
      let position = placed.firstIndex { regions[$0].offset > offset } ?? placed.count
      placed.insert(index, at: position)
      end = max(end, offset + region.floats)
    }
    floats = end + ParameterLayout.alignment
  }
}
