// Tests for what commands make of their arguments before any server is asked.
import ArgumentParser
import Contract
import Foundation
import Testing

@testable import trainyard

struct CommandTests {
  @Test(
    "a file's name tells its format",
    arguments: [
      ("flowers.csv", "csv"), ("flowers.CSV.gz", "csv"), ("train-images-idx3-ubyte.gz", "idx"),
      ("t10k-labels.idx1-ubyte", "idx"), ("images.idx", "idx"), ("notes.txt", "text"), ("notes.pdf", nil),
      ("lines.jsonl.gz", "jsonl"), ("arrays.npz", "npz"), ("x.npy", "npy"), ("pets.zip", "images"),
      ("pets.tar.gz", "images"), ("idx3", nil),
    ] as [(String, String?)])
  func formats(name: String, format: String?) {
    #expect(DatasetCommand.Add.format(of: "/some/folder/\(name)") == format)
  }

  @Test("a model is an mlp of given widths, a file, or a stored one, and never two of them")
  func models() throws {
    func members(_ arguments: [String]) throws -> [String: JSON] { try ModelOptions.parse(arguments).members() }
    #expect(try members([]) == ["model": ["preset": "mlp"]])
    #expect(
      try members(["--hidden", "64, 32", "--activation", "tanh"])
        == ["model": ["preset": "mlp", "hidden": [64, 32], "activation": "tanh"]])
    #expect(try members(["--hidden", ""]) == ["model": ["preset": "mlp", "hidden": []]])
    #expect(try members(["--model-id", "mdl_x"]) == ["model_id": "mdl_x"])
    let wrong = #expect(throws: CommandFailure.self) { try members(["--hidden", "64,wide"]) }
    #expect(wrong?.status == .usage)
    #expect(throws: CommandFailure.self) { try members(["--hidden", "64", "--model-id", "mdl_x"]) }
  }

  @Test("keys get every scope but those of administrators, unless scopes are named")
  func scopes() throws {
    let administrators: Set<Scope> = [
      .keysAdmin, .optimizersAdmin, .campaignsAdmin, .projectsAdmin, .auditRead, .metricsRead,
    ]
    #expect(try KeyCommand.Create.scopes([]) == Set(Scope.allCases).subtracting(administrators))
    #expect(try KeyCommand.Create.scopes(["jobs:read", "keys:admin"]) == [.jobsRead, .keysAdmin])
    #expect(throws: CommandFailure.self) { try KeyCommand.Create.scopes(["everything"]) }
  }

  @Test("what people read of a job has its outcome and its measures")
  func jobText() {
    let job: JSON = [
      "id": "job_1", "name": "first", "state": "succeeded", "reason": "budget_reached", "step": 10, "steps": 10,
      "loss": 0.5, "attempt": 1, "optimizer": ["name": "auto"], "optimizer_id": "opt_1", "model": ["preset": "mlp"],
      "dataset": "ds_1", "seed": 0, "message": nil,
      "result": ["train_loss": 0.51, "held_out_loss": 0.6, "held_out_accuracy": 0.8765],
    ]
    let text = JobCommand.Get.text(job)
    #expect(text.contains("job_1  first  succeeded (budget_reached)"))
    #expect(text.contains("training loss 0.510, held-out loss 0.600, held-out accuracy 87.65 %"))
  }
}
