// The `data` argument of image tasks: which images, at which size, in which batches. TaskDataSets finds them.
import Contract

/// The images that a task asks for.
struct ImageData {
  var request: TaskDataSets.ImageRequest
  var batch: Int
  var path: String

  static func read(_ fields: inout Fields, _ site: TaskSite) -> ImageData? {
    let path = fields.pointer("data")
    guard let json = fields.required("data", "the images, such as {\"obj\": \"fashion_mnist\", \"args\": {…}}"),
      let node = TaskConfig.read(json, path: path, faults: site.faults),
      var data = Fields(.object(node.arguments), path: "\(path)/args", faults: site.faults)
    else { return nil }
    let size = side(&data)
    let batch = data.integer("batch", in: 1...4096) ?? 128
    let isGrey = data.bool("grey") ?? false
    let rows = data.integer("rows", in: 1...100_000_000)
    let share = data.number("fraction", in: 1e-6...1) ?? 1
    let isArea = data.bool("area") ?? false
    data.finish()
    guard let size else { return nil }
    return ImageData(
      request: .init(name: node.object, size: size, isGrey: isGrey, rows: rows, isArea: isArea, share: share),
      batch: batch, path: path)
  }

  /// `imageSize`: a side, or two equal ones.
  private static func side(_ data: inout Fields) -> Int? {
    let range = 2...512
    let what = "the side of the images, \(range.lowerBound) to \(range.upperBound)"
    guard let json = data.required("imageSize", what) else { return nil }
    let sides = json.array?.map(\.integer) ?? [json.integer, json.integer]
    guard sides.count == 2, let side = sides[0], side == sides[1], range.contains(side) else {
      data.fault("imageSize", "expected \(what), or two equal sides; got \(json.kind)")
      return nil
    }
    return side
  }
}
