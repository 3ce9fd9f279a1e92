// The tables of optimizers in the documentation, held against the program.
import Contract
import Foundation
import Testing

@testable import trainyard

struct OptimizerKindsTests {
  @Test("docs/optimizers.md has the tables of this build; scripts/optimizer-tables writes them")
  func documentation() throws {
    let package = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let text = try String(contentsOf: package.appending(path: "docs/optimizers.md"), encoding: .utf8)
    let parts = text.components(separatedBy: "<!-- kinds -->\n")
    let tables = try #require(parts.last?.components(separatedBy: "\n<!-- end of kinds -->").first)
    #expect(parts.count == 2)
    let ours = OptimizerKinds.markdown(OptimizerName.allCases)
    let lines = zip(tables.split(separator: "\n"), ours.split(separator: "\n"))
    let first = lines.first { $0 != $1 }
    #expect(tables == ours, "\(first.map { "\($0.0), expected \($0.1)" } ?? "other numbers of lines")")
  }

  @Test("what is told of an optimizer has every option, and a learned one's constants")
  func facts() {
    for name in OptimizerName.allCases {
      let facts = OptimizerKinds.facts(name)
      #expect(facts["options"]?.array?.count == name.options.count)
      #expect((facts["constants"] != nil) == (name.isLearned && name != .auto), "\(name.rawValue)")
      let text = OptimizerKinds.markdown([name])
      for option in name.options { #expect(text.contains("| `\(option.key)` |")) }
    }
  }
}
