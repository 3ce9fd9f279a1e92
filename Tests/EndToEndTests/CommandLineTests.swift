// The command line without a server: usage, settings, doctor, and what is said when nobody answers.
import Contract
import Foundation
import Testing

struct CommandLineTests {
  @Test("help and version are no failures")
  func help() throws {
    for arguments in [["--help"], ["--version"], ["job", "submit", "--help"]] {
      let outcome = try Executable.run(arguments)
      #expect(outcome.status == 0 && !outcome.output.isEmpty && outcome.errors.isEmpty, "\(outcome)")
    }
  }

  @Test(
    "wrong usage ends with exit code 2 and says what is wrong",
    arguments: [["bogus"], ["job", "get"], ["serve", "--bogus"]])
  func usage(arguments: [String]) throws {
    let outcome = try Executable.run(arguments)
    #expect(outcome.status == 2 && outcome.output.isEmpty && !outcome.errors.isEmpty, "\(outcome)")
  }

  @Test("all wrong settings are reported at once with exit code 2")
  func settings() throws {
    let outcome = try Executable.run(
      ["serve", "--data", "/tmp", "--listen", "nowhere"],
      environment: ["TRAINYARD_WORKERS": "many", "TRAINYARD_LOG": "loud"])
    #expect(outcome.status == 2, "\(outcome)")
    for name in ["--listen", "TRAINYARD_WORKERS", "TRAINYARD_LOG"] { #expect(outcome.errors.contains(name)) }
  }

  @Test("a server that is not there is named, with what to do")
  func unreachable() throws {
    let outcome = try Executable.run(["job", "list", "--url", "http://127.0.0.1:9"])
    #expect(outcome.status == 1)
    #expect(outcome.errors.contains("http://127.0.0.1:9") && outcome.errors.contains("trainyard serve"))
  }

  @Test("the doctor looks at this machine and finds what the tests themselves need")
  func doctor() throws {
    let folder = try Folder()
    let outcome = try Executable.run([
      "doctor", "--json", "--data", folder.file("data").path, "--listen", "127.0.0.1:0",
    ])
    #expect(outcome.status == 0, "\(outcome)")
    let checks = try #require(outcome.json()["checks"]?.array)
    let names = Set(checks.compactMap { $0["name"]?.string })
    #expect(names.isSuperset(of: ["PostgreSQL programs", "OpenBLAS", "processor", "data folder", "address"]))
    // Looking must not leave anything behind.
    #expect(!FileManager.default.fileExists(atPath: folder.file("data").path))
  }

  @Test("benchmarks of the store count what they did and leave nothing behind")
  func storeBenchmarks() throws {
    let folder = try Folder()
    let place = ["TMPDIR": folder.url.path]
    let queue = try Executable.run(["bench", "queue", "--jobs", "60", "--workers", "3", "--json"], environment: place)
    #expect(queue.status == 0, "\(queue)")
    let queued = try queue.json()
    #expect(queued["jobs"] == 60 && queued["lost"] == 0 && queued["doubled"] == 0, "\(queue)")
    #expect((queued["jobs_per_s"]?.number ?? 0) > 0, "\(queue)")
    let curve = try Executable.run(
      ["bench", "curve", "--points", "30000", "--commit-points", "1000", "--times", "2", "--json"], environment: place)
    #expect(curve.status == 0, "\(curve)")
    #expect((try curve.json()["ms"]?.number ?? 0) > 0, "\(curve)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path).isEmpty)
  }
}
