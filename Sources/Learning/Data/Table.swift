// A table as a dataset, whatever file it came in: one pass finds the type of each column (ColumnSurvey.swift), a second
// writes the rows. Numbers are standardised over the training rows, with one more input that says where they are
// missing; text columns become one input per category. CSVReader.swift and JSONLines.swift read the cells.
import Contract
import Foundation

/// Where a table's rows come from.
protocol TableSource {
  /// The names of the columns.
  var columns: [String] { get }
  /// Line of the row last read, from 1.
  var line: Int { get }
  /// Reads the next row into `row`, over what it holds; false at the end.
  mutating func next(into row: inout TableRow) throws -> Bool
}

/// Writes a table into a dataset folder.
struct Table {
  private static let inputWidthMax = 65_536
  /// How much memory the different values of all columns may take.
  private static let textBytesMax = 256 << 20
  /// How much text all categories together may be: the dataset's schema has them.
  private static let categoryBytesMax = 2 << 20
  private static let nameBytesMax = 1000

  private let options: DatasetOptions
  private let open: () throws -> any TableSource

  /// - Parameter open: opens the table afresh, so that it can be gone through twice.
  init(options: DatasetOptions, open: @escaping () throws -> any TableSource) {
    self.options = options
    self.open = open
  }

  func build(folder: URL) throws -> BuiltDataset {
    var source = try open()
    let names = source.columns
    if let long = names.first(where: { $0.utf8.count > Self.nameBytesMax }) {
      throw DataFault(
        column: long.beginning(scalars: 60), "the column's name is longer than \(Self.nameBytesMax) bytes, the limit")
    }
    let targetIndices =
      try options.target.map { try indices($0, names, "there is no such column to predict") } ?? [names.count - 1]
    let dropped = Set(try options.drop.map { try indices($0, names, "there is no such column to leave out") } ?? [])
    guard dropped.isDisjoint(with: targetIndices) else {
      throw DataFault(column: names[dropped.intersection(targetIndices).min()!], "is both the target and left out")
    }
    let inputIndices = names.indices.filter { !dropped.contains($0) && !targetIndices.contains($0) }
    guard !inputIndices.isEmpty else {
      throw DataFault("the table has no columns beside the target; expected inputs")
    }
    let (surveys, rows) = try survey(&source, inputIndices, targetIndices)
    let targets = targetIndices.map { surveys[$0]! }
    let isClasses = try isClassification(targets)
    let inputs = try inputIndices.map { try surveys[$0]!.resolved() }
    let text = inputs.reduce(0) { $0 + ($1.categories ?? []).reduce(0) { $0 + $1.utf8.count } }
    guard text <= Self.categoryBytesMax else {
      throw DataFault(
        "the text columns' different values are \(text) bytes, more than \(Self.categoryBytesMax); leave some out with drop"
      )
    }
    let width = inputs.reduce(0) { $0 + $1.width }
    guard width <= Self.inputWidthMax else {
      throw DataFault(
        "the columns become \(width) inputs, more than \(Self.inputWidthMax); leave out columns with many categories")
    }
    guard rows <= DatasetBuilder.bytesMax / (4 * width) else {
      throw DataFault(
        "\(rows) rows of \(width) inputs are more than \(DatasetBuilder.bytesMax) bytes, the limit for one dataset; "
          + "leave out columns with many categories")
    }
    let classNames = isClasses ? try targets[0].classNames() : []
    let targetColumns = isClasses ? [] : try targets.map { try $0.resolved(mustBeNumber: true) }
    let encoder = RowEncoder(
      inputs: Array(zip(inputIndices, inputs)), targets: Array(zip(targetIndices, targetColumns)),
      classIndex: targetIndices[0], className: targets[0].name, classNames: classNames)
    let (train, heldOut) = try write(folder, encoder)
    var schema = DatasetSchema(
      shape: DataShape(
        input: [width], target: isClasses ? .classes(classNames.count) : .values(targetColumns.count)),
      trainRows: train, heldOutRows: heldOut, classNames: classNames, columns: inputs)
    schema.targetColumns = targetColumns
    return BuiltDataset(schema: schema, preview: try preview())
  }

  /// The columns that a name, or several with commas between them, stand for.
  private func indices(_ list: String, _ names: [String], _ complaint: String) throws -> [Int] {
    if let index = names.firstIndex(of: list) { return [index] }
    return try list.split(separator: ",").map { part in
      let name = part.trimmingCharacters(in: .whitespaces)
      guard let index = names.firstIndex(of: name) else {
        let known = names.prefix(30).joined(separator: ", ") + (names.count > 30 ? ", …" : "")
        throw DataFault(column: name, "\(complaint); the columns are \(known)")
      }
      return index
    }
  }

  private func isClassification(_ targets: [ColumnSurvey]) throws -> Bool {
    guard targets.count == 1 else {
      guard options.task != .classification else {
        throw DataFault("several targets are a regression; one column can be a class")
      }
      return false
    }
    return options.task.map { $0 == .classification } ?? targets[0].isClassLike
  }

  // MARK: First pass

  private func survey(
    _ source: inout any TableSource, _ inputs: [Int], _ targets: [Int]
  ) throws -> (surveys: [Int: ColumnSurvey], rows: Int) {
    let names = source.columns
    let wanted = inputs + targets
    var surveys = wanted.map { ColumnSurvey(name: names[$0], isTarget: targets.contains($0)) }
    var problems: [DataFault.Place] = []
    var cells = TableRow()
    var row = 0
    while try source.next(into: &cells) {
      row += 1
      guard cells.count == names.count else {
        problems.append(
          .init(
            row: source.line, column: nil,
            reason: "expected \(names.count) cells as in the first line, got \(cells.count)"))
        if problems.count >= DatasetProblem.countMax { break }
        continue
      }
      let trains = !DatasetBuilder.isHeldOut(row: row - 1, fraction: options.heldOutFraction)
      let line = source.line
      for (place, index) in wanted.enumerated() {
        cells.withCell(index) { surveys[place].see($0, line: line, trains: trains) }
      }
      guard surveys.reduce(0, { $0 + $1.distinctBytes }) <= Self.textBytesMax else {
        throw DataFault(
          "the columns' different values take more than \(Self.textBytesMax) bytes; leave some out with drop")
      }
    }
    guard problems.isEmpty else { throw DataFault(problems) }
    guard row >= 2 else { throw DataFault("the table has \(row) rows; expected at least 2") }
    return (Dictionary(zip(wanted, surveys), uniquingKeysWith: { first, _ in first }), row)
  }

  // MARK: Second pass

  private struct RowEncoder {
    /// What a column becomes; only what every row needs, since copying a whole column for each cell would cost more than reading it.
    private struct Input {
      let index: Int
      /// Categories; 0 for a number.
      let width: Int
      let mean: Double
      let deviation: Double
      let hasMissing: Bool
    }
    private let inputs: [Input]
    let targets: [(index: Int, column: DatasetSchema.Column)]
    let classIndex: Int
    let className: String
    private let classes: [String: Int32]
    private let places: [[String: Int]]

    init(
      inputs: [(Int, DatasetSchema.Column)], targets: [(Int, DatasetSchema.Column)], classIndex: Int,
      className: String, classNames: [String]
    ) {
      self.inputs = inputs.map { index, column in
        Input(
          index: index, width: column.categories?.count ?? 0, mean: column.mean, deviation: column.deviation,
          hasMissing: column.hasMissing)
      }
      self.targets = targets
      self.classIndex = classIndex
      self.className = className
      classes = Dictionary(uniqueKeysWithValues: zip(classNames, 0..<Int32.max))
      places = inputs.map { input in
        Dictionary(uniqueKeysWithValues: (input.1.categories ?? []).enumerated().map { ($1, $0) })
      }
    }

    func input(_ cells: TableRow, into floats: inout [Float]) {
      floats.removeAll(keepingCapacity: true)
      for (number, input) in inputs.enumerated() {
        if input.width > 0 {
          let text = cells.withCell(input.index) { Cell($0) == .missing ? "" : String(decoding: $0, as: UTF8.self) }
          let start = floats.count
          floats.append(contentsOf: repeatElement(0, count: input.width))
          if let place = places[number][text] { floats[start + place] = 1 }
          continue
        }
        let cell = cells.withCell(input.index) { Cell($0) }
        // A missing number is the mean, which is 0 here, and says so beside it.
        if case .number(let value) = cell {
          floats.append(Float((value - input.mean) / input.deviation))
        } else {
          floats.append(0)
        }
        if input.hasMissing { floats.append(cell == .missing ? 1 : 0) }
      }
    }

    enum Target {
      case label(Int32)
      case values([Float])
      case fault(column: String, reason: String)
    }

    func target(_ cells: TableRow) -> Target {
      if targets.isEmpty {
        return cells.withCell(classIndex) { cell in
          classes[String(decoding: cell, as: UTF8.self)].map(Target.label)
            ?? .fault(column: className, reason: reason(cell))
        }
      }
      var values: [Float] = []
      for target in targets {
        guard case .number(let value) = cells.withCell(target.index, { Cell($0) }) else {
          return .fault(column: target.column.name, reason: cells.withCell(target.index, reason))
        }
        values.append(Float((value - target.column.mean) / target.column.deviation))
      }
      return .values(values)
    }

    private func reason(_ cell: UnsafeBufferPointer<UInt8>) -> String {
      Cell(cell) == .missing
        ? "the target is missing"
        : "expected a target value, got \(DataFault.quoted(String(decoding: cell, as: UTF8.self)))"
    }
  }

  private func write(_ folder: URL, _ encoder: RowEncoder) throws -> (train: Int, heldOut: Int) {
    var source = try open()
    let train = try PartWriter(folder: folder, name: "train")
    let heldOut = try PartWriter(folder: folder, name: "heldout")
    var problems: [DataFault.Place] = []
    var floats: [Float] = []
    var cells = TableRow()
    var row = 0
    while try source.next(into: &cells) {
      let part = DatasetBuilder.isHeldOut(row: row, fraction: options.heldOutFraction) ? heldOut : train
      row += 1
      encoder.input(cells, into: &floats)
      try part.appendInput(floats)
      switch encoder.target(cells) {
      case .label(let label): try part.appendTarget(label)
      case .values(let values): try part.appendTargets(values)
      case .fault(let column, let reason):
        problems.append(.init(row: source.line, column: column, reason: reason))
        if problems.count >= DatasetProblem.countMax { throw DataFault(problems) }
      }
    }
    guard problems.isEmpty else { throw DataFault(problems) }
    try train.finish()
    try heldOut.finish()
    return (train.rows, heldOut.rows)
  }

  private func preview() throws -> JSON {
    var source = try open()
    var rows: [JSON] = []
    var cells = TableRow()
    while rows.count < 10, try source.next(into: &cells) {
      rows.append(.array((0..<cells.count).map { .string(cells.text($0).beginning(scalars: 200)) }))
    }
    return ["columns": .array(source.columns.map(JSON.string)), "rows": .array(rows)]
  }
}
