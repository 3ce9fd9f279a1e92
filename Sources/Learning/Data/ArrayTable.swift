// NPZ and NPY files as a dataset: an array of inputs, an array of targets, and optionally the held-out pair. The
// arrays are read row by row (NPYArray.swift), out of an archive (ZipArchive.swift) or one after another.
import Contract
import Foundation

/// Reads NumPy arrays into a dataset folder.
enum ArrayTable {
  /// The arrays of a dataset.
  private enum Role: String, CaseIterable {
    case inputs = "the inputs"
    case targets = "the targets"
    case heldOutInputs = "the held-out inputs"
    case heldOutTargets = "the held-out targets"

    /// What they may be called in an NPZ file, in any case of letters.
    var names: [String] {
      switch self {
      case .inputs: ["x", "inputs", "x_train", "train_x"]
      case .targets: ["y", "targets", "labels", "y_train", "train_y"]
      case .heldOutInputs: ["x_test", "test_x", "x_val", "x_heldout"]
      case .heldOutTargets: ["y_test", "test_y", "y_val", "y_heldout"]
      }
    }
  }

  /// Opens an array afresh, so that it can be gone through twice.
  private typealias Source = () throws -> OpenArray

  private static let classesMax = 10_000
  private static let valuesMax = 4096

  // MARK: Where the arrays lie

  static func npz(file: URL, options: DatasetOptions, folder: URL) throws -> (BuiltDataset, InputEncoding) {
    let archive = try ZipArchive(file: file)
    var sources: [Role: Source] = [:]
    var found: [String] = []
    for entry in archive.entries where entry.name.hasSuffix(".npy") {
      let name = String(entry.name.dropLast(4))
      found.append(name)
      guard let role = Role.allCases.first(where: { $0.names.contains(name.lowercased()) }) else { continue }
      guard sources[role] == nil else {
        throw DataFault(column: name, "is a second array for \(role.rawValue); the archive has \(quotedList(found))")
      }
      sources[role] = {
        let array = try OpenArray(archive.reader(of: entry), name: name)
        let announced = entry.announced.bytes - array.reader.offset
        guard announced == array.header.rows * array.header.bytesPerRow else {
          throw DataFault(
            column: name,
            "its shape \(array.header.shape) takes \(array.header.rows * array.header.bytesPerRow) bytes, but "
              + "\(announced) follow its header")
        }
        return array
      }
    }
    guard sources[.inputs] != nil else {
      throw DataFault(
        "the archive has no array of inputs called \(Role.inputs.names.joined(separator: ", ")); "
          + (found.isEmpty ? "it has no arrays at all" : "it has \(quotedList(found))"))
    }
    return try withExtendedLifetime(archive) { try build(sources, options, folder) }
  }

  static func npy(file: URL, options: DatasetOptions, folder: URL) throws -> (BuiltDataset, InputEncoding) {
    // One pass finds how many arrays there are; each is then opened by passing over those before it.
    let reader = try ByteReader(file: file, bytesMax: DatasetBuilder.bytesMax)
    var headers: [NPYHeader] = []
    repeat {
      guard headers.count < Role.allCases.count else {
        throw DataFault("expected the end of the data after \(headers.count) arrays; a dataset has at most four")
      }
      let name = Role.allCases[headers.count].rawValue
      let header = try NPYHeader.read(reader, name: name)
      try reader.skip(header.rows * header.bytesPerRow, name)
      headers.append(header)
    } while try !reader.isAtEnd()
    var sources: [Role: Source] = [:]
    for (place, role) in Role.allCases.prefix(headers.count).enumerated() {
      sources[role] = {
        let reader = try ByteReader(file: file, bytesMax: DatasetBuilder.bytesMax)
        for earlier in Role.allCases[..<place] {
          let header = try NPYHeader.read(reader, name: earlier.rawValue)
          try reader.skip(header.rows * header.bytesPerRow, earlier.rawValue)
          _ = try reader.isAtEnd()
        }
        return try OpenArray(reader, name: role.rawValue)
      }
    }
    return try build(sources, options, folder)
  }

  // MARK: What they become

  private static func build(
    _ sources: [Role: Source], _ options: DatasetOptions, _ folder: URL
  ) throws -> (BuiltDataset, InputEncoding) {
    let inputs = try sources[.inputs]!().header
    if options.tokens == .integers {
      guard inputs.isInteger, inputs.kind != .bool else {
        throw DataFault(column: inputs.name, "tokens are integers; convert the array with astype(numpy.uint16)")
      }
      if sources[.targets] == nil {
        return (try stream(sources, inputs, options, folder), .windows)
      }
      guard inputs.shape.count == 2, DatasetOptions.sequenceLengths.contains(inputs.shape[1]) else {
        throw DataFault(
          column: inputs.name, "token inputs with targets have the shape [rows, 2 to 4096], got \(inputs.shape)")
      }
    }
    guard let targetSource = sources[.targets] else {
      throw DataFault(
        "there is no array of targets: add y with one integer (a class) or floats (values) for each row of "
          + "\(inputs.name); where a model needs none, zeros do")
    }
    guard sources[.heldOutInputs] == nil || sources[.heldOutTargets] != nil else {
      throw DataFault("there are held-out inputs without held-out targets; add them")
    }
    let targets = try targetSource().header
    try checkRows(inputs, targets)
    let heldOutTargets = try sources[.heldOutTargets]?().header
    if let heldOutTargets {
      guard let heldOut = try sources[.heldOutInputs]?().header else {
        throw DataFault("there are held-out targets without held-out inputs; add them")
      }
      try checkRows(heldOut, heldOutTargets)
      for (first, second) in [(inputs, heldOut), (targets, heldOutTargets)] {
        guard first.shape.dropFirst() == second.shape.dropFirst(), first.kind == second.kind,
          first.width == second.width
        else {
          throw DataFault(
            column: second.name, "its rows or type differ from \(first.name): \(second.shape) against \(first.shape)")
        }
      }
    }
    let isClasses = try isClassification(targets, options)
    let train = try PartWriter(folder: folder, name: "train")
    let heldOut = try PartWriter(folder: folder, name: "heldout")
    let hasOwn = heldOutTargets != nil
    func part(_ row: Int) -> PartWriter {
      !hasOwn && DatasetBuilder.isHeldOut(row: row, fraction: options.heldOutFraction) ? heldOut : train
    }
    let encoding: InputEncoding =
      options.tokens == .integers ? .tokens : inputs.kind == .unsigned && inputs.width == 1 ? .bytes : .floats
    var preview = RowPreview(shape: Array(inputs.shape.dropFirst()))
    var vocabulary = try copyInputs(sources[.inputs]!(), encoding, to: part, preview: &preview)
    if let source = sources[.heldOutInputs] {
      var ignored = RowPreview(shape: [])
      vocabulary = max(vocabulary, try copyInputs(source(), encoding, to: { _ in heldOut }, preview: &ignored))
    }
    let kind = isClasses ? "classes" : "values"
    var classes = 0
    var columns: [DatasetSchema.Column] = []
    if isClasses {
      let range = try copyLabels(targetSource(), to: part, preview: &preview)
      guard range.count > 1 else {
        throw DataFault(
          column: targets.name,
          "all labels are \(range.lowerBound): there is nothing to tell apart; expected 2 classes or more")
      }
      classes = range.upperBound + 1
      if let source = sources[.heldOutTargets] {
        var ignored = RowPreview(shape: [])
        classes = max(classes, try copyLabels(source(), to: { _ in heldOut }, preview: &ignored).upperBound + 1)
      }
    } else {
      columns = try survey(targetSource(), trains: { part($0) === train })
      try copyValues(targetSource(), columns, to: part, preview: &preview)
      if let source = sources[.heldOutTargets] {
        var ignored = RowPreview(shape: [])
        try copyValues(source(), columns, to: { _ in heldOut }, preview: &ignored)
      }
    }
    try train.finish()
    try heldOut.finish()
    var schema = DatasetSchema(
      shape: DataShape(
        input: inputs.shape.count == 1 ? [1] : Array(inputs.shape.dropFirst()),
        elements: encoding == .tokens ? .tokens(vocabulary: vocabulary) : .numbers,
        target: isClasses ? .classes(classes) : .values(columns.count)), trainRows: train.rows,
      heldOutRows: heldOut.rows, classNames: (0..<classes).map(String.init), columns: [])
    schema.targetColumns = columns
    if encoding == .tokens { schema.tokens = .init(kind: .integers) }
    return (BuiltDataset(schema: schema, preview: preview.json(kind)), encoding)
  }

  private static func checkRows(_ inputs: NPYHeader, _ targets: NPYHeader) throws {
    guard inputs.rows == targets.rows else {
      throw DataFault(
        column: targets.name,
        "expected \(inputs.rows) rows, one for each of \(inputs.name), got \(targets.rows)")
    }
  }

  private static func isClassification(_ targets: NPYHeader, _ options: DatasetOptions) throws -> Bool {
    guard options.task != .regression, targets.isInteger else {
      guard options.task != .classification else {
        throw DataFault(column: targets.name, "classes are integers; convert the array with astype(numpy.int64)")
      }
      guard targets.valuesPerRow <= valuesMax else {
        throw DataFault(column: targets.name, "a row has \(targets.valuesPerRow) values; the limit is \(valuesMax)")
      }
      return false
    }
    guard targets.valuesPerRow == 1 else {
      throw DataFault(
        column: targets.name,
        "expected one class for each row, got shape \(targets.shape); for several values a row add task=regression, "
          + "for one-hot rows save y.argmax(1)")
    }
    return true
  }

  /// A long array of tokens as windows.
  private static func stream(
    _ sources: [Role: Source], _ inputs: NPYHeader, _ options: DatasetOptions, _ folder: URL
  ) throws -> BuiltDataset {
    guard inputs.shape.count == 1, sources.count == 1 else {
      throw DataFault(
        column: inputs.name,
        "without targets, tokens are one array of one dimension, whose tail is held out; got shape "
          + "\(inputs.shape) and \(sources.count) arrays")
    }
    let writer = try TokenStreamWriter(folder: folder, kind: .integers)
    var preview: [JSON] = []
    try sources[.inputs]!().forEachToken { token in
      try writer.append(token)
      if preview.count < 100 { preview.append(.integer(Int(token))) }
    }
    let length = options.sequenceLength ?? DatasetOptions.sequenceLengthDefault
    let cut = try writer.finish(sequenceLength: length, heldOutFraction: options.heldOutFraction)
    return BuiltDataset(
      schema: cut.schema(sequenceLength: length), preview: ["columns": ["tokens"], "rows": [[.array(preview)]]])
  }

  /// Copies inputs row by row; returns one more than the largest token, where they are tokens.
  private static func copyInputs(
    _ array: OpenArray, _ encoding: InputEncoding, to part: (Int) -> PartWriter, preview: inout RowPreview
  ) throws -> Int {
    var problems: [DataFault.Place] = []
    var floats: [Float] = []
    var vocabulary = 0
    try array.forEachRow { row, bytes in
      if encoding == .tokens {
        let tokens = try array.tokens(row, bytes)
        vocabulary = max(vocabulary, Int(tokens.max() ?? 0) + 1)
        try part(row).appendInput(tokens)
        preview.see(row, tokens.prefix(RowPreview.valuesMax).map(Float.init))
      } else if encoding == .bytes {
        try part(row).appendInput(bytes)
        preview.see(row, bytes.prefix(RowPreview.valuesMax).map(Float.init))
      } else {
        if floats.isEmpty { floats = [Float](repeating: 0, count: array.header.valuesPerRow) }
        if let place = array.header.floats(bytes, into: &floats) {
          problems.append(
            .init(
              row: row + 1, column: array.header.name,
              reason: "value \(place + 1) of the row is not a finite number below 3.4e38"))
          if problems.count == DatasetProblem.countMax { throw DataFault(problems) }
        }
        try part(row).appendInput(floats)
        preview.see(row, Array(floats.prefix(RowPreview.valuesMax)))
      }
    }
    guard problems.isEmpty else { throw DataFault(problems) }
    return vocabulary
  }

  /// Copies labels; returns the least and the largest.
  private static func copyLabels(
    _ array: OpenArray, to part: (Int) -> PartWriter, preview: inout RowPreview
  ) throws -> ClosedRange<Int> {
    var problems: [DataFault.Place] = []
    var label: [Int?] = [nil]
    var (least, largest) = (Int.max, 0)
    try array.forEachRow { row, bytes in
      array.header.integers(bytes, into: &label)
      guard let value = label[0], (0..<classesMax).contains(value) else {
        let got = label[0].map(String.init) ?? "a number beyond 64 bits"
        problems.append(
          .init(
            row: row + 1, column: array.header.name, reason: "expected a class from 0 to \(classesMax - 1), got \(got)")
        )
        if problems.count == DatasetProblem.countMax { throw DataFault(problems) }
        return
      }
      (least, largest) = (min(least, value), max(largest, value))
      try part(row).appendTarget(Int32(value))
      preview.see(row, target: [Float(value)])
    }
    guard problems.isEmpty else { throw DataFault(problems) }
    return least...largest
  }

  /// Mean and deviation of each value over the training rows.
  private static func survey(_ array: OpenArray, trains: (Int) -> Bool) throws -> [DatasetSchema.Column] {
    let width = array.header.valuesPerRow
    var values = [Float](repeating: 0, count: width)
    var moments = [RunningMoments](repeating: RunningMoments(), count: width)
    try array.forEachRow { row, bytes in
      guard trains(row), array.header.floats(bytes, into: &values) == nil else { return }
      for (index, value) in values.enumerated() { moments[index].see(Double(value)) }
    }
    return moments.enumerated().map { index, moments in
      .init(
        name: width == 1 ? array.header.name : "\(array.header.name)[\(index)]", categories: nil, mean: moments.mean,
        deviation: moments.deviation)
    }
  }

  private static func copyValues(
    _ array: OpenArray, _ columns: [DatasetSchema.Column], to part: (Int) -> PartWriter, preview: inout RowPreview
  ) throws {
    var problems: [DataFault.Place] = []
    var values = [Float](repeating: 0, count: columns.count)
    try array.forEachRow { row, bytes in
      if let place = array.header.floats(bytes, into: &values) {
        problems.append(
          .init(row: row + 1, column: columns[place].name, reason: "expected a finite number below 3.4e38"))
        if problems.count == DatasetProblem.countMax { throw DataFault(problems) }
      }
      preview.see(row, target: values)
      for (index, column) in columns.enumerated() {
        values[index] = Float((Double(values[index]) - column.mean) / column.deviation)
      }
      try part(row).appendTargets(values)
    }
    guard problems.isEmpty else { throw DataFault(problems) }
  }

  private static func quotedList(_ names: [String]) -> String {
    names.prefix(20).map { DataFault.quoted($0) }.joined(separator: ", ") + (names.count > 20 ? ", …" : "")
  }
}

/// An array whose header was read and whose elements come next.
private struct OpenArray {
  private static let chunkBytes = 256 << 10

  let header: NPYHeader
  let reader: ByteReader

  init(_ reader: ByteReader, name: String) throws {
    self.reader = reader
    header = try NPYHeader.read(reader, name: name)
  }

  /// Calls `body` with the number and the bytes of each row, from 0.
  func forEachRow(_ body: (Int, UnsafeRawBufferPointer) throws -> Void) throws {
    let rowBytes = header.bytesPerRow
    let rowsPerChunk = min(header.rows, max(1, Self.chunkBytes / rowBytes))
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: rowsPerChunk * rowBytes, alignment: 16)
    defer { buffer.deallocate() }
    var row = 0
    while row < header.rows {
      let rows = min(rowsPerChunk, header.rows - row)
      let chunk = UnsafeMutableRawBufferPointer(rebasing: buffer[..<(rows * rowBytes)])
      try reader.read(into: chunk, "row \(row + 1) of \(header.rows) of \(header.name)")
      for index in 0..<rows {
        try body(row + index, UnsafeRawBufferPointer(rebasing: chunk[(index * rowBytes)..<((index + 1) * rowBytes)]))
      }
      row += rows
    }
    // Of an archive's entry, this checks its checksum.
    try reader.finish()
  }

  func tokens(_ row: Int, _ bytes: UnsafeRawBufferPointer) throws -> [UInt16] {
    var integers = [Int?](repeating: nil, count: bytes.count / header.width)
    header.integers(bytes, into: &integers)
    return try integers.map { integer in
      guard let integer, let token = UInt16(exactly: integer) else {
        throw DataFault(
          row: row + 1, column: header.name,
          "expected tokens from 0 to 65535, got \(integer.map(String.init) ?? "a number beyond 64 bits")")
      }
      return token
    }
  }

  /// Calls `body` with each token of an array of one dimension.
  func forEachToken(_ body: (UInt16) throws -> Void) throws {
    try forEachRow { row, bytes in try body(tokens(row, bytes)[0]) }
  }
}
