// `trainyard job curve|events|checkpoints|download`: what a job leaves behind. Part of JobCommand.swift's tree.
import ArgumentParser
import Client
import Contract
import Foundation

struct CurveCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "curve", abstract: "Draw a curve, or print its points.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The job's id.") var id: String
  @Option(help: "train_loss, or a held-out measure such as held_out_loss or held_out_accuracy.") var series =
    CurveSeries.trainLoss.rawValue
  @Option(help: "First step.") var from = 0
  @Option(help: "Last step.") var to: Int?
  @Option(help: "How many points at most, 2 to 100000.") var points = 1000
  @Flag(help: "Print step,value lines with every point, up to --points.") var csv = false

  func run() throws {
    guard let series = CurveSeries(rawValue: series) else {
      let known = CurveSeries.allCases.map(\.rawValue).joined(separator: ", ")
      throw CommandFailure(.usage, "--series: expected one of \(known), got \"\(self.series)\"")
    }
    guard CurveQuery.pointsMaxRange.contains(points) else {
      throw CommandFailure(.usage, "--points: expected 2 to 100000, got \(points)")
    }
    let client = try server.client()
    let console = Console()
    let query = CurveQuery(from: max(0, from), to: to ?? .max, pointsMax: points, sampling: csv ? .none : .minmax)
    if csv {
      let text = try client.curveCSV(job: id, series: series, query: query)
      console.line(text.hasSuffix("\n") ? String(text.dropLast()) : text)
      return
    }
    let curve = try client.curve(job: id, series: series, query: query)
    if server.json {
      console.line(curve.json(series: series, total: curve.steps.count).text)
      return
    }
    let steps = try client.job(id)["steps"]?.integer ?? curve.steps.last ?? 1
    let view = CurveView(columns: min(console.size.columns, 100), rows: 14, horizon: max(1, to ?? steps))
    let title = series.rawValue.replacingOccurrences(of: "_", with: " ")
    console.line(view.lines(curve, title: title).joined(separator: "\n"))
  }
}

struct EventsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "events", abstract: "List what happened to a job.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The job's id.") var id: String
  @Option(help: "Only events after this sequence number.") var after = 0

  func run() throws {
    let client = try server.client()
    var events: [JSON] = []
    var after = max(0, after)
    while true {
      let page = try client.events(job: id, after: after)
      events += page
      guard page.count == 200, let last = page.last?["seq"]?.integer, last > after else { break }
      after = last
    }
    Console().show(["items": .array(events)], asJSON: server.json) {
      var table = Table(["SEQ", "TIME", "TYPE", "MESSAGE"], rightAligned: [0])
      for event in events {
        table.add([event.cell("seq"), event.cellTime("at"), event.cell("type"), event.cell("message")])
      }
      return table.text
    }
  }
}

struct CheckpointsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "checkpoints", abstract: "List a job's stored states.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The job's id.") var id: String

  func run() throws {
    let checkpoints = try server.client().checkpoints(job: id)
    Console().show(["items": .array(checkpoints)], asJSON: server.json) {
      var table = Table(["CHECKPOINT", "KIND", "STEP", "BYTES", "SHA-256", "CREATED"], rightAligned: [2, 3])
      for checkpoint in checkpoints {
        table.add([
          checkpoint.cell("id"), checkpoint.cell("kind"), checkpoint.cell("step"), checkpoint.cell("bytes"),
          checkpoint.cell("sha256").map { String($0.prefix(16)) }, checkpoint.cellTime("created_at"),
        ])
      }
      return table.text
    }
  }
}

struct DownloadCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "download", abstract: "Download the trained model, or one checkpoint.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The job's id.") var id: String
  @Option(
    name: .shortAndLong,
    help: ArgumentHelp("Where to; default <id> with the format's name behind it.", valueName: "file"))
  var output: String?
  @Option(help: ArgumentHelp("safetensors, the weights alone, or onnx, graph and weights.", valueName: "format"))
  var format = APIClient.ModelFormat.safetensors.rawValue
  @Option(help: ArgumentHelp("A checkpoint of the job in place of its model.", valueName: "id")) var checkpoint: String?

  func run() throws {
    guard let format = APIClient.ModelFormat(rawValue: format) else {
      let known = APIClient.ModelFormat.allCases.map(\.rawValue).joined(separator: " or ")
      throw CommandFailure(.usage, "--format: expected \(known), got \"\(format)\"")
    }
    let client = try server.client()
    let file = URL(fileURLWithPath: output ?? (checkpoint.map { "\($0).bin" } ?? "\(id).\(format.rawValue)"))
    let written: (bytes: Int, sha256: String)
    if let checkpoint {
      guard let stored = try client.checkpoints(job: id).first(where: { $0["id"]?.string == checkpoint }),
        let sha256 = stored["sha256"]?.string
      else { throw CommandFailure(.notFound, "job \(id) has no checkpoint \(checkpoint)") }
      written = try client.downloadCheckpoint(checkpoint, to: file, sha256: sha256)
    } else {
      written = try client.downloadModel(job: id, format: format, to: file)
    }
    Console().show(
      ["file": .string(file.path), "bytes": .integer(written.bytes), "sha256": .string(written.sha256)],
      asJSON: server.json
    ) { "\(file.path)  \(written.bytes) bytes  sha256 \(written.sha256)" }
  }
}
