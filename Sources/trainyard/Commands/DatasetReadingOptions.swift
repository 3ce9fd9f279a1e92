// How `trainyard dataset add` says how files are to be read: the options of Contract.DatasetOptions as flags.
import ArgumentParser
import Contract

/// The options that go with a format.
struct ReadingOptions: ParsableArguments {
  @Option(help: ArgumentHelp("csv, jsonl: what to predict; several columns with commas.", valueName: "columns"))
  var target: String?
  @Option(
    help: ArgumentHelp("csv, jsonl, npz, npy: what the target is.", valueName: "classification|regression"))
  var task: String?
  @Option(help: ArgumentHelp("csv, jsonl: columns to leave out, with commas.", valueName: "columns"))
  var drop: String?
  @Option(help: ArgumentHelp("csv: what stands between cells.", valueName: "comma|semicolon|tab|space"))
  var delimiter: String?
  @Option(help: ArgumentHelp("csv: whether the first line names the columns.", valueName: "true|false"))
  var header: Bool?
  @Option(help: "csv: lines to pass over at the beginning.") var skipLines: Int?
  @Option(help: "jsonl: the field that holds the text; default text.") var field: String?
  @Option(
    help: ArgumentHelp("text, jsonl: bytes or characters; npz, npy: integers.", valueName: "bytes|characters|integers"))
  var tokens: String?
  @Option(help: "text, jsonl, npz, npy: how many tokens an input has; default 64.") var sequenceLength: Int?
  @Option(help: "images: the side in pixels to bring all images to.") var imageSize: Int?
  @Option(help: ArgumentHelp("images: grey or colour; default by the files.", valueName: "1|3")) var channels: Int?
  @Option(help: "Share of rows held out where the files bring no held-out part; default 0.1.")
  var heldOutFraction: Double?

  /// The options, checked as the server checks them.
  func options(format: String) throws -> DatasetOptions {
    var members: [String: JSON] = ["format": .string(format)]
    let texts = [
      "target": target, "task": task, "drop": drop, "delimiter": delimiter, "field": field, "tokens": tokens,
    ]
    let integers = [
      "skip_lines": skipLines, "sequence_length": sequenceLength, "image_size": imageSize, "channels": channels,
    ]
    for (name, value) in texts { members[name] = value.map(JSON.string) }
    for (name, value) in integers { members[name] = value.map(JSON.integer) }
    members["header"] = header.map(JSON.bool)
    members["held_out_fraction"] = heldOutFraction.map(JSON.number)
    do {
      return try DatasetOptions.decode(.object(members))
    } catch {
      let flags = error.faults.map { fault in
        "  --\(fault.path.dropFirst().replacing("_", with: "-")): \(fault.reason)"
      }
      throw CommandFailure(.usage, "the options do not fit\n" + flags.joined(separator: "\n"))
    }
  }
}
