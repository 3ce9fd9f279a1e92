// What a training leaves behind and may not depend on what happened on the way: the tensors of its model and its curves.
import Client
import Contract
import Foundation
import Testing

/// What must not depend on what happened to servers, workers and databases.
struct TrainingOutcome: Equatable {
  /// Bytes of the model's tensors by their names.
  let tensors: [String: Data]
  /// Points of every series as `step,value` lines.
  let curves: [String: String]

  /// The tensors of a safetensors file; what the file says of the job itself is left out.
  static func tensors(of file: Data) throws -> [String: Data] {
    let bytes = Data(file)
    let headerEnd = 8 + bytes.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
    guard case .object(let members) = try JSON.parse(bytes[8..<headerEnd]) else { throw TestFailure("no header") }
    return try members.filter { $0.key != "__metadata__" }.mapValues { tensor in
      let offsets = try #require(tensor["data_offsets"]?.array).compactMap(\.integer)
      return bytes[(headerEnd + offsets[0])..<(headerEnd + offsets[1])]
    }
  }

  /// Of a job that has succeeded, by the API.
  init(job id: String, _ client: APIClient, folder: Folder) throws {
    let file = folder.file("\(id).safetensors")
    _ = try client.downloadModel(job: id, to: file)
    tensors = try Self.tensors(of: Data(contentsOf: file))
    var curves: [String: String] = [:]
    for series in [CurveSeries.trainLoss, .heldOutLoss, .heldOutAccuracy] {
      let query = CurveQuery(pointsMax: 100_000, sampling: .none)
      curves[series.rawValue] = try client.curveCSV(job: id, series: series, query: query)
    }
    self.curves = curves
  }

  /// Of a job that has succeeded, by the store.
  init(job id: String, _ fleet: CampaignFleet) throws {
    let model = try #require(try fleet.store.checkpoints(job: id).first { $0.kind == .model })
    tensors = try Self.tensors(of: Data(fleet.store.readBlob(sha256: model.sha256)))
    var curves: [String: String] = [:]
    for series in [CurveSeries.trainLoss, .heldOutLoss, .heldOutAccuracy] {
      let query = CurveQuery(pointsMax: 100_000, sampling: .none)
      curves[series.rawValue] = try fleet.store.curve(job: id, series: series, query: query).points.csv(series: series)
    }
    self.curves = curves
  }

  /// Whether the training loss has every step once, in order.
  func hasEveryStepOnce(_ steps: Int) -> Bool {
    let lines = (curves[CurveSeries.trainLoss.rawValue] ?? "").split(separator: "\n").dropFirst()
    return lines.compactMap { $0.split(separator: ",").first.flatMap { Int($0) } } == Array(0..<steps)
  }
}

extension CampaignFleet {
  /// A table that a worker has found ready.
  func flowers() throws -> String {
    let blob = try store.putBlob(SampleData.csv(rows: 600))
    let options = DatasetOptions(format: .csv)
    let id = try store.createDataset(name: "flowers", options: options, blob: blob, project: "demo").dataset.id
    guard try eventually(seconds: 60, { try store.dataset(id: id, project: "demo")?.state == .ready }) else {
      throw TestFailure("the dataset did not get ready\n\(log)")
    }
    return id
  }

  /// Queues a training of Adam.
  func submit(dataset: String, steps: Int) throws -> String {
    let spec = try TrainingSpec.decode([
      "dataset": .string(dataset), "model": ["preset": "mlp", "hidden": [32]], "steps": .integer(steps), "seed": 7,
      "optimizer": ["name": "adam"],
    ])
    let model = try #require(spec.model)
    return try store.createJob(spec: spec, model: model, optimizerID: nil, project: "demo").job.id
  }

  func job(_ id: String) throws -> Job { try #require(try store.job(id: id, project: "demo")) }

  /// Waits until a job fits.
  @discardableResult
  func wait(job id: String, seconds: Double = 240, until fits: (Job) -> Bool) throws -> Job {
    var last: Job?
    let came = eventually(seconds: seconds) {
      // The database may be away.
      guard let job = try? self.job(id) else { return false }
      last = job
      return fits(job)
    }
    guard came, let last else { throw TestFailure("not within \(seconds) s: \(last?.json.text ?? "")\n\(log)") }
    return last
  }
}
