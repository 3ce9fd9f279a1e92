// What many end-to-end tests do with a server: add a dataset, submit a job, read the weights it ended with.
import Client
import Contract
import Foundation
import Testing

extension TestServer {
  /// Adds files as a dataset and returns its id.
  func add(_ files: [String], _ more: [String] = []) throws -> String {
    let added = try Executable.run(["dataset", "add"] + files + more + ["--json", "--data", data.path])
    #expect(added.status == 0, "\(added)")
    return try #require(added.json()["id"]?.string)
  }

  /// Submits a job and returns its id.
  func submit(_ dataset: String, steps: Int, _ more: [String] = []) throws -> String {
    let made = try Executable.run(
      ["job", "submit", "--dataset", dataset, "--steps", String(steps), "--json", "--data", data.path] + more)
    #expect(made.status == 0, "\(made)")
    return try #require(made.json()["id"]?.string)
  }

  /// The tensors of a job's model with their names and bytes; what the file says of the job itself is left out.
  func weights(_ id: String) throws -> [String: Data] {
    let file = folder.file("\(id).safetensors")
    _ = try client().downloadModel(job: id, to: file)
    return try TrainingOutcome.tensors(of: Data(contentsOf: file))
  }
}
