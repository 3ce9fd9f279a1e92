// `trainyard optimizer kinds`: every optimizer that this build knows, with its options; the tables of docs/optimizers.md
// are its output.
import ArgumentParser
import Contract
import Learning

struct OptimizerKinds: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "kinds", abstract: "List every optimizer that jobs and tasks may name, with its options.")
  @Flag(help: "Print the tables of the documentation.") var markdown = false
  @Flag(help: "Print the properties of OptimizerChoice for openapi/openapi.yaml.") var openapi = false
  @Flag(help: "Print one JSON array.") var json = false
  @Argument(help: "Only this one, in any spelling.") var name: OptimizerName?

  func run() throws {
    let names = name.map { [$0] } ?? OptimizerName.allCases
    Console().show(.array(names.map(Self.facts)), asJSON: json) {
      openapi ? Self.properties() : markdown ? Self.markdown(names) : names.map(Self.text).joined(separator: "\n")
    }
  }

  /// What is known of one, as JSON.
  static func facts(_ name: OptimizerName) -> JSON {
    var members: [String: JSON] = [
      "name": .string(name.rawValue), "learned": .bool(name.isLearned),
      "options": .array(name.options.map(\.json)),
    ]
    if let schema = OptimizerCatalog.schema(of: name) {
      members["constants"] = schema.configuration
      members["weights"] = .integer(schema.layout.elements)
    }
    if let most = name.traits.parametersMax { members["parameters_max"] = .integer(most) }
    return .object(members)
  }

  private static func text(_ name: OptimizerName) -> String {
    var lines = [name.rawValue + (name.isLearned ? "  (learned)" : "")]
    if let constants = constants(name) { lines.append("  constants: \(constants)") }
    for option in name.options {
      let aliases = option.aliases.isEmpty ? "" : " (or \(option.aliases.joined(separator: ", ")))"
      lines.append("  \(option.key)\(aliases): \(values(option)); \(option.summary)")
    }
    return lines.joined(separator: "\n")
  }

  /// The tables of the documentation.
  static func markdown(_ names: [OptimizerName]) -> String {
    var lines = ["| hand-designed | options and their defaults |", "|---|---|"]
    for name in names where !name.isLearned {
      lines.append("| `\(name.rawValue)`\(most(name)) | \(defaults(name.traits.options)) |")
    }
    lines += ["", "| learned | weights | constants of the architecture | options |", "|---|--:|---|---|"]
    for name in names where name.isLearned {
      let weights = OptimizerCatalog.schema(of: name).map { String($0.layout.elements) } ?? "as released"
      lines.append(
        "| `\(name.rawValue)`\(most(name)) | \(weights) | \(constants(name) ?? "") | "
          + "\(defaults(name.traits.options)) |")
    }
    lines += ["", "| option | also | values | what it does |", "|---|---|---|---|"]
    // One row for each meaning; the range of the first optimizer that has it.
    var seen: Set<String> = []
    let all = names.flatMap { name in name.options }
    for option in all.sorted(by: { ($0.key, $0.summary) < ($1.key, $1.summary) }) {
      guard seen.insert(option.key + "\n" + option.summary).inserted else { continue }
      let aliases = option.aliases.map { "`\($0)`" }.joined(separator: ", ")
      lines.append("| `\(option.key)` | \(aliases) | \(range(option)) | \(option.summary) |")
    }
    return lines.joined(separator: "\n").replacingOccurrences(of: "  |", with: " |")
  }

  /// The members of a job's `optimizer` for the description of the API: each key with the widest range that any
  /// optimizer gives it.
  static func properties() -> String {
    let all = Dictionary(grouping: OptimizerName.allCases.flatMap(\.options), by: \.key)
    return all.sorted { $0.key < $1.key }.map { key, options in
      if case .schedule = options[0].kind {
        return "        \(key): {$ref: \"#/components/schemas/LearningRateSchedule\"}"
      }
      let forms = options.map(\.json)
      let type = forms[0]["type"]?.string ?? ""
      var members = ["type: \(type)"]
      if type == "number" { members.append("format: double") }
      if type == "integer" { members.append("format: int64") }
      let low = forms.compactMap { $0["minimum"] }.min { $0.number! < $1.number! }
      let high = forms.compactMap { $0["maximum"] }.max { $0.number! < $1.number! }
      if let low, let high { members += ["minimum: \(yaml(low))", "maximum: \(yaml(high))"] }
      if type == "string" { members.append("maxLength: 200") }
      var summaries: [String] = []
      for option in options where !summaries.contains(option.summary) { summaries.append(option.summary) }
      let text = summaries.joined(separator: "; or ").replacingOccurrences(of: "\"", with: "'")
      members.append("description: \"\(text)\"")
      return "        \(key): {\(members.joined(separator: ", "))}"
    }.joined(separator: "\n")
  }

  /// A number as YAML 1.1 takes it too, which wants a point before an exponent.
  private static func yaml(_ number: JSON) -> String {
    if let integer = number.integer { return String(integer) }
    let text = number.text
    return text.contains("e") && !text.contains(".") ? text.replacingOccurrences(of: "e", with: ".0e") : text
  }

  private static func most(_ name: OptimizerName) -> String {
    name.traits.parametersMax.map { " (models of at most \($0) parameters)" } ?? ""
  }

  private static func constants(_ name: OptimizerName) -> String? {
    guard case .object(let members)? = OptimizerCatalog.schema(of: name)?.configuration else { return nil }
    return members.sorted { $0.key < $1.key }.map { "`\($0.key)` \(plain($0.value))" }.joined(separator: ", ")
  }

  private static func defaults(_ options: [OptimizerOption]) -> String {
    options.map { option in
      standard(option).map { "`\(option.key)` \($0)" } ?? "`\(option.key)`"
    }.joined(separator: ", ")
  }

  private static func standard(_ option: OptimizerOption) -> String? { option.json["default"].map(plain) }

  private static func plain(_ value: JSON) -> String {
    guard let text = value.string else { return value.text }
    return text.isEmpty ? "none" : text
  }

  private static func range(_ option: OptimizerOption) -> String {
    switch option.kind {
    case .number(let range, _): "\(JSON.number(range.lowerBound).text) to \(JSON.number(range.upperBound).text)"
    case .integer(let range, _): "\(range.lowerBound) to \(range.upperBound)"
    case .flag: "true, false"
    case .choice(let words, _): words.joined(separator: ", ")
    case .text: "text"
    case .schedule: "a schedule"
    }
  }

  private static func values(_ option: OptimizerOption) -> String {
    range(option) + (standard(option).map { ", default \($0)" } ?? "")
  }
}
