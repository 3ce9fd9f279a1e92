// DatasetOptions.swift: which option fits which format, and that options survive being stored and sent.
import Contract
import Testing

@Suite struct DatasetOptionsTests {
  private func read(_ members: [String: JSON]) -> Result<DatasetOptions, SpecError> {
    do throws(SpecError) { return .success(try DatasetOptions.decode(.object(members))) } catch {
      return .failure(error)
    }
  }

  private static let values: [String: JSON] = [
    "target": "a,b", "task": "regression", "drop": "c", "delimiter": "semicolon", "header": false, "skip_lines": 1,
    "field": "body", "tokens": "characters", "sequence_length": 128, "image_size": 32, "channels": 3,
  ]

  private static let fitting: [DatasetFormat: Set<String>] = [
    .idx: [], .csv: ["target", "task", "drop", "delimiter", "header", "skip_lines"],
    .text: ["tokens", "sequence_length"],
    .jsonl: ["target", "task", "drop", "field", "tokens", "sequence_length"],
    .npz: ["task", "tokens", "sequence_length"], .npy: ["task", "tokens", "sequence_length"],
    .images: ["image_size", "channels"],
  ]

  @Test("every option is taken by the formats it is for and refused by all others", arguments: DatasetFormat.allCases)
  func fit(format: DatasetFormat) throws {
    let isArrays = format == .npz || format == .npy
    for (name, value) in Self.values {
      var members: [String: JSON] = ["format": .string(format.rawValue), name: value]
      if isArrays, name == "tokens" || name == "sequence_length" { members["tokens"] = "integers" }
      switch read(members) {
      case .success: #expect(Self.fitting[format]!.contains(name), "\(format) took \(name)")
      case .failure(let error):
        #expect(!Self.fitting[format]!.contains(name), "\(format) refused \(name): \(error)")
        #expect(error.faults.map(\.path).contains("/\(name)"))
      }
    }
  }

  @Test("options survive being stored, and their query says no more than was said")
  func roundTrip() throws {
    for (format, names) in Self.fitting {
      var members = Self.values.filter { names.contains($0.key) }
      if format == .npz || format == .npy { members["tokens"] = "integers" }
      members["format"] = .string(format.rawValue)
      members["held_out_fraction"] = 0.2
      let options = try read(members).get()
      #expect(try DatasetOptions.decode(options.json) == options)
      #expect(options.json == .object(members))
      #expect(Set(options.query.map(\.0)) == Set(members.keys))
      #expect(options.query.allSatisfy { $0.1 == members[$0.0]?.string ?? members[$0.0]?.text })
    }
    #expect(DatasetOptions(format: .csv).query.map(\.0) == ["format"])
  }

  @Test("values out of range and words that mean nothing here are faults")
  func faults() {
    func path(_ members: [String: JSON]) -> [String] {
      guard case .failure(let error) = read(members) else { return [] }
      return error.faults.map(\.path)
    }
    #expect(path(["format": "parquet"]) == ["/format"])
    #expect(path(["format": "text", "sequence_length": 1]) == ["/sequence_length"])
    #expect(path(["format": "text", "sequence_length": 4097]) == ["/sequence_length"])
    #expect(path(["format": "text", "tokens": "integers"]) == ["/tokens"])
    #expect(path(["format": "npz", "tokens": "bytes"]) == ["/tokens"])
    #expect(path(["format": "npz", "sequence_length": 8]) == ["/sequence_length"])
    #expect(path(["format": "images", "channels": 2]) == ["/channels"])
    #expect(path(["format": "images", "image_size": 4096]) == ["/image_size"])
    #expect(path(["format": "csv", "header": "yes"]) == ["/header"])
    #expect(path(["format": "csv", "delimiter": "|"]) == ["/delimiter"])
  }
}
