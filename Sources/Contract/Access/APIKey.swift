// API keys: what they may do, their text form, and the request that makes one.
import Foundation

/// What a key may do.
public enum Scope: String, Sendable, CaseIterable {
  case jobsRead = "jobs:read"
  case jobsWrite = "jobs:write"
  case datasetsRead = "datasets:read"
  case datasetsWrite = "datasets:write"
  case modelsRead = "models:read"
  case modelsWrite = "models:write"
  case optimizersRead = "optimizers:read"
  /// Import, release and deprecate learned optimizers.
  case optimizersAdmin = "optimizers:admin"
  /// Read campaigns, and the evaluations of optimizers.
  case campaignsRead = "campaigns:read"
  /// Create, change, end and promote campaigns, and evaluate optimizers.
  case campaignsAdmin = "campaigns:admin"
  case workersRead = "workers:read"
  /// Make, rotate and revoke keys, each with scopes that the maker has too.
  case keysAdmin = "keys:admin"
  /// Make projects and set their quotas, and reach the keys of all projects.
  case projectsAdmin = "projects:admin"
  case auditRead = "audit:read"
  case metricsRead = "metrics:read"

  /// Those of people who run the service, which a key for everyday work does not need.
  public static let administrators: Set<Scope> = [
    .optimizersAdmin, .campaignsAdmin, .keysAdmin, .projectsAdmin, .auditRead, .metricsRead,
  ]
}

/// An API key without its secret.
public struct APIKey: Sendable, Hashable {
  public var id: String
  public var project: String
  public var name: String
  public var scopes: Set<Scope>
  public var createdAt: Timestamp
  public var expiresAt: Timestamp?
  public var revokedAt: Timestamp?
  public var lastUsedAt: Timestamp?
  /// When it last got a new secret.
  public var rotatedAt: Timestamp?
  /// How long the secret before that one works; nil when there is none.
  public var formerUntil: Timestamp?

  public init(
    id: String, project: String, name: String, scopes: Set<Scope>, createdAt: Timestamp, expiresAt: Timestamp? = nil,
    revokedAt: Timestamp? = nil, lastUsedAt: Timestamp? = nil, rotatedAt: Timestamp? = nil,
    formerUntil: Timestamp? = nil
  ) {
    self.id = id
    self.project = project
    self.name = name
    self.scopes = scopes
    self.createdAt = createdAt
    self.expiresAt = expiresAt
    self.revokedAt = revokedAt
    self.lastUsedAt = lastUsedAt
    self.rotatedAt = rotatedAt
    self.formerUntil = formerUntil
  }

  public func isActive(at now: Timestamp) -> Bool {
    revokedAt == nil && (expiresAt.map { now < $0 } ?? true)
  }

  public var json: JSON {
    [
      "id": .string(id), "object": "key", "name": .string(name), "project": .string(project),
      "scopes": .array(scopes.map(\.rawValue).sorted().map(JSON.string)), "created_at": .time(createdAt),
      "expires_at": .time(expiresAt), "revoked_at": .time(revokedAt), "last_used_at": .time(lastUsedAt),
      "rotated_at": .time(rotatedAt), "former_until": .time(formerUntil),
    ]
  }

  /// Prefix of every secret, so that leaked ones can be recognised.
  public static let secretPrefix = "ty_"

  /// A new secret: the prefix and 160 random bits in base 32.
  public static func makeSecret() -> String {
    let alphabet = Array("abcdefghijklmnopqrstuvwxyz234567".utf8)
    var random = SystemRandomNumberGenerator()
    return secretPrefix + String(decoding: (0..<32).map { _ in alphabet[Int(random.next() & 31)] }, as: UTF8.self)
  }

  /// The body of a request that makes a key.
  public struct Request: Sendable, Hashable {
    public var name: String
    public var scopes: Set<Scope>
    public var expiresAt: Timestamp?
    /// The project it is for; nil for the maker's own.
    public var project: String?

    public static func decode(_ json: JSON) throws(SpecError) -> Request {
      try Faults.collect { faults in
        guard var fields = Fields(json, faults: faults) else { return nil }
        let name = fields.string("name", required: "what the key is for")
        let words = Scope.allCases.map(\.rawValue).joined(separator: ", ")
        let scopes = fields.array("scopes", counts: 1...Scope.allCases.count, required: "some of \(words)") {
          json, path, faults -> Scope? in
          if let scope = json.string.flatMap(Scope.init) { return scope }
          faults.add(path, "expected one of \(words), got \(json.kind)")
          return nil
        }
        let expiresAt = fields.time("expires_at")
        let project = fields.projectID("project")
        fields.finish()
        guard let name, let scopes else { return nil }
        return Request(name: name, scopes: Set(scopes), expiresAt: expiresAt, project: project)
      }
    }
  }

  /// The body of a request for a new secret.
  public struct Rotation: Sendable, Hashable {
    /// Seconds for which the old secret works on.
    public var overlapSeconds: Int
    /// A month: longer than any roll-out, shorter than forgetting about it.
    public static let overlapSecondsRange = 0...2_592_000

    public static func decode(_ json: JSON) throws(SpecError) -> Rotation {
      try Faults.collect { faults in
        guard var fields = Fields(json, faults: faults) else { return nil }
        let overlap = fields.integer("overlap_seconds", in: overlapSecondsRange)
        fields.finish()
        return Rotation(overlapSeconds: overlap ?? 0)
      }
    }
  }
}
