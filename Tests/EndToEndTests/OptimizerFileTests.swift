// A learned optimizer's weights out of a server and in again through the command line, in both forms.
import Contract
import Foundation
import Testing

@Suite(.serialized)
struct OptimizerFileTests {
  @Test("weights are exported as flax, converted, imported, released, and train a job")
  func roundTrip() throws {
    let server = try TestServer()
    func answer(_ arguments: String...) throws -> JSON {
      let outcome = try Executable.run(arguments + ["--json", "--data", server.data.path])
      #expect(outcome.status == 0, "\(outcome)\n\(server.log)")
      return try outcome.json()
    }
    let celos = try #require(answer("optimizer", "list")["items"]?.array).filter { $0["name"] == "celo" }
    let shipped = try #require(celos.max { $0["version"]?.integer ?? 0 < $1["version"]?.integer ?? 0 })
    let newest = try #require(shipped["version"]?.integer)
    let id = try #require(shipped["id"]?.string)
    let flax = server.folder.file("theta.state"), own = server.folder.file("celo.safetensors")
    _ = try answer("optimizer", "export", id, "--format", "flax", "--out", flax.path)
    _ = try answer("optimizer", "export", id, "--out", own.path)

    // Converting needs no server, and gives the same bytes.
    let converted = server.folder.file("converted.state")
    let outcome = try Executable.run([
      "optimizer", "export", "--theta", own.path, "--format", "flax", "--out", converted.path,
    ])
    #expect(outcome.status == 0, "\(outcome)")
    #expect(try Data(contentsOf: converted) == Data(contentsOf: flax))

    let made = try answer(
      "optimizer", "import", flax.path, "--name", "Celo", "--provenance", "licence=MIT", "--provenance",
      "horizon_steps=50", "--state", "released")
    #expect(made["state"] == "released" && made["version"] == .integer(newest + 1))
    #expect(made["parameters"] == shipped["parameters"])
    #expect(made["provenance"]?["licence"] == "MIT" && made["provenance"]?["source_format"] == "flax")
    let again = server.folder.file("again.state")
    let newID = try #require(made["id"]?.string)
    _ = try answer("optimizer", "export", newID, "--format", "flax", "--out", again.path)
    #expect(try Data(contentsOf: again) == Data(contentsOf: flax))

    let added = try answer(
      "dataset", "add", server.folder.write("flowers.csv", SampleData.csv(rows: 300)), "--name", "flowers")
    let dataset = try #require(added["id"]?.string)
    let followed = try server.command(
      "job", "submit", "--dataset", dataset, "--steps", "100", "--hidden", "8", "--optimizer", "celo", "--follow",
      "--json")
    #expect(followed.status == 0, "\(followed)\n\(server.log)")
    let job = try JSON.parse(String(try #require(followed.output.split(separator: "\n").last)))
    #expect(job["optimizer_id"]?.string == newID)

    #expect(try answer("optimizer", "deprecate", newID)["state"] == "deprecated")
    #expect(try answer("optimizer", "release", newID)["state"] == "released")
    let cut = try server.folder.write("cut.state", Data(contentsOf: flax).prefix(1000))
    let rejected = try server.command("optimizer", "import", cut, "--name", "celo")
    #expect(rejected.status == 5 && rejected.errors.contains("byte"), "\(rejected)")
  }

  @Test("every optimizer is listed with its options, without a server")
  func kinds() throws {
    let outcome = try Executable.run(["optimizer", "kinds", "--json"])
    #expect(outcome.status == 0, "\(outcome)")
    let names = try #require(outcome.json().array).compactMap { $0["name"]?.string }
    #expect(names == OptimizerName.allCases.map(\.rawValue))
    #expect(try Executable.run(["optimizer", "kinds", "AdafacMLPLOpt"]).output.contains("small_fc  (learned)"))
  }

  @Test("a task is run beyond its horizon in each of the ways")
  func continuation() throws {
    var finals: [Double] = []
    for way in ["naive", "increase", "reset"] {
      let outcome = try Executable.run([
        "task", "run", "Quadratic", "--optimizer", "celo", "--steps", "60", "--horizon-steps", "20", "--continuation",
        way,
        "--json",
      ])
      #expect(outcome.status == 0, "\(outcome)")
      let facts = try outcome.json()
      #expect(facts["horizonSteps"] == 20 && facts["continuation"]?.string == way)
      finals.append(try #require(facts["finalLoss"]?.number))
    }
    // The optimizer is told something else in each, and shows it.
    #expect(Set(finals).count == 3, "\(finals)")
  }
}
