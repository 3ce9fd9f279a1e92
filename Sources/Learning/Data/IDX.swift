// The IDX format of the MNIST family: big-endian header (type, rank, sizes), then the numbers. A dataset is the
// concatenation of inputs and labels, and optionally held-out inputs and labels.
import Contract
import Foundation

/// Reads concatenated IDX files into a dataset folder.
enum IDX {
  private static let classesMax = 10_000
  private static let inputValuesMax = 16 << 20
  /// Labels are held in memory while their rows are sorted into parts.
  private static let rowsMax = 16 << 20

  private struct Header {
    let type: UInt8
    let sizes: [Int]
    let name: String

    var rows: Int { sizes[0] }
    var valuesPerRow: Int { sizes.dropFirst().reduce(1, *) }
    var bytesPerValue: Int {
      switch type {
      case 0x08, 0x09: return 1
      case 0x0B: return 2
      case 0x0C, 0x0D: return 4
      default: return 8
      }
    }
  }

  static func build(file: URL, options: DatasetOptions, folder: URL) throws -> (BuiltDataset, InputEncoding) {
    let reader = try ByteReader(file: file, bytesMax: DatasetBuilder.bytesMax)
    let train = try PartWriter(folder: folder, name: "train")
    let heldOut = try PartWriter(folder: folder, name: "heldout")
    let inputs = try header(reader, "the training inputs")
    // Without files of its own, the held-out part is a fixed share of the rows; which rows is known only when we
    // see whether more files follow, so training inputs go to one file first and labels decide afterwards.
    var preview = RowPreview(shape: Array(inputs.sizes.dropFirst()))
    let staged = folder.appendingPathComponent("staged.inputs")
    let stage = try PartWriter(folder: folder, name: "staged")
    try copyInputs(inputs, reader, to: stage, preview: &preview)
    try stage.finish()
    let labels = try labels(for: inputs, reader, "the training labels")
    for (row, label) in labels.prefix(RowPreview.count).enumerated() { preview.see(row, target: [Float(label)]) }
    var classes = Int(labels.max() ?? 0) + 1
    guard labels.contains(where: { $0 != labels[0] }) else {
      throw DataFault(
        column: "the training labels",
        "all labels are \(labels[0]): there is nothing to tell apart; expected 2 classes "
          + "or more")
    }
    let hasOwnHeldOut = try !reader.isAtEnd()
    let bytesPerRow = inputs.valuesPerRow * (inputs.type == 0x08 ? 1 : 4)
    let mapped = try MappedFile(staged, bytes: inputs.rows * bytesPerRow)
    for (row, label) in labels.enumerated() {
      let part =
        !hasOwnHeldOut && DatasetBuilder.isHeldOut(row: row, fraction: options.heldOutFraction) ? heldOut : train
      try part.appendInput(UnsafeRawBufferPointer(rebasing: mapped.bytes[row * bytesPerRow..<(row + 1) * bytesPerRow]))
      try part.appendTarget(label)
    }
    try FileManager.default.removeItem(at: staged)
    try FileManager.default.removeItem(at: folder.appendingPathComponent("staged.targets"))
    if hasOwnHeldOut {
      let more = try header(reader, "the held-out inputs")
      guard more.sizes.dropFirst() == inputs.sizes.dropFirst(), more.type == inputs.type else {
        throw DataFault(
          column: more.name,
          "expected elements of shape \(Array(inputs.sizes.dropFirst())) as in the training inputs, got "
            + "\(Array(more.sizes.dropFirst()))")
      }
      var ignored = RowPreview(shape: [])
      try copyInputs(more, reader, to: heldOut, preview: &ignored)
      let moreLabels = try self.labels(for: more, reader, "the held-out labels")
      for label in moreLabels { try heldOut.appendTarget(label) }
      classes = max(classes, Int(moreLabels.max() ?? 0) + 1)
      guard try reader.isAtEnd() else {
        throw DataFault("expected the end of the data after the held-out labels; an IDX dataset has two or four files")
      }
    }
    try train.finish()
    try heldOut.finish()
    let schema = DatasetSchema(
      shape: DataShape(
        input: inputs.sizes.count == 1 ? [1] : Array(inputs.sizes.dropFirst()), target: .classes(classes)),
      trainRows: train.rows, heldOutRows: heldOut.rows, classNames: (0..<classes).map(String.init), columns: [])
    return (BuiltDataset(schema: schema, preview: preview.json("classes")), inputs.type == 0x08 ? .bytes : .floats)
  }

  private static func header(_ reader: ByteReader, _ name: String) throws -> Header {
    let magic = try reader.exactly(4, "the header of \(name)")
    let rank = Int(magic[3])
    guard magic[0] == 0, magic[1] == 0, [0x08, 0x09, 0x0B, 0x0C, 0x0D, 0x0E].contains(magic[2]), (1...4).contains(rank)
    else {
      let hex = magic.map { String($0, radix: 16) }.joined(separator: " ")
      throw DataFault(
        column: name,
        "expected an IDX header (00 00, a type from 08 to 0e, 1 to 4 dimensions), got the bytes \(hex)")
    }
    let bytes = try reader.exactly(4 * rank, "the header of \(name)")
    let sizes = (0..<rank).map { index in bytes[4 * index..<4 * index + 4].reduce(0) { $0 << 8 | Int($1) } }
    guard sizes.allSatisfy({ $0 > 0 }) else {
      throw DataFault(column: name, "a dimension is 0: the sizes are \(sizes)")
    }
    // Four 32-bit sizes overflow 64 bits, so the product is checked as it grows.
    var values = 1
    for size in sizes.dropFirst() {
      let (product, overflow) = values.multipliedReportingOverflow(by: size)
      guard !overflow, product <= inputValuesMax else {
        throw DataFault(
          column: name,
          "an element of \(sizes.dropFirst().map(String.init).joined(separator: " x ")) values is too large: the limit is \(inputValuesMax)"
        )
      }
      values = product
    }
    let header = Header(type: magic[2], sizes: sizes, name: name)
    guard sizes[0] <= rowsMax else {
      throw DataFault(column: name, "the header announces \(sizes[0]) elements; the limit is \(rowsMax)")
    }
    guard sizes[0] <= DatasetBuilder.bytesMax / (values * header.bytesPerValue) else {
      throw DataFault(
        column: name,
        "the header announces \(sizes[0]) elements of \(values) values, more than the limit of \(DatasetBuilder.bytesMax) bytes"
      )
    }
    return header
  }

  private static func copyInputs(_ header: Header, _ reader: ByteReader, to part: PartWriter, preview: inout RowPreview)
    throws
  {
    let rowBytes = header.valuesPerRow * header.bytesPerValue
    for row in 0..<header.rows {
      let bytes = try reader.exactly(rowBytes, "element \(row + 1) of \(header.rows) of \(header.name)")
      if header.type == 0x08 {
        try part.appendInput(bytes)
        preview.see(row, bytes.prefix(RowPreview.valuesMax).map(Float.init))
      } else {
        let floats = try values(bytes, header).map { value -> Float in
          guard value.isFinite, abs(value) <= Double(Float.greatestFiniteMagnitude) else {
            throw DataFault(row: row + 1, column: header.name, "expected finite numbers, got \(value)")
          }
          return Float(value)
        }
        try part.appendInput(floats)
        preview.see(row, Array(floats.prefix(RowPreview.valuesMax)))
      }
    }
  }

  private static func labels(for inputs: Header, _ reader: ByteReader, _ name: String) throws -> [Int32] {
    guard try !reader.isAtEnd() else {
      throw DataFault(column: name, "are missing: the data ends after \(inputs.name)")
    }
    let header = try header(reader, name)
    guard header.sizes.count == 1, header.type != 0x0D, header.type != 0x0E else {
      throw DataFault(column: name, "expected one integer for each element, got shape \(header.sizes)")
    }
    guard header.rows == inputs.rows else {
      throw DataFault(
        column: name, "expected \(inputs.rows) labels, one for each of \(inputs.name), got \(header.rows)")
    }
    let bytes = try reader.exactly(header.rows * header.bytesPerValue, name)
    var problems: [DataFault.Place] = []
    let labels = values(bytes, header).enumerated().map { row, value -> Int32 in
      if !(0..<Double(classesMax)).contains(value), problems.count < DatasetProblem.countMax {
        problems.append(
          .init(row: row + 1, column: name, reason: "expected a class from 0 to \(classesMax - 1), got \(Int(value))"))
      }
      return Int32(truncatingIfNeeded: Int(value))
    }
    guard problems.isEmpty else { throw DataFault(problems) }
    return labels
  }

  private static func values(_ bytes: [UInt8], _ header: Header) -> [Double] {
    let width = header.bytesPerValue
    return stride(from: 0, to: bytes.count, by: width).map { start in
      let bits = bytes[start..<start + width].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
      switch header.type {
      case 0x08: return Double(bits)
      case 0x09: return Double(Int8(truncatingIfNeeded: bits))
      case 0x0B: return Double(Int16(truncatingIfNeeded: bits))
      case 0x0C: return Double(Int32(truncatingIfNeeded: bits))
      case 0x0D: return Double(Float(bitPattern: UInt32(bits)))
      default: return Double(bitPattern: bits)
      }
    }
  }
}
