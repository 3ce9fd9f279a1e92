// Documents of a JSON Lines file as token data: for a language model one stream with a separator after each document
// (TokenStream.swift), for classification one row of tokens each, cropped or padded.
import Contract
import Foundation

enum Documents {
  private static let previewRows = 5

  static func languageModel(_ file: URL, field: String, options: DatasetOptions, folder: URL) throws -> BuiltDataset {
    var reader = try JSONLineReader(file: file)
    let stream = try TokenStreamWriter(folder: folder, kind: options.tokens ?? .bytes)
    var preview: [JSON] = []
    while let object = try reader.next() {
      var text = try Self.text(object, field, line: reader.line)
      if preview.count < previewRows { preview.append([.string(shown(text))]) }
      try text.withUTF8 { try stream.append($0) }
      try stream.endDocument()
    }
    let length = options.sequenceLength ?? DatasetOptions.sequenceLengthDefault
    let cut = try stream.finish(sequenceLength: length, heldOutFraction: options.heldOutFraction)
    return BuiltDataset(
      schema: cut.schema(sequenceLength: length), preview: ["columns": [.string(field)], "rows": .array(preview)])
  }

  static func classification(
    _ file: URL, field: String, target: String, options: DatasetOptions, folder: URL
  ) throws -> BuiltDataset {
    let kind = options.tokens ?? .bytes
    let survey = try Survey(file, field, target, kind, options)
    let length = options.sequenceLength ?? DatasetOptions.sequenceLengthDefault
    let labels = Dictionary(uniqueKeysWithValues: zip(survey.classNames, 0..<Int32.max))
    let train = try PartWriter(folder: folder, name: "train")
    let heldOut = try PartWriter(folder: folder, name: "heldout")
    var reader = try JSONLineReader(file: file)
    var preview: [JSON] = []
    var row = 0
    while let object = try reader.next() {
      let text = try Self.text(object, field, line: reader.line)
      let name = try label(object, target, line: reader.line)
      let part = DatasetBuilder.isHeldOut(row: row, fraction: options.heldOutFraction) ? heldOut : train
      row += 1
      var tokens: [UInt16] =
        switch kind {
        case .characters: text.unicodeScalars.prefix(length).map { survey.indices[$0] ?? UInt16(survey.indices.count) }
        case .bytes, .integers: text.utf8.prefix(length).map(UInt16.init)
        }
      tokens.append(contentsOf: repeatElement(UInt16(survey.padding), count: length - tokens.count))
      try part.appendInput(tokens)
      try part.appendTarget(labels[name]!)
      if preview.count < previewRows { preview.append([.string(shown(text)), .string(name)]) }
    }
    try train.finish()
    try heldOut.finish()
    var schema = DatasetSchema(
      shape: DataShape(
        input: [length], elements: .tokens(vocabulary: survey.padding + 1), target: .classes(labels.count)),
      trainRows: train.rows, heldOutRows: heldOut.rows, classNames: survey.classNames, columns: [])
    schema.tokens = survey.tokens
    return BuiltDataset(
      schema: schema, preview: ["columns": [.string(field), .string(target)], "rows": .array(preview)])
  }

  /// What a first pass over labelled documents finds out.
  private struct Survey {
    let classNames: [String]
    /// Of the characters of the training rows.
    let indices: [Unicode.Scalar: UInt16]
    let padding: Int
    let tokens: DatasetSchema.Tokens

    init(
      _ file: URL, _ field: String, _ target: String, _ kind: DatasetOptions.Tokens, _ options: DatasetOptions
    ) throws {
      var reader = try JSONLineReader(file: file)
      var names: Set<String> = []
      var areNumbers = true
      var characters: Set<Unicode.Scalar> = []
      var row = 0
      while let object = try reader.next() {
        let text = try Documents.text(object, field, line: reader.line)
        let name = try Documents.label(object, target, line: reader.line)
        if names.insert(name).inserted, Int(name) == nil { areNumbers = false }
        guard names.count <= ColumnSurvey.categoriesMax else {
          throw DataFault(
            row: reader.line, column: target, "expected at most \(ColumnSurvey.categoriesMax) different labels")
        }
        if kind == .characters, !DatasetBuilder.isHeldOut(row: row, fraction: options.heldOutFraction) {
          characters.formUnion(text.unicodeScalars)
          guard characters.count <= DatasetOptions.charactersMax else {
            throw DataFault(
              row: reader.line, column: field,
              "the texts have more than \(DatasetOptions.charactersMax) different characters; use tokens=bytes")
          }
        }
        row += 1
      }
      guard names.count >= 2 else {
        throw DataFault(column: target, "all labels are \(DataFault.quoted(names.first ?? "")); expected 2 or more")
      }
      classNames = areNumbers ? names.sorted { (Int($0)!, $0) < (Int($1)!, $1) } : names.sorted()
      let sorted = characters.sorted { $0.value < $1.value }
      indices = Dictionary(uniqueKeysWithValues: zip(sorted, 0..<UInt16.max))
      padding = kind == .characters ? sorted.count + 1 : 256
      tokens =
        kind == .characters
        ? .init(
          kind: .characters, characters: sorted.map { String(Character($0)) }, unknown: sorted.count, padding: padding)
        : .init(kind: .bytes, padding: padding)
    }
  }

  private static func text(_ object: [String: JSON], _ field: String, line: Int) throws -> String {
    guard let text = object[field]?.string else {
      throw DataFault(row: line, column: field, "expected a string, got \(object[field]?.kind ?? "nothing")")
    }
    return text
  }

  private static func label(_ object: [String: JSON], _ field: String, line: Int) throws -> String {
    switch object[field] {
    case .string(let text) where !text.isEmpty && text.utf8.count <= 1000: return text
    case .integer(let number): return String(number)
    case .bool(let truth): return truth ? "true" : "false"
    default:
      throw DataFault(
        row: line, column: field,
        "expected a label (text of 1 to 1000 bytes, an integer or a truth), got \(object[field]?.kind ?? "nothing")")
    }
  }

  private static func shown(_ text: String) -> String { String(text.unicodeScalars.prefix(500)) }
}
