// Who asks, and may they: bearer token to API key, key to scope. Every route of App.swift names an Access that is
// enforced here before its body is read.
import Contract
import Foundation
import HTTP
import Store
import Synchronization

/// What a route demands of a request before its handler runs; no route exists without one.
struct Access: Sendable {
  /// Who may ask.
  enum Rule: Sendable, Hashable {
    /// Everybody, without a key.
    case open
    /// Whoever has a key, whatever its scopes.
    case anyKey
    case scope(Scope)
  }
  let rule: Rule
  /// Looks at the head once the key is accepted, so that a request can be refused before its body is read.
  let admit: @Sendable (RequestHead, APIKey) throws -> Void

  init(_ rule: Rule, admit: @escaping @Sendable (RequestHead, APIKey) throws -> Void = { _, _ in }) {
    self.rule = rule
    self.admit = admit
  }
}

/// Finds the keys of requests, and remembers them for a moment so that most requests cost no query.
final class Authentication: Sendable {
  /// How long a key that another server revoked may still work here.
  static let rememberedSeconds = 1.0
  /// Keys remembered at a time.
  private static let rememberedMax = 10_000

  private struct Remembered: Sendable {
    let key: APIKey
    let until: ContinuousClock.Instant
  }
  private let find: @Sendable (String) throws -> APIKey?
  private let now: @Sendable () -> ContinuousClock.Instant
  private let remembered = Mutex<[String: Remembered]>([:])

  /// - Parameters:
  ///   - find: the active key of a secret, as ``Store/authenticate(secret:)``.
  ///   - now: the clock.
  init(
    find: @escaping @Sendable (String) throws -> APIKey?,
    now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }
  ) {
    self.find = find
    self.now = now
  }

  /// The key behind a request; nil on open routes, which never have one.
  ///
  /// - Throws: ``Problem`` 401 without a working key, 403 when it lacks the scope, and what the route's own check throws.
  func authorize(_ access: Access, _ head: RequestHead) throws -> APIKey? {
    if access.rule == .open { return nil }
    let key = try key(of: head)
    if case .scope(let scope) = access.rule, !key.scopes.contains(scope) {
      throw Problem(
        .forbidden, status: 403, title: "Forbidden", detail: "this needs a key with the scope \(scope.rawValue)")
    }
    try access.admit(head, key)
    return key
  }

  /// Makes the next request with this key ask the database again.
  func forget(keyID: String) {
    remembered.withLock { keys in
      for (secret, entry) in keys where entry.key.id == keyID { keys[secret] = nil }
    }
  }

  private func key(of head: RequestHead) throws -> APIKey {
    let fields = head.headers.all("authorization")
    guard fields.count == 1, let secret = Self.secret(fields[0]) else {
      throw Self.unauthenticated(
        fields.isEmpty
          ? "an API key is needed: send the header Authorization: Bearer <key>"
          : "the Authorization header must be given once and read Bearer <key>, with a key such as "
            + "\(APIKey.secretPrefix)…")
    }
    return try key(secret: secret)
  }

  /// The working key of a secret, remembered or asked for.
  ///
  /// - Throws: ``Problem`` 401 when there is none.
  func key(secret: String) throws -> APIKey {
    let time = now()
    if let entry = remembered.withLock({ $0[secret] }), time < entry.until { return entry.key }
    guard let key = try find(secret) else {
      remembered.withLock { $0[secret] = nil }
      throw Self.unauthenticated("the API key is unknown, expired or revoked")
    }
    remembered.withLock { keys in
      if keys.count >= Self.rememberedMax { keys = keys.filter { time < $0.value.until } }
      // Full of keys in use: this one asks the database each time.
      guard keys.count < Self.rememberedMax else { return }
      keys[secret] = Remembered(key: key, until: time.advanced(by: .seconds(Self.rememberedSeconds)))
    }
    return key
  }

  /// The secret of a header field; nil if it cannot be one, which spares the database guesses.
  private static func secret(_ field: String) -> String? {
    let parts = field.split(separator: " ", maxSplits: 1)
    guard parts.count == 2, parts[0].lowercased() == "bearer" else { return nil }
    let secret = parts[1].trimmingPrefix(while: { $0 == " " })
    guard secret.hasPrefix(APIKey.secretPrefix), secret.utf8.count <= 100, secret.utf8.allSatisfy({ $0 > 0x20 }) else {
      return nil
    }
    return String(secret)
  }

  private static func unauthenticated(_ detail: String) -> Problem {
    Problem(.unauthenticated, status: 401, title: "Unauthorized", detail: detail)
  }
}
