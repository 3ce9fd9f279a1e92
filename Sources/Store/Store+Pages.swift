// Pages of lists, newest first. Ids are time-ordered, so the cursor is the id of the last item shown.
import Contract

extension Store {
  /// The query of a page: at most `$(after + 1)` rows below the id `$after`, which is null on the first page.
  static func pageSQL(_ columns: String, from table: String, where condition: String, after: Int) -> String {
    """
    SELECT \(columns) FROM \(table)
    WHERE \(condition) AND id < coalesce($\(after), '~') ORDER BY id DESC LIMIT $\(after + 1)
    """
  }

  /// Runs a page query.
  ///
  /// - Throws: ``StoreError/invalidCursor(_:)``, or ``StoreError/limit(_:)`` outside of 1 to 200.
  func page<Item>(
    _ statement: Statement, _ parameters: [Parameter], kind: IdentifierKind, cursor: String?, limit: Int,
    id: KeyPath<Item, String>, decode: (inout Row) throws -> Item
  ) throws -> Page<Item> {
    try Self.checkLimit(limit)
    if let cursor, !Identifier.isValid(cursor, kind) { throw StoreError.invalidCursor(cursor) }
    // One more than asked for tells whether there is a next page.
    let items = try pool.read { connection in
      try connection.run(statement, parameters + [.optional(cursor), .integer(limit + 1)]).map(decode)
    }
    let shown = Array(items.prefix(limit))
    return Page(items: shown, nextCursor: items.count > limit ? shown.last?[keyPath: id] : nil)
  }

  static func checkLimit(_ limit: Int) throws {
    guard Page<Never>.limitRange.contains(limit) else {
      throw StoreError.limit(
        "limit: expected \(Page<Never>.limitRange.lowerBound) to \(Page<Never>.limitRange.upperBound), got \(limit)")
    }
  }
}
