// What a campaign's specification names, held against what is stored: datasets, thetas to start from, versions of outer
// optimizers. Store+Campaigns.swift calls it in the transaction that creates the campaign.
import Contract
import Foundation

extension Store {
  /// Checks a specification as ``createCampaign(_:project:author:idempotency:)`` does, and creates nothing.
  ///
  /// - Throws: as it does.
  public func checkCampaign(_ spec: CampaignSpec, project: String) throws {
    _ = try pool.transaction { try Self.checkCampaign(spec, project: project, on: $0) }
  }

  /// - Returns: the optimizer to start from; nil for another start.
  static func checkCampaign(
    _ spec: CampaignSpec, project: String, on connection: Connection
  ) throws -> String? {
    let faults = Faults()
    var start: String?
    switch spec.start {
    case nil: break
    case .optimizer(let version):
      start = try usableVersion(version, of: spec.optimizer, path: "/start/version", faults, connection)
    case .campaign(let id, let version):
      try checkParent(id, version, of: spec, project: project, faults, connection)
    }
    for (index, phase) in spec.phases.enumerated() {
      try checkPhase(phase, path: "/phases/\(index)", data: spec.data, faults, connection)
    }
    checkEvaluation(spec, faults)
    let waiting = try checkData(spec, project: project, faults, connection)
    guard faults.isEmpty else { throw StoreError.invalid(faults.list) }
    if let waiting {
      throw StoreError.conflict(.datasetNotReady, "dataset \(waiting) is validating; wait until it is ready")
    }
    return start
  }

  /// Checks the version of a learned outer optimizer, and that the data of image classifiers are named.
  static func checkPhase(
    _ phase: CampaignPhase, path: String, data: [String: String], _ faults: Faults, _ connection: Connection
  ) throws {
    if case .version(let version) = phase.outer.source {
      _ = try usableVersion(
        version, of: phase.outer.optimizer.name, path: "\(path)/outer/optimizer/version", faults, connection)
    }
    for (place, entry) in phase.tasks.enumerated() {
      // What other entries need only their builder knows.
      guard case .images(let task) = entry.task, !task.data.hasPrefix("synth_"), data[task.data] == nil else {
        continue
      }
      faults.add(
        "\(path)/tasks/\(place)/data",
        "there is no \"\(task.data)\" in the campaign's data: name the dataset that stands for it there")
    }
  }

  private static func usableVersion(
    _ version: Int, of name: OptimizerName, path: String, _ faults: Faults, _ connection: Connection
  ) throws -> String? {
    let found = try connection.run(
      Statement(
        "campaign_start",
        """
        SELECT id, version = $2 FROM optimizers
        WHERE name = $1 AND state IN ('candidate', 'released', 'deprecated') ORDER BY version DESC LIMIT 1000
        FOR KEY SHARE
        """), [.text(name.rawValue), .integer(version)]
    ).map { (id: $0.text(), isIt: $0.bool()) }
    if let it = found.first(where: \.isIt) { return it.id }
    faults.add(
      path,
      "there is no version \(version) of \(name.rawValue) with weights"
        + (found.isEmpty ? ", nor any other" : "; GET /v1/optimizers lists those there are"))
    return nil
  }

  private static func checkParent(
    _ id: String, _ version: Int, of spec: CampaignSpec, project: String, _ faults: Faults, _ connection: Connection
  ) throws {
    guard let parent = try campaign(id, project, connection) else {
      faults.add("/start/campaign", "there is no campaign \(id); GET /v1/campaigns lists those there are")
      return
    }
    if parent.spec.optimizer != spec.optimizer {
      faults.add(
        "/optimizer",
        "campaign \(id) trains \(parent.spec.optimizer.rawValue), whose theta does not fit \(spec.optimizer.rawValue)")
    } else if parent.spec.constants != spec.constants {
      faults.add("/constants", "campaign \(id) has other constants, so that its theta does not fit")
    }
    if let fault = try missingVersion(version, of: id, connection) { faults.add("/start/version", fault) }
  }

  /// Why a version of theta cannot be had; nil if it is stored.
  static func missingVersion(_ version: Int, of campaign: String, _ connection: Connection) throws -> String? {
    let nearest = try connection.run(
      Statement(
        "campaign_nearest_thetas",
        "SELECT version FROM campaign_thetas WHERE campaign = $1 ORDER BY abs(version - $2), version LIMIT 5"),
      [.text(campaign), .integer(version)]
    ).map { $0.integer() }
    if nearest.first == version { return nil }
    return nearest.isEmpty
      ? "campaign \(campaign) has no stored theta yet"
      : "version \(version) of campaign \(campaign) is not stored; the nearest that are: "
        + nearest.sorted().map(String.init).joined(separator: ", ")
  }

  /// - Returns: a dataset that is validating, if there is one and nothing is wrong.
  private static func checkData(
    _ spec: CampaignSpec, project: String, _ faults: Faults, _ connection: Connection
  ) throws -> String? {
    var waiting: String?
    for (name, id) in spec.data.sorted(by: { $0.key < $1.key }) {
      let path = "/data/" + name.replacingOccurrences(of: "~", with: "~0").replacingOccurrences(of: "/", with: "~1")
      let state = try connection.run(
        Statement("campaign_dataset", "SELECT state FROM datasets WHERE id = $1 AND project = $2 FOR KEY SHARE"),
        [.text(id), .text(project)]
      ).map { try stored(DatasetState.self, $0.text()) }.first
      switch state {
      case nil: faults.add(path, "there is no dataset \(id); GET /v1/datasets lists those there are")
      case .ready: break
      case .validating: waiting = id
      case .rejected:
        faults.add(path, "the dataset \(id) was rejected; GET /v1/datasets/\(id)/problems says why")
      }
    }
    return waiting
  }

  /// Reads the evaluation as it will be when the learner has put its theta into it.
  private static func checkEvaluation(_ spec: CampaignSpec, _ faults: Faults) {
    guard let evaluation = spec.evaluation else { return }
    _ = EvaluationSpec.read(
      ofCampaign: "cmp_00000000000000000000000000", version: 0, evaluation.spec, path: "/evaluation/spec",
      faults: faults)
  }
}

extension Store {
  /// How many numbers the theta of a campaign's optimizer has, by the registry's newest version with the same constants;
  /// nil where there is none.
  public func thetaParameters(of spec: CampaignSpec) throws -> Int? {
    try pool.read { connection in
      try connection.run(
        Statement(
          "campaign_theta_parameters",
          """
          SELECT parameter_count FROM optimizers
          WHERE name = $1 AND constants = $2 AND parameter_count IS NOT NULL ORDER BY version DESC LIMIT 1
          """), [.text(spec.optimizer.rawValue), .text(JSON.object(spec.constants).text)]
      ).map { $0.integer() }.first
    }
  }
}
