// OptimizerOption.swift, OptimizerSettings.swift, OptimizerTraits.swift: the options of every optimizer, as tables that
// must hold together and as values that are read from requests.
import Foundation
import Testing

@testable import Contract

@Suite("Options of optimizers")
struct OptimizerOptionTests {
  static let all = OptimizerName.allCases

  /// Reads `members` as the options of `name`.
  private func read(_ name: OptimizerName, _ members: [String: JSON]) -> (OptimizerSettings, [Fault]) {
    let faults = Faults()
    var fields = Fields(.object(members), path: "/o", faults: faults)!
    let settings = OptimizerSettings.read(name, &fields)
    fields.finish()
    return (settings, faults.list)
  }

  @Test("have names of their own: no key or other spelling means two things", arguments: all)
  func spelledApart(_ name: OptimizerName) {
    var seen: Set<String> = ["name", "version"]
    for option in name.options {
      for spelling in [option.key] + option.aliases {
        #expect(seen.insert(spelling).inserted, "\(spelling) of \(option.key)")
        #expect(spelling.wholeMatch(of: /[a-zA-Z][a-zA-Z0-9_]*/) != nil, "\(spelling)")
      }
      #expect(option.key == option.key.lowercased(), "\(option.key)")
      #expect(!option.summary.isEmpty && !option.summary.hasSuffix(".") && option.summary.count <= 120)
    }
    for common in ["clip_value", "clip_norm", "weight_decay", "accumulation", "updates_max"] {
      #expect(seen.contains(common))
    }
    #expect(name.options.contains { $0.key == "schedule" } || !name.options.contains { $0.key == "learning_rate" })
    #expect(OptimizerName(spelled: name.rawValue) == name)
    #expect(OptimizerName(spelled: name.rawValue.uppercased().replacing("_", with: "-")) == name)
  }

  @Test("take their defaults and both ends of their ranges, and refuse what lies beyond", arguments: all)
  func ranges(_ name: OptimizerName) throws {
    for option in name.options {
      var good: [JSON] = []
      var bad: [JSON] = [[], [:]]
      switch option.kind {
      case .number(let range, let standard):
        #expect(range.contains(standard), "\(option.key)")
        #expect(OptimizerSettings(name).number(option.key) == standard)
        good = [.number(standard), .number(range.lowerBound), .number(range.upperBound)]
        bad += [.number(range.lowerBound.nextDown), .number(range.upperBound.nextUp), "1", true]
      case .integer(let range, let standard):
        #expect(range.contains(standard), "\(option.key)")
        #expect(OptimizerSettings(name).integer(option.key) == standard)
        good = [.integer(standard), .integer(range.lowerBound), .number(Double(range.upperBound))]
        bad += [.integer(range.lowerBound - 1), .integer(range.upperBound + 1), .number(1.5), "1", false]
      case .flag(let standard):
        #expect(OptimizerSettings(name).flag(option.key) == standard)
        good = [true, false]
        bad += [1, "true"]
      case .choice(let words, let standard):
        #expect(words.contains(standard) && OptimizerSettings(name).text(option.key) == standard)
        good = words.map(JSON.string)
        bad += ["", "no such word", 1]
      case .text(let standard):
        #expect(OptimizerSettings(name).text(option.key) == standard)
        good = [.string(standard), .string(String(repeating: "é", count: 200))]
        bad += [.string(String(repeating: "x", count: 201)), "\u{1}", 1]
      case .schedule:
        good = [["kind": "cosine", "warmup_steps": 3]]
        bad = [[], [:], "cosine", ["kind": "cosine", "warmup": 3]]
      }
      for value in good {
        let (settings, faults) = read(name, [option.key: value])
        #expect(faults.isEmpty, "\(option.key) = \(value): \(faults)")
        #expect(settings.json.count == 1 && settings.has(option.key))
        #expect(settings == OptimizerSettings(name, [option.key: value]))
        #expect(OptimizerSettings(name, settings.json) == settings)
        for alias in option.aliases {
          let (spelled, faults) = read(name, [alias: value])
          #expect(spelled == settings && faults.isEmpty, "\(alias)")
        }
      }
      for value in bad {
        let (settings, faults) = read(name, [option.key: value])
        #expect(
          faults.count == 1 && faults[0].path.hasPrefix("/o/\(option.key)"), "\(option.key) = \(value): \(faults)")
        #expect(settings == OptimizerSettings(name))
        for alias in option.aliases {
          #expect(read(name, [alias: value]).1.first?.path.hasPrefix("/o/\(alias)") == true, "\(alias) = \(value)")
        }
      }
      let (settings, faults) = read(name, [option.key: .null])
      #expect(settings == OptimizerSettings(name) && faults.isEmpty, "null is as good as nothing")
    }
  }

  @Test("are told as capabilities: type, range, default", arguments: all)
  func capabilities(_ name: OptimizerName) throws {
    for option in name.options {
      let json = option.json
      #expect(json["key"]?.string == option.key && json["summary"]?.string == option.summary)
      switch option.kind {
      case .number(let range, let standard):
        #expect(json["type"] == "number" && json["default"]?.number == standard)
        #expect(json["minimum"]?.number == range.lowerBound && json["maximum"]?.number == range.upperBound)
      case .integer(let range, let standard):
        #expect(json["type"] == "integer" && json["default"]?.integer == standard)
        #expect(json["minimum"]?.integer == range.lowerBound && json["maximum"]?.integer == range.upperBound)
      case .flag(let standard): #expect(json["type"] == "boolean" && json["default"]?.bool == standard)
      case .choice(let words, let standard):
        #expect(json["type"] == "string" && json["default"]?.string == standard)
        #expect(json["enum"]?.array?.map(\.string) == words)
      case .text(let standard): #expect(json["type"] == "string" && json["default"]?.string == standard)
      case .schedule: #expect(json["type"] == "object" && json["default"] == nil)
      }
    }
  }

  @Test("two spellings of one option at once are a fault, an unknown one is told what there is")
  func spellings() {
    let (settings, faults) = read(.adam, ["learning_rate": 0.5, "lr": 0.25, "b1": 0.5, "beta1": 0.5, "momentum": 0.9])
    #expect(Set(faults.map(\.path)) == ["/o/lr", "/o/b1", "/o/momentum"])
    #expect(faults.first { $0.path == "/o/lr" }?.reason.contains("\"learning_rate\"") == true)
    let unknown = faults.first { $0.path == "/o/momentum" }?.reason ?? ""
    #expect(unknown.contains("beta1") && unknown.contains("clip_norm"), "\(unknown)")
    #expect(settings.number("learning_rate") == 0.5)
    let (spelled, none) = read(.adam, ["lr": 0.25, "eps_root": 1e-8])
    #expect(none.isEmpty && spelled.number("learning_rate") == 0.25 && spelled.number("epsilon_root") == 1e-8)
    // The fault names the field as it was spelled.
    #expect(read(.adam, ["lr": -1]).1.map(\.path) == ["/o/lr"])
  }

  @Test("memory is counted for each parameter: the rule's own, and one for gathered gradients", arguments: all)
  func memory(_ name: OptimizerName) {
    let plain = OptimizerSettings(name).stateFloatsPerParameter
    #expect(plain >= 0)
    #expect(OptimizerSettings(name, ["accumulation": 2]).stateFloatsPerParameter == plain + 1)
    let (perParameter, perTensor) = name.traits.updateFlops
    #expect(perParameter > 0 && perParameter.isFinite && perTensor >= 0 && perTensor.isFinite)
  }
}
