// RFC 9457 problem details: the one form of every error answer.
import Foundation

/// An error as clients read it.
public struct Problem: Error, Sendable, Hashable {
  /// Stable kinds; `type` is `urn:trainyard:problem:<kind>`.
  public enum Kind: String, Sendable, CaseIterable {
    case badRequest = "bad-request"
    case invalidField = "invalid-field"
    case unauthenticated
    case forbidden
    case notFound = "not-found"
    case conflict
    case notReady = "not-ready"
    case quota
    case unavailable
    case internalError = "internal-error"
  }
  public var kind: Kind
  public var status: Int
  public var title: String
  public var detail: String
  public var errors: [Fault]
  /// Whether the same request may succeed later.
  public var retryable: Bool

  public init(
    _ kind: Kind, status: Int, title: String, detail: String, errors: [Fault] = [], retryable: Bool = false
  ) {
    self.kind = kind
    self.status = status
    self.title = title
    self.detail = detail
    self.errors = errors
    self.retryable = retryable
  }

  /// The problem's JSON; `requestID` ties it to the server's log.
  public func json(requestID: String?) -> JSON {
    [
      "type": .string("urn:trainyard:problem:\(kind.rawValue)"), "title": .string(title), "status": .integer(status),
      "detail": .string(detail), "errors": .array(errors.map(\.json)), "retryable": .bool(retryable),
      "request_id": .optional(requestID),
    ]
  }
}

/// One page of a list, newest first.
public struct Page<Item: Sendable>: Sendable {
  public var items: [Item]
  /// Opaque place of the next page; nil on the last.
  public var nextCursor: String?

  public static var limitRange: ClosedRange<Int> { 1...200 }

  public init(items: [Item], nextCursor: String?) {
    self.items = items
    self.nextCursor = nextCursor
  }

  public func json(_ item: (Item) -> JSON) -> JSON {
    ["items": .array(items.map(item)), "next_cursor": .optional(nextCursor)]
  }
}
