// ImageFolders.swift, ClassFolders.swift, ImageScaler.swift, TarReader.swift and CImages: archives of images.
import Contract
import Foundation
import Testing

@testable import Learning

@Suite struct ImageTests {
  private func options(size: Int? = nil, channels: Int? = nil) -> DatasetOptions {
    var options = DatasetOptions(format: .images)
    options.imageSize = size
    options.channels = channels
    return options
  }

  private func pixels(_ part: DataPart, _ row: Int) -> [Float] {
    var floats = [Float](repeating: -1, count: part.width)
    part.input(row, into: &floats)
    return floats.map { ($0 * 255).rounded() }
  }

  @Test("ZIP and tar hold the same images: classes by folder, their own held-out part, pixels as Pillow decodes them")
  func archives() throws {
    let reference = try fixture("images.rgb").map { Float($0) }
    for name in ["images.zip", "images.tar.gz"] {
      let (built, data) = try Scratch().build(fixture(name), options())
      #expect(built.schema.shape == DataShape(input: [16, 16, 3], target: .classes(2)), "\(name)")
      #expect(built.schema.classNames == ["cat", "dog"])
      #expect(data.train.rows == 5 && data.heldOut.rows == 2)
      #expect((0..<5).map { data.train.label($0) } == [0, 0, 1, 1, 1])
      #expect((0..<2).map { data.heldOut.label($0) } == [0, 1])
      for image in 0..<7 {
        let found = image < 5 ? pixels(data.train, image) : pixels(data.heldOut, image - 5)
        let expected = reference[(image * 768)..<((image + 1) * 768)]
        // JPEG decoders may round differently; PNG is exact.
        let tolerance: Float = image < 4 ? 0 : 1
        #expect(zip(found, expected).allSatisfy { abs($0 - $1) <= tolerance }, "\(name) image \(image)")
      }
    }
  }

  @Test("long paths of tar are read, and folders around everything say nothing")
  func longPaths() throws {
    let (built, data) = try Scratch().build(fixture("long.tar"), options())
    #expect(built.schema.classNames == ["class0", "class1"] && built.schema.shape.input == [16, 16, 1])
    #expect(data.train.rows + data.heldOut.rows == 12)
  }

  @Test("images are brought to one size by area means and lines, and to grey or colour")
  func scaling() throws {
    let (built, data) = try Scratch().build(fixture("images.zip"), options(size: 8, channels: 1))
    #expect(built.schema.shape.input == [8, 8, 1] && data.train.width == 64)
    var scaler = ImageScaler(width: 2, height: 2, channels: 1)
    let image = Image(
      width: 4, height: 4, channels: 1, pixels: [0, 4, 100, 104, 8, 12, 108, 112, 0, 0, 1, 1, 0, 0, 1, 3])
    #expect(scaler.scale(image) == [6, 106, 0, 2])
    let thin = Image(width: 3, height: 1, channels: 1, pixels: [30, 60, 90])
    #expect(scaler.scale(thin) == [40, 80, 40, 80])
    var larger = ImageScaler(width: 4, height: 1, channels: 1)
    #expect(larger.scale(Image(width: 2, height: 1, channels: 1, pixels: [0, 100])) == [0, 25, 75, 100])
  }

  @Test("classes are the last folders, paths where those repeat, and splits are folders of train and test")
  func folders() {
    #expect(ClassFolders(["cat", "dog"]).classNames == ["cat", "dog"])
    #expect(ClassFolders(["all/b", "all/a"]).places.map(\.label) == [1, 0])
    let omniglot = ClassFolders(["set/greek/c1", "set/greek/c2", "set/latin/c1"])
    #expect(omniglot.classNames == ["greek/c1", "greek/c2", "latin/c1"] && !omniglot.hasHeldOut)
    let split = ClassFolders(["root/Train/x/cat", "root/Train/x/dog", "root/test/x/dog"])
    #expect(split.hasHeldOut && split.classNames == ["cat", "dog"])
    #expect(
      split.places == [
        .init(label: 0, isHeldOut: false), .init(label: 1, isHeldOut: false), .init(label: 1, isHeldOut: true),
      ])
    #expect(!ClassFolders(["train", "test"]).hasHeldOut)
    #expect(ClassFolders(["train", "test"]).classNames == ["test", "train"])
    #expect(ClassFolders(["train/a", "train/b"]).classNames == ["a", "b"])
  }

  @Test("files that are no images are named, and a huge one is refused by its header")
  func refusals() throws {
    let scratch = try Scratch()
    let png = try #require(try zipEntry("rgb.png"))
    func problems(_ files: [(String, [UInt8])], _ options: DatasetOptions) -> [DataFault.Place] {
      scratch.problems(tar(files), options)
    }
    var damaged = png
    damaged[damaged.count / 2] ^= 0x55
    let found = problems(
      [("cat/a.png", damaged), ("dog/b.jpg", Array("not an image".utf8)), ("dog/c.gif", [1]), ("d.png", png)], options()
    )
    // Of a header survey, what can be seen without decoding.
    #expect(found.map(\.column) == ["dog/b.jpg", "dog/c.gif", "d.png"])
    #expect(problems([("cat/a.png", damaged), ("dog/b.png", png)], options()).map(\.column) == ["cat/a.png"])
    var huge = png
    huge.replaceSubrange(16..<24, with: [0, 1, 0, 0, 0, 1, 0, 0])
    #expect(
      problems([("cat/a.png", huge), ("dog/b.png", png)], options()).first?.reason.contains("65536 x 65536") == true)
    #expect(problems([("cat/a.png", png), ("cat/b.png", png)], options()).first?.reason.contains("one folder") == true)
    #expect(problems([("notes.txt", [65])], options()).first?.reason.contains("no PNG") == true)
    #expect(problems([("../x/a.png", png)], options()).first?.reason.contains("leaves the archive") == true)
    #expect(scratch.problems(Array("hello".utf8), options()).first?.reason.contains("tar archive") == true)
    #expect(
      scratch.problems([UInt8](repeating: 7, count: 512), options()).first?.reason.contains("neither a ZIP") == true)
    let mixed = problems([("cat/a.png", png), ("dog/b.png", try #require(smallPNG()))], options())
    #expect(mixed.first?.reason.contains("add image_size") == true)
  }

  @Test("a small archive of huge pictures is refused by their headers")
  func pixels() throws {
    var header: [UInt8] = [0x89] + Array("PNG\r\n\u{1A}\n".utf8) + [0, 0, 0, 13] + Array("IHDR".utf8)
    header += [0, 0, 16, 0, 0, 0, 16, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]
    // 256 of them have 2^32 pixels.
    let archive = tar((0..<257).map { ("\($0 % 2)/\($0).png", header) })
    let problems = try Scratch().problems(archive, options())
    #expect(problems.first?.reason.contains("the images up to \"0/256.png\" have 4311744512 pixels") == true)
    let fewer = try Scratch().problems(tar((0..<256).map { ("\($0 % 2)/\($0).png", header) }), options())
    #expect(fewer.first?.reason.contains("cannot be decoded") != false)
  }

  /// A file of images.zip that is stored in one run of bytes of images.tar.gz.
  private func zipEntry(_ name: String) throws -> [UInt8]? {
    let scratch = try Scratch()
    let file = scratch.folder.appendingPathComponent("archive")
    try Data(fixture("images.zip")).write(to: file)
    let archive = try ZipArchive(file: file)
    guard let entry = archive.entries.first(where: { $0.name.hasSuffix("/" + name) }) else { return nil }
    return try archive.reader(of: entry).exactly(entry.announced.bytes, name)
  }

  /// One black pixel.
  private func smallPNG() -> [UInt8]? {
    Data(base64Encoded: "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")
      .map(Array.init)
  }
}

/// A plain ustar archive.
func tar(_ files: [(String, [UInt8])]) -> [UInt8] {
  var bytes: [UInt8] = []
  for (name, content) in files {
    var header = [UInt8](repeating: 0, count: 512)
    func put(_ text: String, _ place: Int) { header.replaceSubrange(place..<place + text.utf8.count, with: text.utf8) }
    func octal(_ value: Int, _ digits: Int) -> String {
      let text = String(value, radix: 8)
      return String(repeating: "0", count: digits - text.count) + text
    }
    put(name, 0)
    put("0000644", 100)
    put(octal(content.count, 11), 124)
    put("        ", 148)
    put("0", 156)
    put("ustar", 257)
    put("00", 263)
    put(octal(header.reduce(0) { $0 + Int($1) }, 6) + "\0 ", 148)
    bytes += header + content + [UInt8](repeating: 0, count: (512 - content.count % 512) % 512)
  }
  return bytes + [UInt8](repeating: 0, count: 1024)
}
