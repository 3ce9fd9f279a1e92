// OptimizerSpec.swift on random and damaged requests: never a crash, faults with places, and what is accepted is stored
// so that it reads the same again.
import Contract
import Foundation
import Testing

@Suite("The optimizer of a request")
struct OptimizerSpecTests {
  private func read(_ json: JSON) -> (OptimizerSpec?, [Fault]) {
    let faults = Faults()
    let spec = OptimizerSpec.read(json, path: "/optimizer", faults: faults)
    return (spec, faults.list)
  }

  private func check(_ json: JSON) -> Bool {
    let (spec, faults) = read(json)
    #expect(
      faults.allSatisfy { $0.path.hasPrefix("/optimizer") && !$0.reason.isEmpty } && faults.count <= Faults.countMax)
    guard faults.isEmpty else { return false }
    guard let spec else {
      Issue.record("neither a value nor a fault: \(json.text)")
      return false
    }
    let text = spec.json.text
    let again = (try? JSON.parse(text)).map { read($0) }
    #expect(again?.0 == spec && again?.1.isEmpty == true, "\(json.text) became \(text)")
    #expect(again?.0?.json.text == text)
    return true
  }

  /// A value that suits the option, or nearly so.
  private func value(_ option: OptimizerOption, _ random: inout SplitMix) -> JSON {
    switch option.kind {
    case .number(let range, let standard):
      let inside = Double.random(in: range, using: &random)
      return [.number(standard), .number(range.lowerBound), .number(inside), .number(inside * 1.5), .integer(1)]
        .randomElement(using: &random)!
    case .integer(let range, let standard):
      let inside = Int.random(in: range, using: &random)
      return [.integer(standard), .integer(inside), .number(Double(inside)), .integer(range.upperBound + 1)]
        .randomElement(using: &random)!
    case .flag: return .bool(.random(using: &random))
    case .choice(let words, _): return .string((words + ["other"]).randomElement(using: &random)!)
    case .text(let standard): return [.string(standard), "a", "b/c~d"].randomElement(using: &random)!
    case .schedule:
      let kinds = [
        "constant", "linear", "cosine", "hold", "inverse_sqrt", "exponential", "step", "one_cycle", "held_cosine",
      ]
      var members: [String: JSON] = ["kind": .string(kinds.randomElement(using: &random)!)]
      for key in ["final", "warmup_steps", "every", "decay", "decay_fraction"]
      where Int.random(in: 0..<5, using: &random) == 0 {
        members[key] = .number(Double(Int.random(in: 0...4, using: &random)) / 2)
      }
      return .object(members)
    }
  }

  private func wild(_ random: inout SplitMix) -> JSON {
    [
      .null, true, .integer(.max), .integer(.min), .number(.greatestFiniteMagnitude), .number(5e-324), -0.0, "",
      "\u{7F}",
      [], [[], [1, 2]], [:], ["kind": [:]], ["kind": "piecewise", "knots": [[1, 2], [1, 2]]],
      .string(String(repeating: "a", count: 500)),
    ].randomElement(using: &random)!
  }

  @Test("random requests are read and kept, or refused with places", arguments: OptimizerName.allCases)
  func random(_ name: OptimizerName) {
    var random = SplitMix(state: 5)
    var accepted = 0
    for _ in 0..<400 {
      var members: [String: JSON] = ["name": .string(name.rawValue)]
      for option in name.options where Int.random(in: 0..<5, using: &random) == 0 {
        let key = ([option.key] + option.aliases).randomElement(using: &random)!
        members[key] = value(option, &random)
      }
      switch Int.random(in: 0..<12, using: &random) {
      case 0: members[members.keys.sorted().randomElement(using: &random)!] = wild(&random)
      case 1: members["version"] = [.integer(3), 0, "1", .null].randomElement(using: &random)!
      case 2: members["x~/y"] = wild(&random)
      default: break
      }
      if check(.object(members)) { accepted += 1 }
    }
    #expect(accepted > 20 && accepted < 400, "\(accepted)")
  }

  @Test("damaged texts are refused or read alike")
  func damaged() {
    let seeds = [
      #"{"name":"adam","lr":0.01,"b1":0.5,"schedule":{"kind":"piecewise","knots":[[0,1],[10,0.5]],"warmup_steps":2}}"#,
      #"{"name":"mezo","samples":4,"rule":"adam","weight_decay":1e-3,"decay_vectors":true,"accumulation":2}"#,
      #"{"name":"celo","version":2,"clip_norm":1.5,"updates_max":150000}"#,
    ].map { Array($0.utf8) }
    var random = SplitMix(state: 9)
    var (parsed, accepted) = (0, 0)
    for _ in 0..<30_000 {
      var bytes = seeds.randomElement(using: &random)!
      for _ in 0..<Int.random(in: 1...3, using: &random) {
        let place = Int.random(in: 0..<bytes.count, using: &random)
        switch Int.random(in: 0..<3, using: &random) {
        case 0: bytes[place] = UInt8.random(in: 0x20...0x7E, using: &random)
        case 1: bytes.remove(at: place)
        default: bytes.insert(bytes.randomElement(using: &random)!, at: place)
        }
      }
      guard let json = try? JSON.parse(bytes) else { continue }
      parsed += 1
      if check(json) { accepted += 1 }
    }
    #expect(parsed > 1000 && accepted > 100 && accepted < parsed, "\(accepted) of \(parsed)")
  }

  @Test("anything but an object with a known name is told so")
  func shape() {
    for json: JSON in [.null, 1, "adam", [], ["name"]] { #expect(read(json).1.map(\.path) == ["/optimizer"]) }
    for json: JSON in [[:], ["name": 3], ["name": "Adam "], ["name": "theta"]] {
      #expect(read(json).1.map(\.path) == ["/optimizer/name"])
    }
    #expect(read(["name": "adam", "version": 1]).1.map(\.path) == ["/optimizer/version"])
    #expect(read(["name": "celo", "version": 0]).1.map(\.path) == ["/optimizer/version"])
    #expect(read(["name": "celo", "learning_rate": 1]).1.map(\.path) == ["/optimizer/learning_rate"])
  }

  @Test("a rate that was not given is stored as it was when the job was made")
  func storedRate() {
    #expect(read(["name": "adam"]).0?.json == ["name": "adam", "learning_rate": 0.001])
    #expect(read(["name": "celo"]).0?.json == ["name": "celo"])
  }
}
