// `trainyard dataset`: upload data, see what the server made of it.
import ArgumentParser
import Client
import Contract
import Foundation

struct DatasetCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dataset", abstract: "Upload and inspect datasets.",
    subcommands: [Add.self, List.self, Get.self, Preview.self, Problems.self, Delete.self])

  struct Add: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Upload files as one dataset and wait until it is validated.",
      discussion: """
        idx     the files in order: inputs, labels, and optionally held-out inputs and labels
        csv     a table; the last column is the target unless --target names another, or several
        jsonl   one JSON object a line: documents (--field), labelled documents (--target), or a table of scalars
        text    UTF-8 text, cut into windows to learn the next token from
        npz     arrays x and y, and optionally x_test and y_test
        npy     arrays in order: inputs, targets, and optionally held-out inputs and targets
        images  a ZIP or tar archive of PNG and JPEG files in class folders, optionally within train and test
        All but npz and ZIP may be gzipped.
        """, aliases: ["create"])

    @OptionGroup var server: ServerOptions
    @Argument(help: ArgumentHelp("The files.", valueName: "file")) var files: [String]
    @Option(help: "The dataset's name; default the first file's.") var name: String?
    @Option(help: ArgumentHelp("Format of the data; default by the files' names.", valueName: "format"))
    var format: String?
    @OptionGroup(title: "Options of the format") var reading: ReadingOptions
    @Flag(help: "Do not wait for the validation.") var noWait = false
    @Option(help: ArgumentHelp("Seconds to wait for the validation.", valueName: "seconds")) var timeout = 600.0

    func run() throws {
      let client = try server.client()
      let console = Console()
      let created = try client.createDataset(
        name: name ?? URL(fileURLWithPath: files[0]).lastPathComponent,
        options: try reading.options(format: format ?? Self.format(of: files[0]) ?? ""), files: files)
      let id = created["id"]?.string ?? ""
      if noWait {
        console.show(created, asJSON: server.json) {
          "\(id) is being validated; `trainyard dataset get \(id)` tells more"
        }
        return
      }
      let dataset = try Self.wait(for: id, created, client: client, seconds: timeout)
      if dataset["state"]?.string == DatasetState.rejected.rawValue {
        let problems = try client.datasetProblems(id)
        console.show(
          server.json ? .object(["dataset": dataset, "problems": .array(problems)]) : .null, asJSON: server.json
        ) { Problems.text(problems) }
        throw CommandFailure(
          .jobFailed, "the dataset \(id) was rejected",
          cure: "Mend the data and add it again; `trainyard dataset problems \(id)` shows this list later.")
      }
      console.show(dataset, asJSON: server.json) { Get.text(dataset) }
    }

    /// The format that a file's name tells, if it does.
    static func format(of path: String) -> String? {
      let name = URL(fileURLWithPath: path).lastPathComponent.lowercased()
      let bare = name.hasSuffix(".gz") ? String(name.dropLast(3)) : name
      let endings: [(String, DatasetFormat)] = [
        (".csv", .csv), (".tsv", .csv), (".txt", .text), (".jsonl", .jsonl), (".ndjson", .jsonl), (".npz", .npz),
        (".npy", .npy), (".zip", .images), (".tar", .images), (".tgz", .images),
      ]
      if let known = endings.first(where: { bare.hasSuffix($0.0) }) { return known.1.rawValue }
      let isIDX = bare.hasSuffix(".idx") || bare.range(of: #"[-.]idx\d(-ubyte)?$"#, options: .regularExpression) != nil
      return isIDX ? DatasetFormat.idx.rawValue : nil
    }

    /// Reads the dataset until its validation is over.
    static func wait(for id: String, _ first: JSON, client: APIClient, seconds: Double) throws -> JSON {
      let deadline = ContinuousClock.now + .seconds(seconds)
      var dataset = first
      while dataset["state"]?.string == DatasetState.validating.rawValue {
        guard ContinuousClock.now < deadline else {
          throw CommandFailure(
            .timedOut, "the dataset \(id) is still being validated",
            cure: "Is a worker running? `trainyard doctor` looks; `trainyard dataset get \(id)` tells when it is done.")
        }
        let asked = ContinuousClock.now
        dataset = try client.dataset(id, waitSeconds: 5)
        // A server that does not hold the answer is not to be asked in a tight loop.
        if dataset["state"]?.string == DatasetState.validating.rawValue, ContinuousClock.now - asked < .seconds(0.1) {
          Thread.sleep(forTimeInterval: 0.1)
        }
      }
      return dataset
    }
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List datasets, newest first.")
    @OptionGroup var server: ServerOptions
    @Option(help: "How many at most.") var limit = 50

    func run() throws {
      let datasets = try server.client().datasets(limit: max(1, limit))
      Console().show(["items": .array(datasets)], asJSON: server.json) {
        var table = Table(
          ["DATASET", "NAME", "STATE", "ROWS", "HELD OUT", "BYTES", "CREATED"], rightAligned: [3, 4, 5])
        for dataset in datasets {
          table.add([
            dataset.cell("id"), dataset.cell("name"), dataset.cell("state"), dataset["schema"]?.cell("train_rows"),
            dataset["schema"]?.cell("held_out_rows"), dataset.cell("bytes"), dataset.cellTime("created_at"),
          ])
        }
        return table.text
      }
    }
  }

  struct Get: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show one dataset.")
    @OptionGroup var server: ServerOptions
    @Argument(help: "The dataset's id.") var id: String

    func run() throws {
      let dataset = try server.client().dataset(id)
      Console().show(dataset, asJSON: server.json) { Self.text(dataset) }
    }

    static func text(_ dataset: JSON) -> String {
      var lines = [
        "\(dataset.cell("id") ?? "?")  \(Table.printable(dataset.cell("name") ?? ""))  \(dataset.cell("state") ?? "?")"
      ]
      if let schema = dataset["schema"], schema != .null {
        let shape = (schema["input_shape"]?.array ?? []).compactMap(\.integer).map(String.init).joined(separator: " x ")
        let target = schema["target"]
        let kind = target?["kind"]?.string ?? "?"
        lines.append(
          "  \(schema.cell("train_rows") ?? "?") rows, \(schema.cell("held_out_rows") ?? "?") held out; "
            + "inputs \(shape); \(target?.cell("count") ?? "?") \(kind)")
      }
      return lines.joined(separator: "\n")
    }
  }

  struct Preview: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show the first rows of a dataset as JSON.")
    @OptionGroup var server: ServerOptions
    @Argument(help: "The dataset's id.") var id: String

    func run() throws {
      let preview = try server.client().datasetPreview(id)
      Console().show(preview, asJSON: server.json) { preview.pretty }
    }
  }

  struct Problems: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show what is wrong with a rejected dataset.")
    @OptionGroup var server: ServerOptions
    @Argument(help: "The dataset's id.") var id: String

    func run() throws {
      let problems = try server.client().datasetProblems(id)
      Console().show(["items": .array(problems)], asJSON: server.json) { Self.text(problems) }
    }

    static func text(_ problems: [JSON]) -> String {
      if problems.isEmpty { return "no problems" }
      var table = Table(["ROW", "COLUMN", "PROBLEM"], rightAligned: [0])
      for problem in problems { table.add([problem.cell("row"), problem.cell("column"), problem.cell("reason")]) }
      return table.text
    }
  }

  struct Delete: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Delete a dataset.")
    @OptionGroup var server: ServerOptions
    @Argument(help: "The dataset's id.") var id: String

    func run() throws {
      try server.client().deleteDataset(id)
      Console().show(["id": .string(id), "deleted": true], asJSON: server.json) { "deleted \(id)" }
    }
  }
}
