// A short run of every fuzzed parser, in processes of their own; `scripts/fuzz` runs them for long.
import Foundation
import Testing

struct ParserFuzzTests {
  /// Beside the test bundle, where the build puts every program of the package.
  private func run(_ arguments: [String]) throws -> (status: Int32, output: String) {
    let process = Process()
    process.executableURL = Bundle.main.executableURL!.deletingLastPathComponent().appending(path: "ParserFuzz")
    process.arguments = arguments
    let output = Pipe()
    process.standardOutput = output
    process.standardError = output
    try process.run()
    let bytes = try output.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: bytes, as: UTF8.self))
  }

  @Test("two thousand damaged inputs of each format crash no parser and come to known errors only")
  func all() throws {
    let (status, output) = try run(["all", "--inputs", "2000", "--seed", String(UInt32.random(in: 0 ... .max))])
    #expect(status == 0, "\(output)")
    #expect(output.split(separator: "\n").count >= 13, "\(output)")
  }

  @Test("an unknown parser is refused with the names of all")
  func unknown() throws {
    let (status, output) = try run(["nonsense"])
    #expect(status == 2 && output.contains("json") && output.contains("npz"))
  }
}
