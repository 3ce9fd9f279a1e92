// An archive of images in class folders as a dataset. ZipArchive.swift and TarReader.swift open the archive,
// CImages decodes, ImageScaler.swift brings the images to one size, ClassFolders.swift reads classes off the paths.
import CImages
import Contract
import Foundation

/// Reads a ZIP or tar archive of PNG and JPEG files into a dataset folder.
enum ImageFolders {
  static let fileBytesMax = 64 << 20
  static let sideMax = 16_384
  static let pixelsMax = 1 << 24
  /// What all images together may have: these many pixels, or these many for each byte of the upload. Pictures of one
  /// colour compress to next to nothing, and decoding millions of them would take days.
  private static let allPixelsMax = 1 << 32
  private static let pixelsPerByteMax = 250
  private static let imagesMax = 4 << 20
  private static let foldersMax = 20_000
  private static let pathBytesMax = 1000

  static func build(file: URL, options: DatasetOptions, folder: URL) throws -> BuiltDataset {
    let survey = try Survey(file)
    let shape = try shape(survey, options)
    let values = shape.height * shape.width * shape.channels
    guard survey.folderOf.count <= DatasetBuilder.bytesMax / values else {
      throw DataFault(
        "\(survey.folderOf.count) images of \(shape.width) x \(shape.height) are more than \(DatasetBuilder.bytesMax) "
          + "bytes, the limit for one dataset; give a smaller image_size")
    }
    let folders = ClassFolders(survey.folders.names)
    guard folders.classNames.count >= 2 else {
      throw DataFault(
        "all images are in one folder; expected a folder for each class, such as cat/1.png and dog/1.png")
    }
    let train = try PartWriter(folder: folder, name: "train")
    let heldOut = try PartWriter(folder: folder, name: "heldout")
    var preview = RowPreview(shape: [shape.height, shape.width, shape.channels])
    var problems = Problems()
    var scaler = ImageScaler(width: shape.width, height: shape.height, channels: shape.channels)
    var row = 0
    try forEachImage(file) { name, content in
      defer { row += 1 }
      let bytes = try content()
      do {
        let pixels = try scaler.scale(Image(bytes, name: name, channels: shape.channels))
        let place = folders.places[Int(survey.folderOf[row])]
        let isHeldOut =
          folders.hasHeldOut
          ? place.isHeldOut : DatasetBuilder.isHeldOut(row: row, fraction: options.heldOutFraction)
        let part = isHeldOut ? heldOut : train
        try part.appendInput(pixels)
        try part.appendTarget(Int32(place.label))
        preview.see(row, pixels.prefix(RowPreview.valuesMax).map(Float.init))
        preview.see(row, target: [Float(place.label)])
      } catch let fault as DataFault { try problems.add(fault) }
    } ignoring: { _, _ in
    }
    try problems.check()
    try train.finish()
    try heldOut.finish()
    let schema = DatasetSchema(
      shape: DataShape(
        input: [shape.height, shape.width, shape.channels], target: .classes(folders.classNames.count)),
      trainRows: train.rows, heldOutRows: heldOut.rows, classNames: folders.classNames, columns: [])
    return BuiltDataset(schema: schema, preview: preview.json("classes", names: folders.classNames))
  }

  /// Faults of single files, up to as many as are kept.
  private struct Problems {
    private var list: [DataFault.Place] = []

    mutating func add(_ fault: DataFault) throws {
      list += fault.problems
      if list.count >= DatasetProblem.countMax { try check() }
    }

    func check() throws {
      if !list.isEmpty { throw DataFault(list) }
    }
  }

  /// Names by number.
  struct Names {
    private(set) var names: [String] = []
    private var numbers: [String: Int32] = [:]

    mutating func number(of name: String) -> Int32 {
      if let number = numbers[name] { return number }
      let number = Int32(names.count)
      names.append(name)
      numbers[name] = number
      return number
    }
  }

  /// What a first pass over the headers finds out.
  private struct Survey {
    var folders = Names()
    var folderOf: [Int32] = []
    var hasColour = false
    var first: (name: String, width: Int, height: Int)?
    var other: (name: String, width: Int, height: Int)?

    init(_ file: URL) throws {
      var problems = Problems()
      var pixels = 0
      let bytes = try file.resourceValues(forKeys: [.fileSizeKey]).fileSize ?? 0
      try forEachImage(file) { name, content in
        do {
          let header = try Image.header(content(), name: name)
          let size = (name, Int(header.width), Int(header.height))
          if let first, other == nil, (first.width, first.height) != (size.1, size.2) { other = size }
          if first == nil { first = size }
          if header.channels == 3 { hasColour = true }
          pixels += size.1 * size.2
        } catch let fault as DataFault { try problems.add(fault) }
        guard folderOf.count < imagesMax else { throw DataFault("the archive has more than \(imagesMax) images") }
        guard pixels <= max(allPixelsMax, pixelsPerByteMax * bytes) else {
          throw DataFault(
            "the images up to \(DataFault.quoted(name)) have \(pixels) pixels together, more than \(allPixelsMax) and "
              + "\(pixelsPerByteMax) for each byte of the upload; make them smaller")
        }
        guard let slash = name.lastIndex(of: "/") else {
          try problems.add(DataFault(column: name, "is in no folder; the folder of an image is its class"))
          return
        }
        folderOf.append(folders.number(of: String(name[..<slash])))
        guard folders.names.count <= foldersMax else {
          throw DataFault("the images are in more than \(foldersMax) folders, the limit")
        }
      } ignoring: { name, reason in
        if let reason { try problems.add(DataFault(column: name.beginning(scalars: 200), reason)) }
      }
      try problems.check()
      guard !folderOf.isEmpty else { throw DataFault("the archive has no PNG or JPEG files") }
    }
  }

  private static func shape(_ survey: Survey, _ options: DatasetOptions) throws -> (
    height: Int, width: Int, channels: Int
  ) {
    let channels = options.channels ?? (survey.hasColour ? 3 : 1)
    if let side = options.imageSize { return (side, side, channels) }
    guard let first = survey.first else { throw DataFault("the archive has no images") }
    if let other = survey.other {
      throw DataFault(
        column: other.name,
        "is \(other.width) x \(other.height) where \(DataFault.quoted(first.name)) is \(first.width) x \(first.height); "
          + "add image_size=N to bring all images to N x N pixels")
    }
    return (first.height, first.width, channels)
  }

  // MARK: Going through the archive

  /// Calls `body` with each image's path and a way to its bytes, in the archive's order; `ignoring` with each file that
  /// is none, and why that is a fault if it is one.
  private static func forEachImage(
    _ file: URL, _ body: (String, () throws -> [UInt8]) throws -> Void, ignoring: (String, String?) throws -> Void
  ) throws {
    let opening = try ByteReader(file: file, bytesMax: DatasetBuilder.bytesMax)
    // What a reader hands out lives no longer than it does.
    let isZip = try withExtendedLifetime(opening) { try opening.next(2).elementsEqual([0x50, 0x4B]) }
    if isZip {
      let archive = try ZipArchive(file: file)
      for entry in archive.entries {
        switch kind(of: entry.name, bytes: entry.announced.bytes) {
        case .other(let reason): try ignoring(entry.name, reason)
        case .image(let path):
          try body(path) {
            let reader = try archive.reader(of: entry)
            let bytes = try reader.exactly(entry.announced.bytes, "the file")
            try reader.finish()
            return bytes
          }
        }
      }
    } else {
      var archive = TarReader(try ByteReader(file: file, bytesMax: DatasetBuilder.bytesMax))
      while let entry = try archive.next() {
        switch kind(of: entry.name, bytes: entry.bytes) {
        case .other(let reason): try ignoring(entry.name, reason)
        case .image(let path): try body(path) { try archive.content() }
        }
      }
    }
  }

  private enum Kind {
    case image(path: String)
    /// With what is wrong with it, if anything is.
    case other(String?)
  }

  private static func kind(of name: String, bytes: Int) -> Kind {
    let path = name.split(separator: "/").filter { $0 != "." }
    guard !path.contains(where: { $0.hasPrefix(".") || $0 == "__MACOSX" }), let leaf = path.last else {
      // What the path climbs out of is never followed, but it is no class either.
      return .other(path.contains("..") ? "has a path that leaves the archive" : nil)
    }
    switch leaf.split(separator: ".").last?.lowercased() {
    case "png", "jpg", "jpeg":
      guard name.utf8.count <= pathBytesMax else {
        return .other("is a path of \(name.utf8.count) bytes; the limit is \(pathBytesMax)")
      }
      guard bytes <= fileBytesMax else {
        return .other("has \(bytes) bytes; the limit for one image is \(fileBytesMax)")
      }
      return .image(path: path.joined(separator: "/"))
    case "gif", "bmp", "webp", "tif", "tiff", "heic", "avif", "ppm", "pgm":
      return .other("is of a kind of image that is not read; convert it to PNG or JPEG")
    default: return .other(nil)
    }
  }
}

/// A decoded image.
struct Image {
  let width: Int
  let height: Int
  let channels: Int
  /// Row by row, channels together.
  let pixels: [UInt8]

  init(width: Int, height: Int, channels: Int, pixels: [UInt8]) {
    (self.width, self.height, self.channels, self.pixels) = (width, height, channels, pixels)
  }

  /// What the beginning of the file says, checked against the limits before anything is allocated.
  static func header(_ bytes: [UInt8], name: String) throws -> cimages_header {
    var header = cimages_header()
    try call(name) { message in
      bytes.withUnsafeBufferPointer { cimages_read_header($0.baseAddress, $0.count, &header, message) }
    }
    let (width, height) = (Int(header.width), Int(header.height))
    guard width <= ImageFolders.sideMax, height <= ImageFolders.sideMax, width * height <= ImageFolders.pixelsMax else {
      throw DataFault(
        column: name,
        "is \(width) x \(height) pixels; the limit is \(ImageFolders.pixelsMax) pixels and a side of "
          + "\(ImageFolders.sideMax)")
    }
    return header
  }

  /// Decodes a PNG or JPEG file.
  init(_ bytes: [UInt8], name: String, channels: Int) throws {
    var header = try Self.header(bytes, name: name)
    let count = Int(header.width) * Int(header.height) * channels
    var pixels = [UInt8](repeating: 0, count: count)
    try Self.call(name) { message in
      pixels.withUnsafeMutableBufferPointer { out in
        bytes.withUnsafeBufferPointer {
          cimages_decode($0.baseAddress, $0.count, &header, Int32(channels), out.baseAddress, message)
        }
      }
    }
    (width, height, self.channels) = (Int(header.width), Int(header.height), channels)
    self.pixels = pixels
  }

  private static func call(_ name: String, _ body: (UnsafeMutablePointer<CChar>) -> Int32) throws {
    let done = withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(CIMAGES_MESSAGE_BYTES)) { message in
      message.initialize(repeating: 0)
      return body(message.baseAddress!) == 1 ? nil : String(cString: message.baseAddress!)
    }
    if let reason = done { throw DataFault(column: name, "cannot be decoded: \(reason)") }
  }
}
