// Images, and the archives they come in.
import Contract
import Foundation
import Learning

extension FuzzedParser {
  private static let images: DatasetOptions = {
    var options = DatasetOptions(format: .images)
    options.imageSize = 4
    return options
  }()

  private static let archived: [(String, [UInt8])] = [
    ("train/a/1.png", samples[0]), ("train/b/2.png", samples[1]), ("test/a/3.jpg", samples[4]),
    ("test/b/4.png", samples[3]),
  ]
  private static let words = [
    "train/", "test/", "../", "/", ".png", "__MACOSX", "PK\u{1}\u{2}", "PK\u{3}\u{4}", "ustar",
  ]

  static let zip = dataset("zip", images, seeds: [zipFile(archived)], tokens: words, mend: mendZip)

  static let tar = dataset(
    "tar", images, seeds: [tarFile(archived)], tokens: words + ["27 path=a/b/c.png\n", "12 size=99\n"], mend: mendTar)

  static let png = dataset(
    "png", images, seeds: Array(samples[..<4]),
    tokens: ["IHDR", "PLTE", "tRNS", "IDAT", "IEND", "gAMA", "iCCP", "zTXt"],
    mend: mendPNG, wrap: { tarFile([("a/1.png", $0), ("b/2.png", samples[0]), ("a/3.png", samples[0])]) })

  static let jpeg = dataset(
    "jpeg", images, seeds: Array(samples[4...]), tokens: ["\u{FF}", "JFIF", "Exif", "Adobe"],
    wrap: { tarFile([("a/1.jpg", $0), ("b/2.png", samples[0]), ("a/3.png", samples[0])]) })

  /// Colour, palette, sixteen-bit grey, and grey with transparency as PNG; colour, progressive, and grey as JPEG.
  private static let samples: [[UInt8]] = [
    "iVBORw0KGgoAAAANSUhEUgAAAAYAAAAFCAIAAADpOgqxAAAAaklEQVR4nAFfAKD/AYLyJG9dR+IZITRY/U0JxB9ZGQAzQr9He/r1"
      + "uIpGKPeDHZ7GnOkE10S2BR0aoopMO1rJok8QRV/jADAU2tvfeEUBpLfVRzajzfUmegDka5YGq+rS4ag+wzXTD9IpX1C+lCtmmcMd"
      + "/gAAAABJRU5ErkJggg==",
    "iVBORw0KGgoAAAANSUhEUgAAAAYAAAAFAgMAAAAbNnV1AAAADFBMVEWjvY8br6KVTKeJF6Ln967kAAAAF0lEQVR4nGPUZGe8/JYx"
      + "io2piIFh4gUAHFEEKXLSvC4AAAAASUVORK5CYII=",
    "iVBORw0KGgoAAAANSUhEUgAAAAYAAAAFEAAAAAATox55AAAATElEQVR4nAFBAL7/AbD6fbw4upwNQrUooAEbHYf5v01YSe63xwEC"
      + "w+r/vG4KntPkysTcAP8CPkNBwRK8Qf/DWwKzpuKtH49ZBWk8sVwm+CALZEC67gAAAABJRU5ErkJggg==",
    "iVBORw0KGgoAAAANSUhEUgAAAAYAAAAFCAQAAADMUVVtAAAATElEQVR4nAFBAL7/Abn/ygAJAPYAFgCqAAKTAPcAOQDHALIAbwAB"
      + "X/8eAO8AHQARANUAAtQAVQC8ADMA7QD+AAGU/+0AVQC1ANUA7QCUyxSxJ4vhygAAAABJRU5ErkJggg==",
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABQODxIPDRQSEBIXFRQYHjIhHhwcHj0sLiQySUBMS0dARkVQWnNiUFVtVkVGZIhlbXd7"
      + "gYKBTmCNl4x9lnN+gXz/2wBDARUXFx4aHjshITt8U0ZTfHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8"
      + "fHx8fHx8fHz/wAARCAAFAAYDASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAL/xAAfEAABAwMFAAAAAAAAAAAAAAABAAMR"
      + "AgQxEyFBQmH/xAAVAQEBAAAAAAAAAAAAAAAAAAACA//EABoRAQACAwEAAAAAAAAAAAAAAAEAAhITsaH/2gAMAwEAAhEDEQA/AIuz"
      + "oNtGqHTUOwnG2DzMmfYREVMk97DtvQA4T//Z",
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABQODxIPDRQSEBIXFRQYHjIhHhwcHj0sLiQySUBMS0dARkVQWnNiUFVtVkVGZIhlbXd7"
      + "gYKBTmCNl4x9lnN+gXz/2wBDARUXFx4aHjshITt8U0ZTfHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8"
      + "fHx8fHx8fHz/wgARCAAFAAYDASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAL/xAAVAQEBAAAAAAAAAAAAAAAAAAABAv/a"
      + "AAwDAQACEAMQAAABkUf/xAAWEAADAAAAAAAAAAAAAAAAAAABAiH/2gAIAQEAAQUCaD//xAAWEQEBAQAAAAAAAAAAAAAAAAABABL/"
      + "2gAIAQMBAT8B0l//xAAVEQEBAAAAAAAAAAAAAAAAAAAAEf/aAAgBAgEBPwGv/8QAFhAAAwAAAAAAAAAAAAAAAAAAAAFB/9oACAEB"
      + "AAY/AlT/xAAWEAEBAQAAAAAAAAAAAAAAAAAxAFH/2gAIAQEAAT8hcW3/2gAMAwEAAgADAAAAEPP/xAAXEQEAAwAAAAAAAAAAAAAA"
      + "AAABABGx/9oACAEDAQE/EK4GE//EABgRAAIDAAAAAAAAAAAAAAAAAAABEaGx/9oACAECAQE/EJK9P//EABoQAAICAwAAAAAAAAAA"
      + "AAAAAAERMUEAIWH/2gAIAQEAAT8QN1DCjjUG2y+rP//Z",
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABQODxIPDRQSEBIXFRQYHjIhHhwcHj0sLiQySUBMS0dARkVQWnNiUFVtVkVGZIhlbXd7"
      + "gYKBTmCNl4x9lnN+gXz/wAALCAAFAAYBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAAv/EAB8QAAIBAgcAAAAAAAAAAAAAAAERAwIx"
      + "AAQTIUFCYf/aAAgBAQAAPwAZs6EcRqUpqHYO21jy2X6sf//Z",
  ].map { Array(Data(base64Encoded: $0)!) }
}
