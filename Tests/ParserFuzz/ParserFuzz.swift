// Feeds damaged inputs to the parsers of strangers' bytes: `ParserFuzz <parser|all> [--inputs N] [--seed S] [--first N]`.
//
// Each parser runs in a process of its own, so that a crash, a hang or growing memory is found with the input that made
// it. FuzzedParser.swift lists the parsers, Mutator.swift damages their seeds. `scripts/fuzz` runs all of them for long.
import Foundation

@main
enum ParserFuzz {
  static func main() throws {
    var names: [String] = []
    var run = FuzzRun()
    var progress: String?
    var arguments = CommandLine.arguments.dropFirst()
    while let argument = arguments.popFirst() {
      switch argument {
      case "--inputs": run.inputs = number(&arguments, argument)
      case "--seed": run.seed = UInt64(number(&arguments, argument))
      case "--first": run.first = number(&arguments, argument)
      case "--progress": progress = arguments.popFirst()
      default: names.append(argument)
      }
    }
    let chosen = names == ["all"] ? FuzzedParser.all : FuzzedParser.all.filter { names.contains($0.name) }
    guard !chosen.isEmpty, names == ["all"] || chosen.count == names.count else {
      fail(
        "usage: ParserFuzz <parser|all> [--inputs N] [--seed S] [--first N]\nparsers: "
          + FuzzedParser.all.map(\.name).joined(separator: ", "))
    }
    if let progress {
      try run.here(chosen[0], progress: progress)
      return
    }
    var failed = false
    for parser in chosen where try !run.elsewhere(parser) { failed = true }
    if failed { exit(1) }
  }

  private static func number(_ arguments: inout ArraySlice<String>, _ name: String) -> Int {
    guard let number = arguments.popFirst().flatMap(Int.init), number >= 0 else { fail("\(name) takes a number") }
    return number
  }

  static func fail(_ message: String) -> Never {
    FileHandle.standardError.write(Data((message + "\n").utf8))
    exit(2)
  }
}

/// How many inputs, and which.
struct FuzzRun {
  var inputs = 10_000
  var seed: UInt64 = 1
  /// The first input; each depends on the seed and its number alone.
  var first = 0

  /// How long one input may take.
  private static let hangSeconds = 20.0
  /// How much the memory may grow over nine tenths of the inputs.
  private static let growthBytesMax = 48 << 20

  /// Runs a parser in a child process; returns whether it stood.
  func elsewhere(_ parser: FuzzedParser) throws -> Bool {
    let progress = FileManager.default.temporaryDirectory.appending(path: "fuzz-\(UUID().uuidString)")
    try Data(count: 8).write(to: progress)
    defer { try? FileManager.default.removeItem(at: progress) }
    let child = Process()
    child.executableURL = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
    child.arguments = [
      parser.name, "--inputs", String(inputs), "--seed", String(seed), "--first", String(first), "--progress",
      progress.path,
    ]
    let started = ContinuousClock.now
    try child.run()
    var seen = (input: -1, since: ContinuousClock.now)
    while child.isRunning {
      Thread.sleep(forTimeInterval: 0.02)
      let input = try Self.input(progress)
      if input != seen.input { seen = (input, .now) }
      if ContinuousClock.now - seen.since > .seconds(Self.hangSeconds) {
        print("\(parser.name): input \(input) takes longer than \(Self.hangSeconds) s; \(again(parser, input))")
        kill(child.processIdentifier, SIGKILL)
        child.waitUntilExit()
        return false
      }
    }
    if child.terminationReason == .exit, child.terminationStatus == 0 {
      print("\(parser.name): \(inputs) inputs in \(ContinuousClock.now - started)")
      return true
    }
    if child.terminationReason == .uncaughtSignal {
      let input = try Self.input(progress)
      print("\(parser.name): crashed with signal \(child.terminationStatus) at input \(input); \(again(parser, input))")
    }
    return false
  }

  private func again(_ parser: FuzzedParser, _ input: Int) -> String {
    "again with: ParserFuzz \(parser.name) --seed \(seed) --first \(input) --inputs 1"
  }

  private static func input(_ progress: URL) throws -> Int {
    try Data(contentsOf: progress).withUnsafeBytes { $0.loadUnaligned(as: Int.self) }
  }

  /// Runs a parser in this process, which may well end by it; the number of each input goes to the file `progress`.
  func here(_ parser: FuzzedParser, progress: String) throws {
    let descriptor = open(progress, O_RDWR)
    guard descriptor >= 0, let page = mmap(nil, 8, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0),
      page != MAP_FAILED
    else { ParserFuzz.fail("\(progress) cannot be mapped") }
    let scratch = try FuzzScratch()
    defer { scratch.remove() }
    for seed in parser.seeds {
      do { try parser.parse(seed, scratch) } catch {
        ParserFuzz.fail("\(parser.name): refuses its own seed: \(error)")
      }
    }
    let mutator = Mutator(parser)
    var warmBytes = 0
    for input in first..<(first + inputs) {
      page.storeBytes(of: input, as: Int.self)
      let bytes = mutator.input(input, seed: seed)
      do { try parser.parse(bytes, scratch) } catch  where parser.isFault(error) {
        // Refusing is what is expected.
      } catch {
        ParserFuzz.fail("\(parser.name): input \(input) throws \(type(of: error)): \(error); \(again(parser, input))")
      }
      if input == first + inputs / 10 { warmBytes = Self.residentBytes() }
    }
    let growth = Self.residentBytes() - warmBytes
    guard growth <= Self.growthBytesMax || warmBytes == 0 else {
      ParserFuzz.fail("\(parser.name): memory grew by \(growth >> 20) MiB over \(inputs) inputs")
    }
  }

  private static func residentBytes() -> Int {
    let words = (try? String(contentsOfFile: "/proc/self/statm", encoding: .ascii))?.split(separator: " ") ?? []
    return words.count > 1 ? (Int(words[1]) ?? 0) * Int(sysconf(Int32(_SC_PAGESIZE))) : 0
  }
}
