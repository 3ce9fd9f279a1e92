// Health, capabilities, workers: what operators and clients ask about the service itself.
import Contract
import HTTP
import Store
import Synchronization

final class OperationRoutes: Sendable {
  private let store: Store
  private let settings: ServerSettings
  private let ready = Mutex<ContinuousClock.Instant?>(nil)

  /// For so long a good answer about the database is given again: anybody may ask, and asking costs queries.
  private static let readySeconds = 1.0

  init(store: Store, settings: ServerSettings) {
    self.store = store
    self.settings = settings
  }

  func alive(_ request: Request) -> Response { .json(["status": "ok"]) }

  func ready(_ request: Request) throws -> Response {
    let isFresh = ready.withLock { $0.map { .now < $0 } ?? false }
    if !isFresh {
      try store.ping()
      try store.requireCurrentSchema()
      ready.withLock { $0 = .now.advanced(by: .seconds(Self.readySeconds)) }
    }
    return .json(["status": "ok", "database": "ok", "schema": "ok"])
  }

  func workers(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    return .items(try store.workers().map(\.json))
  }

  func capabilities(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    func words<Word: RawRepresentable & CaseIterable>(_ type: Word.Type) -> JSON where Word.RawValue == String {
      .array(type.allCases.map { .string($0.rawValue) })
    }
    let limits = settings.limits
    return .json([
      "object": "capabilities", "version": .string(settings.version),
      "layer_types": .array(Layer.types.map(JSON.string)), "activations": words(Activation.self),
      "presets": words(Preset.Name.self), "dataset_formats": words(DatasetFormat.self),
      "model_formats": ["safetensors", "onnx"],
      "optimizers": .array(
        OptimizerName.allCases.map { name in
          [
            "name": .string(name.rawValue), "learned": .bool(name.isLearned),
            "options": .array(name.options.map(\.json)),
          ]
        }),
      "curve_series": words(CurveSeries.self), "scopes": words(Scope.self),
      "limits": [
        "body_bytes_max": .integer(limits.bodyBytesMax), "upload_bytes_max": .integer(limits.uploadBytesMax),
        "steps_max": .integer(TrainingSpec.stepsRange.upperBound),
        "batch_size_max": .integer(TrainingSpec.batchSizeRange.upperBound), "layers_max": .integer(ModelSpec.layersMax),
        "units_max": .integer(ModelSpec.unitsMax), "parameters_max": .integer(ResolvedModel.parametersMax),
        "job_memory_bytes_max": .integer(limits.jobMemoryBytesMax),
        "unfinished_jobs_max": .integer(limits.unfinishedJobsMax),
        "unfinished_campaigns_max": .integer(limits.unfinishedCampaignsMax),
        "event_streams_max": .integer(limits.eventStreamsMax),
        "dataset_bytes_max": .integer(limits.datasetBytesMax),
        "page_items_max": .integer(Page<Never>.limitRange.upperBound),
        "curve_points_max": .integer(CurveQuery.pointsMaxRange.upperBound),
        "wait_seconds_max": .integer(Limits.waitSecondsMax),
      ],
    ])
  }
}
