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
  case keysAdmin = "keys:admin"
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

  public init(
    id: String, project: String, name: String, scopes: Set<Scope>, createdAt: Timestamp, expiresAt: Timestamp? = nil,
    revokedAt: Timestamp? = nil, lastUsedAt: Timestamp? = nil
  ) {
    self.id = id
    self.project = project
    self.name = name
    self.scopes = scopes
    self.createdAt = createdAt
    self.expiresAt = expiresAt
    self.revokedAt = revokedAt
    self.lastUsedAt = lastUsedAt
  }

  public func isActive(at now: Timestamp) -> Bool {
    revokedAt == nil && (expiresAt.map { now < $0 } ?? true)
  }

  public var json: JSON {
    [
      "id": .string(id), "object": "key", "name": .string(name), "project": .string(project),
      "scopes": .array(scopes.map(\.rawValue).sorted().map(JSON.string)), "created_at": .time(createdAt),
      "expires_at": .time(expiresAt), "revoked_at": .time(revokedAt), "last_used_at": .time(lastUsedAt),
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
        fields.finish()
        guard let name, let scopes else { return nil }
        return Request(name: name, scopes: Set(scopes), expiresAt: expiresAt)
      }
    }
  }
}
