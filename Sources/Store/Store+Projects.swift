// Projects: made, listed, changed, and held to their quotas by the transactions that would exceed them.
import Contract

/// What of a project is bounded.
enum Quota: String {
  case unfinishedJobs = "unfinished_jobs"
  case unfinishedCampaigns = "unfinished_campaigns"
  case datasetBytes = "dataset_bytes"

  /// How much a project uses, by its id as `$1`.
  var usageSQL: String {
    switch self {
    case .unfinishedJobs: return "SELECT count(*) FROM jobs WHERE project = $1 AND finished_at IS NULL"
    case .unfinishedCampaigns: return "SELECT count(*) FROM campaigns WHERE project = $1 AND finished_at IS NULL"
    case .datasetBytes:
      return """
        SELECT (coalesce((SELECT sum(bytes) FROM datasets WHERE project = $1), 0)
          + coalesce((SELECT sum(bytes) FROM models WHERE project = $1), 0))::bigint
        """
    }
  }

  func refusal(_ project: String, used: Int, adding: Int, limit: Int) -> StoreError {
    let rest =
      switch self {
      case .unfinishedJobs:
        "has \(used) unfinished jobs, and its quota is \(limit); wait for some to end, or cancel them"
      case .unfinishedCampaigns:
        "has \(used) unfinished campaigns, and its quota is \(limit); wait for some to end, or cancel them"
      case .datasetBytes:
        "has \(used) bytes of datasets and model files, and its quota is \(limit), which leaves no room for \(adding) "
          + "more; delete some"
      }
    return .quota("the project \(project) \(rest) (quota \(rawValue); holders of projects:admin can change it)")
  }
}

extension Store {
  private static let projectColumns = "id, created_at, unfinished_jobs_max, unfinished_campaigns_max, dataset_bytes_max"

  private static func decodeProject(_ row: inout Row, _ connection: Connection) throws -> Project {
    let id = row.text()
    var project = Project(
      id: id, createdAt: row.time(),
      quotas: ProjectQuotas(
        unfinishedJobs: row.optionalInteger(), unfinishedCampaigns: row.optionalInteger(),
        datasetBytes: row.optionalInteger()), usage: ProjectQuotas())
    project.usage = ProjectQuotas(
      unfinishedJobs: try usage(.unfinishedJobs, id, connection),
      unfinishedCampaigns: try usage(.unfinishedCampaigns, id, connection),
      datasetBytes: try usage(.datasetBytes, id, connection))
    return project
  }

  /// Whether there is a project of that id.
  public func hasProject(_ id: String) throws -> Bool {
    try pool.read { connection in
      try connection.run(Statement("project_exists", "SELECT FROM projects WHERE id = $1"), [.text(id)]).count > 0
    }
  }

  /// Makes a project.
  ///
  /// - Returns: nil when there is one of that id.
  public func createProject(id: String, quotas: ProjectQuotas) throws -> Project? {
    try Self.checkProject(id)
    return try pool.transaction { connection in
      try connection.run(
        Statement(
          "project_create",
          """
          INSERT INTO projects (id, unfinished_jobs_max, unfinished_campaigns_max, dataset_bytes_max)
          VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING RETURNING \(Self.projectColumns)
          """), [.text(id)] + Self.parameters(quotas)
      ).map { try Self.decodeProject(&$0, connection) }.first
    }
  }

  /// One project with its usage; nil if there is none of that id.
  public func project(id: String) throws -> Project? {
    try pool.read { connection in
      try connection.run(
        Statement("project_get", "SELECT \(Self.projectColumns) FROM projects WHERE id = $1"), [.text(id)]
      ).map { try Self.decodeProject(&$0, connection) }.first
    }
  }

  /// A page of all projects with their usage, by their ids.
  ///
  /// - Parameter cursor: the id of the last project shown.
  public func projects(cursor: String? = nil, limit: Int = 50) throws -> Page<Project> {
    try Self.checkLimit(limit)
    let projects = try pool.read { connection in
      try connection.run(
        Statement(
          "projects_list",
          "SELECT \(Self.projectColumns) FROM projects WHERE id > coalesce($1, '') ORDER BY id LIMIT $2"),
        [.optional(cursor), .integer(limit + 1)]
      ).map { try Self.decodeProject(&$0, connection) }
    }
    let shown = Array(projects.prefix(limit))
    return Page(items: shown, nextCursor: projects.count > limit ? shown.last?.id : nil)
  }

  /// Changes a project's quotas by what `change` makes of those it has; nobody else changes them meanwhile.
  ///
  /// - Returns: nil if there is no such project.
  public func changeProject(id: String, _ change: (ProjectQuotas) throws -> ProjectQuotas) throws -> Project? {
    try pool.transaction { connection in
      let before = try connection.run(
        Statement("project_lock", "SELECT \(Self.projectColumns) FROM projects WHERE id = $1 FOR NO KEY UPDATE"),
        [.text(id)]
      ).map { try Self.decodeProject(&$0, connection) }.first
      guard let before else { return nil }
      return try connection.run(
        Statement(
          "project_change",
          """
          UPDATE projects SET unfinished_jobs_max = $2, unfinished_campaigns_max = $3, dataset_bytes_max = $4
          WHERE id = $1 RETURNING \(Self.projectColumns)
          """), [.text(id)] + Self.parameters(change(before.quotas))
      ).map { try Self.decodeProject(&$0, connection) }.first
    }
  }

  private static func parameters(_ quotas: ProjectQuotas) -> [Parameter] {
    [quotas.unfinishedJobs, quotas.unfinishedCampaigns, quotas.datasetBytes].map { $0.map(Parameter.integer) ?? .null }
  }

  private static func usage(_ quota: Quota, _ project: String, _ connection: Connection) throws -> Int {
    try connection.run(Statement("usage_\(quota.rawValue)", quota.usageSQL), [.text(project)]).map { $0.integer() }[0]
  }

  // MARK: Quotas

  /// Refuses what would take a project over its quota, as far as that can be said before it is done.
  ///
  /// - Parameters:
  ///   - bytes: of an upload.
  ///   - defaults: bounds for projects without their own; nil for none.
  /// - Throws: ``StoreError/quota(_:)``.
  public func checkUpload(bytes: Int, project: String, defaults: ProjectQuotas) throws {
    try pool.read { try Self.check(.datasetBytes, project, defaults.datasetBytes, adding: bytes, locking: false, $0) }
  }

  /// Refuses what would take a project over its quota, and holds its row, so that what was counted stays true until
  /// the transaction ends: of two that come for the last place the second waits for the first, and then counts it.
  static func hold(
    _ quota: Quota, _ project: String, _ bound: Int?, adding: Int, on connection: Connection
  ) throws {
    try check(quota, project, bound, adding: adding, locking: true, connection)
  }

  private static func check(
    _ quota: Quota, _ project: String, _ bound: Int?, adding: Int, locking: Bool, _ connection: Connection
  ) throws {
    // Not KEY SHARE's opposite: rows that refer to the project may come and go.
    let lock = locking ? " FOR NO KEY UPDATE" : ""
    let own =
      try connection.run(
        Statement(
          "quota_\(quota.rawValue)\(locking ? "_hold" : "")",
          "SELECT \(quota.rawValue)_max FROM projects WHERE id = $1\(lock)"), [.text(project)]
      ).map { $0.optionalInteger() }.first ?? nil
    guard let limit = own ?? bound else { return }
    // A statement of its own, which sees what those that were waited for have done.
    let used = try usage(quota, project, connection)
    guard adding <= limit - used else { throw quota.refusal(project, used: used, adding: adding, limit: limit) }
  }
}
