// `trainyard optimizer replay` as people call it: on the recordings that the tests keep, and on files that are wrong.
import Contract
import Foundation
import Testing

struct OptimizerReplayTests {
  /// A recording among the fixtures of the numeric tests.
  static func fixture(_ name: String) -> String {
    URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appending(path: "LearningTests/Fixtures/\(name).safetensors").path
  }

  @Test(
    "a recording is reproduced by the command",
    arguments: [
      ("adafac_mlp_lopt", "AdafacMLPLOpt"), ("adafac_mlp_lopt_h32", "small-fc"), ("hand_designed", "Adam"),
      ("hand_designed", "adam_optax"), ("hand_designed", "sgdm"),
    ])
  func recordings(file: String, optimizer: String) throws {
    let folder = try Folder()
    let out = folder.file("out.safetensors").path
    let outcome = try Executable.run([
      "optimizer", "replay", "--optimizer", optimizer, Self.fixture(file), "--out", out, "--deviation", "--json",
    ])
    #expect(outcome.status == 0, "\(outcome)")
    let worst = try #require(outcome.json()["deviation"]?.number)
    #expect(worst < 1)
    // The header alone is longer than nothing; what is in it the numeric tests look at.
    #expect(try Data(contentsOf: URL(filePath: out)).count > 1000)
  }

  @Test("another trajectory than the recorded one ends with exit code 1, and so do other constants")
  func deviation() throws {
    let outcome = try Executable.run([
      "optimizer", "replay", "--optimizer", "adam", "--config", #"{"learning_rate": 0.02}"#,
      Self.fixture("hand_designed"), "--deviation",
    ])
    #expect(outcome.status == 1 && outcome.errors.contains("times as far"), "\(outcome)")
  }

  @Test("what is wrong with the arguments or the files is said with exit code 2")
  func refusals() throws {
    let folder = try Folder()
    let path = Self.fixture("hand_designed")
    let cut = try folder.write("cut.safetensors", Data(contentsOf: URL(filePath: path)).dropLast(7))
    let noise = try folder.write("noise", [0x93, 1, 2])
    let out = folder.file("out").path
    let cases: [([String], String)] = [
      (["--optimizer", "nothing", path], "known are"),
      (["--optimizer", "adam", "--config", #"{"beta_3": 1}"#, path], "/beta_3: unknown field"),
      (["--optimizer", "adam", "--config", #"{"beta1": 2}"#, path], "/beta1"),
      (["--optimizer", "adam", cut], "safetensors"),
      (["--optimizer", "adam", folder.file("absent").path], "cannot be read"),
      (["--optimizer", "celo", path], "theta/*"),
      (["--optimizer", "celo", "--theta", noise, path], "noise"),
    ]
    for (arguments, says) in cases {
      let outcome = try Executable.run(["optimizer", "replay", "--out", out] + arguments)
      #expect(outcome.status == 2 && outcome.errors.contains(says), "\(arguments): \(outcome)")
      #expect(!FileManager.default.fileExists(atPath: out))
    }
  }
}
