// Projects: what belongs together, and how much of the service it may take up.

/// Numbers for each thing that is bounded by project: bounds, where nil takes the server's default, or what is used.
public struct ProjectQuotas: Sendable, Hashable {
  /// Jobs that are not over.
  public var unfinishedJobs: Int?
  /// Campaigns that are not over.
  public var unfinishedCampaigns: Int?
  /// Datasets and model files together, as they were uploaded.
  public var datasetBytes: Int?

  public init(unfinishedJobs: Int? = nil, unfinishedCampaigns: Int? = nil, datasetBytes: Int? = nil) {
    self.unfinishedJobs = unfinishedJobs
    self.unfinishedCampaigns = unfinishedCampaigns
    self.datasetBytes = datasetBytes
  }

  public var json: JSON {
    func number(_ value: Int?) -> JSON { value.map(JSON.integer) ?? .null }
    return [
      "unfinished_jobs": number(unfinishedJobs), "unfinished_campaigns": number(unfinishedCampaigns),
      "dataset_bytes": number(datasetBytes),
    ]
  }

  /// Changes the bounds that an object names; null takes the default again.
  fileprivate mutating func change(_ json: JSON, path: String, _ faults: Faults) {
    guard var fields = Fields(json, path: path, faults: faults) else { return }
    let range = 0...(1 << 60)
    // All are asked for, also those that are not there: a fault about an unknown one names what is known.
    for (key, quota) in [
      ("unfinished_jobs", \ProjectQuotas.unfinishedJobs), ("unfinished_campaigns", \.unfinishedCampaigns),
      ("dataset_bytes", \.datasetBytes),
    ] {
      let bound = fields.integer(key, in: range)
      if fields.has(key) { self[keyPath: quota] = bound }
    }
    fields.finish()
  }
}

/// A project as administrators see it.
public struct Project: Sendable, Hashable {
  public var id: String
  public var createdAt: Timestamp
  public var quotas: ProjectQuotas
  /// What of the quotas is used now.
  public var usage: ProjectQuotas

  public init(id: String, createdAt: Timestamp, quotas: ProjectQuotas, usage: ProjectQuotas) {
    self.id = id
    self.createdAt = createdAt
    self.quotas = quotas
    self.usage = usage
  }

  /// The project with the bounds that are in force where it has none of its own.
  public func json(defaults: ProjectQuotas) -> JSON {
    let limits = ProjectQuotas(
      unfinishedJobs: quotas.unfinishedJobs ?? defaults.unfinishedJobs,
      unfinishedCampaigns: quotas.unfinishedCampaigns ?? defaults.unfinishedCampaigns,
      datasetBytes: quotas.datasetBytes ?? defaults.datasetBytes)
    return [
      "id": .string(id), "object": "project", "created_at": .time(createdAt), "quotas": quotas.json,
      "limits": limits.json, "usage": usage.json,
    ]
  }

  /// Whether `text` can name a project.
  public static func isValid(id text: String) -> Bool {
    let letters = Set("abcdefghijklmnopqrstuvwxyz0123456789-_")
    guard (1...64).contains(text.count), text.allSatisfy(letters.contains), let first = text.first else { return false }
    return first != "-" && first != "_"
  }

  /// What a project's id must look like, in words.
  public static let idRule = "1 to 64 lower-case letters, digits, '-' or '_', starting with a letter or digit"

  /// The body of a request that makes a project.
  public struct Request: Sendable, Hashable {
    public var id: String
    public var quotas: ProjectQuotas

    public static func decode(_ json: JSON) throws(SpecError) -> Request {
      try Faults.collect { faults in
        guard var fields = Fields(json, faults: faults) else { return nil }
        let id = fields.projectID("id", required: Project.idRule)
        var quotas = ProjectQuotas()
        if fields.has("quotas"), let change = fields.required("quotas", "an object of the quotas to set") {
          quotas.change(change, path: fields.pointer("quotas"), faults)
        }
        fields.finish()
        return id.map { Request(id: $0, quotas: quotas) }
      }
    }
  }

  /// The quotas that a change of a project asks for, from those it has.
  public static func change(_ json: JSON, of quotas: ProjectQuotas) throws(SpecError) -> ProjectQuotas {
    try Faults.collect { faults in
      guard var fields = Fields(json, faults: faults) else { return nil }
      var changed = quotas
      if let change = fields.required("quotas", "an object of the quotas to set") {
        changed.change(change, path: fields.pointer("quotas"), faults)
      }
      fields.finish()
      return changed
    }
  }
}

extension Fields {
  /// The id of a project; a fault says what one looks like.
  public mutating func projectID(_ key: String, required: String? = nil) -> String? {
    guard let text = string(key, lengths: 1...200, required: required) else { return nil }
    guard Project.isValid(id: text) else {
      fault(key, "expected \(Project.idRule), got \"\(text.prefix(80))\"")
      return nil
    }
    return text
  }
}
