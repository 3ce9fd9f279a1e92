// From files to a trained model through the command line, with interruptions of every kind on the way.
import Client
import Contract
import Foundation
import Glibc
import Testing

@Suite(.serialized)
struct TrainingTests {
  private func add(_ server: TestServer, _ files: [String], _ more: String...) throws -> String {
    try server.add(files, more)
  }

  private func submit(_ server: TestServer, _ dataset: String, steps: Int, _ more: [String] = []) throws -> String {
    try server.submit(dataset, steps: steps, more)
  }

  @Test("a table is uploaded, trained on, and the model comes back with the hash it was stored under")
  func table() throws {
    let server = try TestServer()
    let dataset = try add(server, [server.folder.write("flowers.csv", SampleData.csv(rows: 600))], "--name", "flowers")
    let followed = try server.command(
      "job", "submit", "--dataset", dataset, "--steps", "300", "--hidden", "16", "--batch-size", "32", "--name",
      "first",
      "--tag", "kind=test", "--follow")
    #expect(followed.status == 0, "\(followed)\n\(server.log)")
    #expect(followed.output.contains("held-out accuracy"))
    let job = try #require(try server.client().jobs().first)
    #expect(job["state"] == "succeeded" && job["step"] == 300 && job["name"] == "first")
    #expect(job["optimizer_id"]?.string != nil, "a job says which learned optimizer trained it")
    let id = try #require(job["id"]?.string)
    let accuracy = try #require(job["result"]?["held_out_accuracy"]?.number)
    #expect(accuracy > 0.9, "three kinds that follow from two numbers are learned")

    let csv = try server.command("job", "curve", id, "--csv", "--points", "1000")
    let lines = csv.output.split(separator: "\n")
    #expect(lines.first == "step,train_loss" && lines.count == 301)
    let drawn = try server.command("job", "curve", id)
    #expect(
      drawn.status == 0 && drawn.output.contains("training loss") || drawn.output.contains("train loss"), "\(drawn)")

    let file = server.folder.file("model.safetensors")
    let download = try server.command("job", "download", id, "--output", file.path, "--json")
    #expect(download.status == 0, "\(download)")
    let bytes = try Data(contentsOf: file)
    let headerBytes = bytes.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
    let header = try JSON.parse(bytes.dropFirst(8).prefix(headerBytes))
    // Three inputs of which one is a colour of two; 16 hidden units; three kinds.
    #expect(header.text.contains("[16,3]") || header.text.contains("[3,16]"), "\(header.text)")

    let events = try server.command("job", "events", id, "--json")
    let sequence = try #require(events.json()["items"]?.array).compactMap { $0["seq"]?.integer }
    #expect(sequence == Array(1...sequence.count), "events are numbered without gaps")
  }

  @Test("IDX files given one by one become one dataset, and hand-designed optimizers train on it too")
  func images() throws {
    let server = try TestServer()
    let (images, labels) = SampleData.idx(rows: 800)
    let dataset = try add(
      server, [server.folder.write("images.idx3-ubyte", images), server.folder.write("labels.idx1-ubyte", labels)],
      "--format", "idx")
    let shown = try server.command("dataset", "get", dataset)
    #expect(shown.output.contains("8 classes"), "\(shown)")
    #expect(try server.command("dataset", "preview", dataset).status == 0)
    for optimizer in ["auto", "adam"] {
      let followed = try server.command(
        "job", "submit", "--dataset", dataset, "--steps", "200", "--hidden", "32", "--optimizer", optimizer, "--follow",
        "--json")
      #expect(followed.status == 0, "\(followed)")
      let last = try JSON.parse(String(try #require(followed.output.split(separator: "\n").last)))
      #expect(try #require(last["result"]?["held_out_accuracy"]?.number) > 0.9, "\(optimizer): \(last.text)")
    }
  }

  @Test("a table with a fault is rejected with exit code 5 and the fault's row")
  func rejected() throws {
    let server = try TestServer()
    let csv = try server.folder.write("bad.csv", Array("a,b\n1,2\n3,4\nfive,6,7\n".utf8))
    let outcome = try server.command("dataset", "add", csv)
    #expect(outcome.status == 5, "\(outcome)")
    #expect(outcome.output.contains("4"), "the fault is on line 4:\n\(outcome)")
    let dataset = try #require(try server.client().datasets().first?["id"]?.string)
    let refused = try server.command("job", "submit", "--dataset", dataset, "--steps", "10")
    #expect(refused.status == 1, "\(refused)")
  }

  @Test("a job that is cancelled ends the one who follows it with exit code 5, and has no model")
  func cancel() throws {
    let server = try TestServer()
    let dataset = try add(server, [server.folder.write("flowers.csv", SampleData.csv(rows: 600))])
    let id = try submit(server, dataset, steps: 100_000_000, ["--optimizer", "adam"])
    let client = try server.client()
    #expect(try eventually(seconds: 60) { try client.job(id)["state"] == "running" })
    let early = try server.command("job", "follow", id, "--timeout", "1")
    #expect(early.status == 6, "\(early)")
    #expect(try server.command("job", "cancel", id).status == 0)
    let followed = try server.command("job", "follow", id)
    #expect(followed.status == 5 && followed.errors.contains("cancelled"), "\(followed)")
    #expect(try server.command("job", "download", id).status == 1)
  }

  @Test(
    "a worker killed in the middle changes neither a bit of the model nor a point of the curve",
    arguments: ["adam", "auto"])
  func killedWorker(optimizer: String) throws {
    let server = try TestServer(environment: ["TRAINYARD_LEASE_SECONDS": "2", "TRAINYARD_CHECKPOINT_SECONDS": "0.5"])
    let client = try server.client()
    let dataset = try add(server, [server.folder.write("flowers.csv", SampleData.csv(rows: 600))])
    let steps = 60_000
    let options = ["--hidden", "32", "--seed", "7", "--optimizer", optimizer]
    let undisturbed = try submit(server, dataset, steps: steps, options)
    #expect(try server.command("job", "follow", undisturbed).status == 0)

    let disturbed = try submit(server, dataset, steps: steps, options)
    var killed = 0
    for target in [steps / 10, steps / 3] {
      _ = try eventually(seconds: 120) { try (client.job(disturbed)["step"]?.integer ?? 0) >= target }
      if try client.job(disturbed)["state"] == "running", let worker = server.workers.first {
        kill(worker, SIGKILL)
        killed += 1
      }
    }
    #expect(killed > 0, "the job was over before a worker could be killed: make it longer")
    #expect(try server.command("job", "follow", disturbed, "--timeout", "240").status == 0, "\(server.log)")
    #expect(try (client.job(disturbed)["attempt"]?.integer ?? 0) > 1)

    #expect(try server.weights(undisturbed) == server.weights(disturbed))
    for series in CurveSeries.allCases {
      let query = CurveQuery(pointsMax: 100_000, sampling: .none)
      let first = try client.curveCSV(job: undisturbed, series: series, query: query)
      #expect(try client.curveCSV(job: disturbed, series: series, query: query) == first, "\(series)")
      if series == .trainLoss { #expect(first.split(separator: "\n").count == steps + 1) }
    }
  }

  @Test("a server stopped in the middle goes on where it was after the next start")
  func restartInTheMiddle() throws {
    let server = try TestServer()
    let dataset = try add(server, [server.folder.write("flowers.csv", SampleData.csv(rows: 600))])
    let id = try submit(server, dataset, steps: 40_000, ["--hidden", "32"])
    let client = try server.client()
    #expect(try eventually(seconds: 60) { try (client.job(id)["step"]?.integer ?? 0) > 0 })
    #expect(server.stop() == 0, "\(server.log)")
    let again = try TestServer(folder: server.folder)
    let followed = try again.command("job", "follow", id, "--timeout", "240")
    #expect(followed.status == 0, "\(followed)\n\(again.log)")
    let attempts = try again.client().attempts(job: id)
    #expect(attempts.count >= 1)
    if attempts.count > 1 {
      #expect(attempts[0]["state"] == "released", "stopping gives the lease back: \(attempts[0].text)")
      #expect((attempts[1]["first_step"]?.integer ?? 0) > 0, "the next attempt goes on from a checkpoint")
    }
  }

  @Test(
    "a small network learns Fashion-MNIST from Debian's files with no learning rate to choose",
    .enabled(if: SampleData.hasFashion, "install dataset-fashion-mnist"))
  func fashion() throws {
    let server = try TestServer()
    let dataset = try add(server, SampleData.fashionFiles, "--name", "fashion-mnist")
    let shown = try server.command("dataset", "get", dataset, "--json").json()
    #expect(shown["schema"]?["train_rows"] == 60_000 && shown["schema"]?["held_out_rows"] == 10_000)
    let followed = try server.command(
      "job", "submit", "--dataset", dataset, "--steps", "150", "--hidden", "64", "--follow", "--json")
    #expect(followed.status == 0, "\(followed)")
    let job = try JSON.parse(String(try #require(followed.output.split(separator: "\n").last)))
    // Ten classes of 1,000 each: guessing gives 0.1.
    #expect(try #require(job["result"]?["held_out_accuracy"]?.number) > 0.6, "\(job.text)")
  }
}
