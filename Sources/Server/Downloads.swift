// Stored contents as downloads: streamed in pieces, with entity tag, digest and single ranges (RFC 9110 §14).
import Contract
import Foundation
import HTTP
import Store

/// Answers with stored contents.
struct Downloads: Sendable {
  let store: Store

  /// What is read from the database, and held in memory, at a time; the size of the stored chunks.
  private static let pieceBytes = Store.blobChunkBytes

  /// A stored content as a file.
  ///
  /// - Throws: ``HTTPError`` 416 when the range lies beyond the content.
  func answer(_ content: StoredContent, fileName: String, _ head: RequestHead) throws -> Response {
    try answer(content, fileName: fileName, head) { [store] offset, count in
      try store.readBlob(sha256: content.sha256, offset: offset, count: count)
    }
  }

  /// A content as a file, of which `read` gives so many bytes from an offset on.
  func answer(
    _ content: StoredContent, fileName: String, _ head: RequestHead,
    read: @escaping @Sendable (_ offset: Int, _ count: Int) throws -> [UInt8]
  ) throws -> Response {
    let tag = "\"\(content.sha256)\""
    var headers: ResponseHeaders = [
      // The content behind a hash never changes, but whether this client may see it does.
      "ETag": tag, "Cache-Control": "private, no-cache", "Accept-Ranges": "bytes",
    ]
    if head.hasCurrent(tag) { return Response(status: .notModified, headers: headers) }
    headers["Content-Type"] = "application/octet-stream"
    headers["Content-Disposition"] = "attachment; filename=\"\(fileName)\""
    headers["Repr-Digest"] = "sha-256=:\(Self.base64(hexadecimal: content.sha256)):"

    var status = Status.ok
    var range = 0..<content.bytes
    if let field = head.headers["range"], head.headers["if-range"].map({ $0 == tag }) ?? true {
      switch Self.range(field, bytes: content.bytes) {
      case .whole: break
      case .part(let part):
        status = .partialContent
        range = part
        headers["Content-Range"] = "bytes \(part.lowerBound)-\(part.upperBound - 1)/\(content.bytes)"
      case .beyond:
        throw HTTPError(
          .rangeNotSatisfiable,
          detail: "the content has \(content.bytes) bytes; \(field.prefix(100)) lies beyond them",
          headers: ["Content-Range": "bytes */\(content.bytes)"])
      }
    }
    return Response(status: status, headers: headers, body: .stream(stream(range, read)))
  }

  private func stream(
    _ range: Range<Int>, _ read: @escaping @Sendable (Int, Int) throws -> [UInt8]
  ) -> BodyStream {
    let place = Place(range)
    return BodyStream(byteCount: range.count) {
      guard let next = place.next(Self.pieceBytes) else { return nil }
      return try read(next.lowerBound, next.count)
    }
  }

  /// How far a stream has come.
  // @unchecked: a body stream asks for one piece at a time, each after the one before.
  private final class Place: @unchecked Sendable {
    private var left: Range<Int>

    init(_ range: Range<Int>) { left = range }

    /// The next part, ending where a stored chunk ends, so that none is read twice.
    func next(_ bytes: Int) -> Range<Int>? {
      guard !left.isEmpty else { return nil }
      let end = min(left.upperBound, (left.lowerBound / bytes + 1) * bytes)
      defer { left = end..<left.upperBound }
      return left.lowerBound..<end
    }
  }

  enum Wanted: Equatable {
    case whole
    case part(Range<Int>)
    case beyond
  }

  /// What a `Range` field asks for. Several ranges, and what cannot be read, mean the whole, as the RFC allows.
  static func range(_ field: String, bytes: Int) -> Wanted {
    guard let match = field.wholeMatch(of: #/(?i)bytes=\s*(\d{0,18})-(\d{0,18})\s*/#)?.output else { return .whole }
    switch (Int(match.1), Int(match.2)) {
    case (nil, nil): return .whole
    case (nil, let suffix?):
      return suffix == 0 || bytes == 0 ? .beyond : .part(max(0, bytes - suffix)..<bytes)
    case (let first?, let last):
      if let last, last < first { return .whole }
      return first < bytes ? .part(first..<min(bytes, (last ?? bytes) + 1)) : .beyond
    }
  }

  private static func base64(hexadecimal text: String) -> String {
    let digits = Array(text)
    let bytes = stride(from: 0, to: digits.count - 1, by: 2).compactMap {
      UInt8(String(digits[$0...$0 + 1]), radix: 16)
    }
    return Data(bytes).base64EncodedString()
  }
}
