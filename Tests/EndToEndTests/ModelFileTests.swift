// A trained model as an ONNX file, out through the command line and in again.
import Contract
import Foundation
import Testing

@Suite(.serialized)
struct ModelFileTests {
  @Test("a model that was trained, downloaded as ONNX and uploaded again is trained on from where it was")
  func roundTrip() throws {
    let server = try TestServer()
    let added = try server.command(
      "dataset", "add", server.folder.write("flowers.csv", SampleData.csv(rows: 600)), "--name", "flowers", "--json")
    let dataset = try #require(added.json()["id"]?.string)
    func train(_ model: String...) throws -> JSON {
      let followed = try Executable.run(
        [
          "job", "submit", "--dataset", dataset, "--steps", "200", "--batch-size", "32", "--optimizer", "adam",
          "--follow",
          "--json", "--data", server.data.path,
        ] + model)
      #expect(followed.status == 0, "\(followed)\n\(server.log)")
      return try JSON.parse(String(try #require(followed.output.split(separator: "\n").last)))
    }
    let first = try train("--hidden", "16")
    let file = server.folder.file("model.onnx")
    let id = try #require(first["id"]?.string)
    let download = try server.command("job", "download", id, "--format", "onnx", "--output", file.path, "--json")
    #expect(download.status == 0, "\(download)")

    let uploaded = try server.command("model", "add", "--name", "again", "--onnx", file.path, "--json")
    #expect(uploaded.status == 0, "\(uploaded)\n\(server.log)")
    let model = try uploaded.json()
    #expect(model["state"] == "ready" && model["file"]?["imported"]?["producer"] == "trainyard")
    let second = try train("--model-id", #require(model["id"]?.string))
    let before = try #require(first["result"]?["held_out_loss"]?.number)
    let after = try #require(second["result"]?["held_out_loss"]?.number)
    #expect(after < before, "\(before), then \(after)")

    let broken = try server.folder.write("broken.onnx", Array("no model".utf8))
    let rejected = try server.command("model", "add", "--name", "broken", "--onnx", broken)
    #expect(rejected.status != 0 && rejected.errors.contains("was rejected"), "\(rejected)")
    #expect(try server.command("model", "list").output.contains("rejected"))
  }
}
