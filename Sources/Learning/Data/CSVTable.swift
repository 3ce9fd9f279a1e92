// A CSV table as a dataset: one pass finds the type of each column, a second writes the rows. Numbers are
// standardised over the training rows, text columns become one input per category.
import Contract
import Foundation

/// Reads a CSV file with a header line into a dataset folder.
enum CSVTable {
  static let categoriesMax = 1000
  private static let inputWidthMax = 65_536
  /// Spellings of a missing number; it enters the model as the column's mean.
  private static let missing: Set<String> = ["", "NA", "N/A", "NaN", "nan", "null", "?"]

  static func build(file: URL, options: DatasetOptions, folder: URL) throws -> BuiltDataset {
    var columns = try survey(file, options)
    let targetIndex = try target(options, columns)
    let target = columns.remove(at: targetIndex)
    guard !columns.isEmpty else { throw DataFault("the table has only the target column; expected inputs beside it") }
    let isClasses = try isClassification(target, options)
    let classNames = isClasses ? classNames(target) : []
    let inputs = try columns.map { try $0.resolved() }
    let width = inputs.reduce(0) { $0 + ($1.categories?.count ?? 1) }
    guard width <= inputWidthMax else {
      throw DataFault(
        "the columns become \(width) inputs, more than \(inputWidthMax); drop columns with many categories")
    }
    let rows = columns[0].rows
    guard rows <= DatasetBuilder.bytesMax / (4 * width) else {
      throw DataFault(
        "\(rows) rows of \(width) inputs are more than \(DatasetBuilder.bytesMax) bytes, the limit for one dataset; "
          + "drop columns with many categories")
    }
    let targetColumn = isClasses ? nil : try target.resolved(mustBeNumber: true)
    let encoder = RowEncoder(
      names: columns.map(\.name), inputs: inputs, targetIndex: targetIndex, targetName: target.name,
      classes: Dictionary(uniqueKeysWithValues: zip(classNames, (0..<Int32.max))), target: targetColumn)
    let (train, heldOut) = try write(file, options, folder, encoder, isClasses)
    var schema = DatasetSchema(
      shape: DataShape(input: [width], target: isClasses ? .classes(classNames.count) : .values(1)), trainRows: train,
      heldOutRows: heldOut, classNames: classNames, columns: inputs)
    if let targetColumn { schema.targetColumns = [targetColumn] }
    return BuiltDataset(schema: schema, preview: try preview(file))
  }

  // MARK: First pass

  private static func survey(_ file: URL, _ options: DatasetOptions) throws -> [ColumnSurvey] {
    var reader = try CSVReader(ByteReader(file: file, bytesMax: DatasetBuilder.bytesMax))
    guard let header = try reader.next() else { throw DataFault("the file is empty: expected a header line and rows") }
    var seen: Set<String> = []
    var columns = try header.enumerated().map { index, cell in
      let name = cell.trimmingCharacters(in: .whitespaces)
      guard !name.isEmpty else {
        throw DataFault(row: 1, column: "\(index + 1)", "the header has no name for this column")
      }
      guard seen.insert(name).inserted else { throw DataFault(row: 1, column: name, "two columns have this name") }
      return ColumnSurvey(name: name)
    }
    guard columns.count >= 2 else {
      throw DataFault(row: 1, "the header has one column; expected two or more separated by commas")
    }
    var problems: [DataFault.Place] = []
    var row = 0
    while let cells = try reader.next() {
      row += 1
      guard cells.count == columns.count else {
        problems.append(
          .init(
            row: reader.line, column: nil,
            reason: "expected \(columns.count) cells as in the header, got \(cells.count)"))
        if problems.count >= DatasetProblem.countMax { break }
        continue
      }
      let trains = !DatasetBuilder.isHeldOut(row: row - 1, fraction: options.heldOutFraction)
      for index in columns.indices { columns[index].see(cells[index], line: reader.line, trains: trains) }
    }
    guard problems.isEmpty else { throw DataFault(problems) }
    guard row >= 2 else { throw DataFault("the table has \(row) rows; expected at least 2") }
    return columns
  }

  private static func target(_ options: DatasetOptions, _ columns: [ColumnSurvey]) throws -> Int {
    guard let name = options.target else { return columns.count - 1 }
    guard let index = columns.firstIndex(where: { $0.name == name }) else {
      let names = columns.prefix(30).map(\.name).joined(separator: ", ")
      throw DataFault(column: name, "there is no such column to predict; the columns are \(names)")
    }
    return index
  }

  private static func isClassification(_ target: ColumnSurvey, _ options: DatasetOptions) throws -> Bool {
    if let task = options.task { return task == .classification }
    return !target.isNumeric || target.isIntegral && target.distinct.count <= 20
  }

  private static func classNames(_ target: ColumnSurvey) -> [String] {
    let names = target.distinct.filter { !$0.isEmpty }
    if target.isNumeric { return names.sorted { (Double($0) ?? 0, $0) < (Double($1) ?? 0, $1) } }
    return names.sorted()
  }

  /// What one pass over a column finds out.
  private struct ColumnSurvey {
    let name: String
    private(set) var rows = 0
    private(set) var distinct: Set<String> = []
    private var numbers = 0
    private var others = 0
    private var firstOthers: [(line: Int, text: String)] = []
    private(set) var isIntegral = true
    private var overflowsCategories = false
    // Welford's running mean and sum of squares over the training rows.
    private var count = 0.0
    private var mean = 0.0
    private var squares = 0.0

    init(name: String) { self.name = name }

    mutating func see(_ cell: String, line: Int, trains: Bool) {
      rows += 1
      let text = cell.trimmingCharacters(in: .whitespaces)
      if distinct.count <= CSVTable.categoriesMax { distinct.insert(text) } else { overflowsCategories = true }
      if CSVTable.missing.contains(text) { return }
      guard let value = CSVTable.number(text) else {
        others += 1
        if firstOthers.count < 20 { firstOthers.append((line, text)) }
        return
      }
      numbers += 1
      if value.rounded() != value { isIntegral = false }
      guard trains else { return }
      count += 1
      let step = value - mean
      mean += step / count
      squares += step * (value - mean)
    }

    var isNumeric: Bool { others == 0 && numbers > 0 }

    /// The column's type. Mostly numbers with some text is a fault in those cells rather than a text column.
    func resolved(mustBeNumber: Bool = false) throws -> DatasetSchema.Column {
      if isNumeric {
        let deviation = count > 1 ? (squares / count).squareRoot() : 0
        return .init(name: name, categories: nil, mean: mean, deviation: deviation > 0 ? deviation : 1)
      }
      if numbers == 0 && others == 0 && mustBeNumber {
        throw DataFault(column: name, "the column has no numbers at all")
      }
      if mustBeNumber || numbers > 4 * others && numbers > 0 {
        throw DataFault(
          firstOthers.map {
            .init(row: $0.line, column: name, reason: "expected a number, got \"\($0.text.prefix(60))\"")
          })
      }
      guard !overflowsCategories else {
        throw DataFault(
          column: name,
          "the text column has more than \(CSVTable.categoriesMax) different values; drop it or group them")
      }
      return .init(name: name, categories: distinct.sorted())
    }
  }

  fileprivate static func number(_ text: String) -> Double? {
    guard let value = Double(text), value.isFinite, abs(value) < 1e30 else { return nil }
    return value
  }

  // MARK: Second pass

  private struct RowEncoder {
    let names: [String]
    let inputs: [DatasetSchema.Column]
    let targetIndex: Int
    let targetName: String
    let classes: [String: Int32]
    let target: DatasetSchema.Column?
    private let places: [[String: Int]]

    init(
      names: [String], inputs: [DatasetSchema.Column], targetIndex: Int, targetName: String, classes: [String: Int32],
      target: DatasetSchema.Column?
    ) {
      self.names = names
      self.inputs = inputs
      self.targetIndex = targetIndex
      self.targetName = targetName
      self.classes = classes
      self.target = target
      places = inputs.map { column in
        Dictionary(uniqueKeysWithValues: (column.categories ?? []).enumerated().map { ($1, $0) })
      }
    }

    func input(_ cells: [String]) -> [Float] {
      var floats: [Float] = []
      for (index, column) in inputs.enumerated() {
        let text = cells[index < targetIndex ? index : index + 1].trimmingCharacters(in: .whitespaces)
        if let categories = column.categories {
          let start = floats.count
          floats.append(contentsOf: repeatElement(0, count: categories.count))
          if let place = places[index][text] { floats[start + place] = 1 }
        } else {
          floats.append(CSVTable.number(text).map { Float(($0 - column.mean) / column.deviation) } ?? 0)
        }
      }
      return floats
    }
  }

  private static func write(
    _ file: URL, _ options: DatasetOptions, _ folder: URL, _ encoder: RowEncoder, _ isClasses: Bool
  ) throws -> (train: Int, heldOut: Int) {
    var reader = try CSVReader(ByteReader(file: file, bytesMax: DatasetBuilder.bytesMax))
    _ = try reader.next()
    let train = try PartWriter(folder: folder, name: "train")
    let heldOut = try PartWriter(folder: folder, name: "heldout")
    var problems: [DataFault.Place] = []
    var row = 0
    guard !isClasses || (2...categoriesMax).contains(encoder.classes.count) else {
      throw DataFault(
        column: encoder.targetName,
        "expected 2 to \(categoriesMax) classes, got \(encoder.classes.count) different values")
    }
    while let cells = try reader.next() {
      let part = DatasetBuilder.isHeldOut(row: row, fraction: options.heldOutFraction) ? heldOut : train
      row += 1
      let text = cells[encoder.targetIndex].trimmingCharacters(in: .whitespaces)
      if isClasses, let label = encoder.classes[text] {
        try part.appendInput(encoder.input(cells))
        try part.appendTarget(label)
      } else if !isClasses, let column = encoder.target, let value = number(text) {
        try part.appendInput(encoder.input(cells))
        try part.appendTargets([Float((value - column.mean) / column.deviation)])
      } else {
        problems.append(
          .init(
            row: reader.line, column: encoder.targetName,
            reason: text.isEmpty ? "the target is missing" : "expected a target value, got \"\(text.prefix(60))\""))
        if problems.count >= DatasetProblem.countMax { break }
      }
    }
    guard problems.isEmpty else { throw DataFault(problems) }
    try train.finish()
    try heldOut.finish()
    return (train.rows, heldOut.rows)
  }

  private static func preview(_ file: URL) throws -> JSON {
    var reader = try CSVReader(ByteReader(file: file, bytesMax: DatasetBuilder.bytesMax))
    let header = try reader.next() ?? []
    var rows: [JSON] = []
    while rows.count < 10, let cells = try reader.next() {
      rows.append(.array(cells.map { .string(String($0.prefix(200))) }))
    }
    return ["columns": .array(header.map(JSON.string)), "rows": .array(rows)]
  }
}
