// Clients that other people's generators make from openapi.yaml, unedited, against a real server; and schemathesis, which
// sends what the description allows and forbids and looks at the answers. The drivers are in Tests/GeneratedClients.
import Contract
import Foundation
import Testing

/// The tools that scripts/test fetches from PyPI, and those that Debian has.
private struct Generators {
  /// Where the environment's programs are.
  let bin: URL
  let environment: [String: String]

  static let sources = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("GeneratedClients")
  static let description = sources.deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("openapi/openapi.yaml")

  /// Nil where there are none; the tests that need them then say so and are skipped.
  static let here = Generators()

  private init?() {
    let venv = Self.sources.deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent(".build/clients-venv")
    bin = venv.appendingPathComponent("bin")
    let tools = ["openapi-python-client", "openapi-generator-cli", "schemathesis", "python"]
    guard tools.allSatisfy({ FileManager.default.isExecutableFile(atPath: venv.path + "/bin/" + $0) }) else {
      return nil
    }
    var environment = Executable.environment
    environment["PATH"] = bin.path + ":" + (environment["PATH"] ?? "/usr/bin:/bin")
    self.environment = environment
  }

  static var hasTypeScript: Bool {
    ["tsc", "node"].allSatisfy { tool in
      (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").contains {
        FileManager.default.isExecutableFile(atPath: "\($0)/\(tool)")
      }
    }
  }

  /// Runs a tool to its end.
  func run(_ arguments: [String], in folder: URL, _ more: [String: String] = [:]) throws -> Executable.Outcome {
    try Executable.run(
      arguments, program: "/usr/bin/env", environment: environment.merging(more) { $1 }, in: folder)
  }

  /// Operations of the description.
  static func operations() throws -> Set<String> {
    let text = try String(contentsOf: description, encoding: .utf8)
    return Set(text.matches(of: /(?m)^ +operationId: (\w+)$/).map { String($0.1) })
  }

  /// The names that a pattern's first group finds in the files of a folder.
  static func names(_ pattern: Regex<(Substring, Substring)>, in folder: URL, ending: String) throws -> [String] {
    let files = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil)
    return try (files?.allObjects as? [URL] ?? []).filter { $0.path.hasSuffix(ending) }.flatMap { file in
      try String(contentsOf: file, encoding: .utf8).matches(of: pattern).map { String($0.1) }
    }
  }
}

@Suite(.enabled(if: Generators.here != nil, "no generators from PyPI here; clients are not generated"))
struct GeneratedClientTests {
  /// What a driver says it has seen.
  private func check(_ outcome: Executable.Outcome) throws {
    #expect(outcome.status == 0, "\(outcome)")
    guard outcome.status == 0 else { return }
    let seen = try outcome.json()
    #expect(seen["steps"]?.integer == 40 && seen["curve"]?.integer == 40, "\(outcome)")
    #expect(seen["job"]?.string?.hasPrefix("job_") == true && (seen["bytes"]?.integer ?? 0) > 300, "\(outcome)")
  }

  @Test("a Python client made by openapi-python-client has every operation and does the main job")
  func python() throws {
    let generators = try #require(Generators.here), folder = try Folder()
    let package = folder.file("trainyard_client")
    let made = try generators.run(
      [
        "openapi-python-client", "generate", "--path", Generators.description.path, "--output-path", package.path,
        "--meta", "none", "--config", Generators.sources.appendingPathComponent("openapi-python-client.yaml").path,
      ], in: folder.url)
    #expect(made.status == 0, "\(made)")
    // It says one line, and more where it leaves something out.
    #expect(made.output.split(separator: "\n").count == 1 && made.errors.isEmpty, "\(made)")
    let operations = try Generators.names(
      /(?m)^def (sync_detailed)\(/, in: package.appendingPathComponent("api"), ending: ".py")
    #expect(try operations.count == Generators.operations().count)

    let server = try TestServer(workers: 1)
    try check(
      generators.run(
        [
          "python", Generators.sources.appendingPathComponent("main.py").path, server.url.absoluteString,
          folder.url.path,
        ], in: folder.url, ["KEY": server.adminKey]))
  }

  @Test(
    "a TypeScript client made by openapi-generator compiles, has every operation and does the main job",
    .enabled(if: Generators.hasTypeScript, "no node and tsc here; the TypeScript client is not tried"))
  func typeScript() throws {
    let generators = try #require(Generators.here), folder = try Folder()
    let client = folder.file("client")
    let made = try generators.run(
      [
        "openapi-generator-cli", "generate", "-i", Generators.description.path, "-g", "typescript-fetch", "-o",
        client.path,
      ], in: folder.url)
    #expect(made.status == 0, "\(made)")
    // Two warnings are about the generator itself: it says them of the smallest description with a named schema.
    let complaints = (made.output + made.errors).split(separator: "\n").filter {
      ($0.contains(" WARN ") || $0.contains(" ERROR "))
        && !$0.contains("OpenAPI 3.1 support is still in beta") && !$0.hasSuffix("Failed to get the schema name: null")
    }
    #expect(complaints.isEmpty, "\(complaints)")
    let operations = try Generators.names(
      /(?m)^    async (\w+)Raw\(/, in: client.appendingPathComponent("apis"), ending: ".ts")
    #expect(try Set(operations.map { $0.lowercased() }) == Set(Generators.operations().map { $0.lowercased() }))

    try FileManager.default.copyItem(
      at: Generators.sources.appendingPathComponent("main.ts"), to: folder.file("main.ts"))
    let compiled = try generators.run(
      ["tsc", "--target", "es2020", "--module", "commonjs", "--lib", "es2020,dom", "--outDir", "out", "main.ts"],
      in: folder.url)
    #expect(compiled.status == 0, "\(compiled)")
    let server = try TestServer(workers: 1)
    try check(
      generators.run(
        ["node", "out/main.js", server.url.absoluteString], in: folder.url, ["KEY": server.adminKey]))
  }

  @Test("schemathesis finds no request that is answered against the description")
  func schemathesis() throws {
    let generators = try #require(Generators.here), folder = try Folder()
    let server = try TestServer(workers: 0)
    // More examples of each operation, and more time for them, where somebody asks for it.
    let examples = ProcessInfo.processInfo.environment["SCHEMATHESIS_EXAMPLES"] ?? "4"
    func run(_ phases: String, _ more: String...) throws {
      let outcome = try generators.run(
        [
          "schemathesis", "--config-file", Generators.sources.appendingPathComponent("schemathesis.toml").path, "run",
          Generators.description.path, "--url", server.url.absoluteString, "--phases", phases, "--max-examples",
          examples, "--seed", "1",
        ] + more, in: folder.url, ["KEY": server.adminKey])
      #expect(outcome.status == 0, "\(phases): \(outcome)")
      let operations = try Generators.operations().count
      // What would end the life of the key itself is left out: its revocation and its rotation.
      #expect(outcome.output.contains("Selected: \(operations - 2)/\(operations)"), "\(phases): \(outcome)")
    }
    try run("examples,coverage")
    try run("fuzzing,stateful")
    #expect(try server.client().isReady())
    #expect(!server.log.contains(" critical "), "\(server.log)")
  }
}
