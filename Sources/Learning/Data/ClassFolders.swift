// Reads the classes of images, and which are held out, off their folders. ImageFolders.swift uses it.

/// The folders of an archive of images.
struct ClassFolders {
  struct Place: Equatable {
    let label: Int
    let isHeldOut: Bool
  }

  /// In order of their labels.
  let classNames: [String]
  /// Of each folder, in the order given.
  let places: [Place]
  /// Whether the archive brings a held-out part of its own.
  let hasHeldOut: Bool

  private static let trainNames: Set<String> = ["train", "training"]
  private static let heldOutNames: Set<String> = ["test", "testing", "val", "valid", "validation"]

  /// - Parameter folders: paths such as `train/cat`, without the files' names.
  init(_ folders: [String]) {
    var paths = folders.map { $0.split(separator: "/").map(String.init) }
    // One folder around everything says nothing, and the folder of the split may be inside it.
    Self.dropCommonFolders(&paths, keeping: 2)
    let splits = Self.splits(paths)
    hasHeldOut = splits != nil
    if splits != nil {
      paths = paths.map { Array($0.dropFirst()) }
    }
    Self.dropCommonFolders(&paths, keeping: 1)
    let whole = paths.map { $0.joined(separator: "/") }
    // The last folder is the class; where two classes would share a name, the path is their name.
    let leaves = Dictionary(zip(whole, paths.map { $0.last ?? "" }), uniquingKeysWith: { first, _ in first })
    let isUnique = Set(leaves.values).count == leaves.count
    let names = whole.map { isUnique ? leaves[$0]! : $0 }
    classNames = Set(names).sorted()
    let labels = Dictionary(uniqueKeysWithValues: classNames.enumerated().map { ($1, $0) })
    places = names.indices.map { Place(label: labels[names[$0]]!, isHeldOut: splits?[$0] ?? false) }
  }

  /// Removes first folders that all paths share, leaving each path at least `keeping` folders.
  private static func dropCommonFolders(_ paths: inout [[String]], keeping: Int) {
    while let first = paths.first?.first, paths.allSatisfy({ $0.count > keeping && $0[0] == first }) {
      paths = paths.map { Array($0.dropFirst()) }
    }
  }

  /// Whether each path is held out, if all begin with a folder of a split and both parts are there.
  private static func splits(_ paths: [[String]]) -> [Bool]? {
    let firsts = paths.map { $0.count >= 2 ? $0[0].lowercased() : "" }
    guard firsts.allSatisfy({ trainNames.contains($0) || heldOutNames.contains($0) }),
      firsts.contains(where: trainNames.contains), firsts.contains(where: heldOutNames.contains)
    else { return nil }
    return firsts.map { heldOutNames.contains($0) }
  }
}
