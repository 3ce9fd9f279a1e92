// Contents by their SHA-256, in chunks of 1 MiB. Equal contents are kept once. A content is visible when it is
// complete, and is kept while a dataset, checkpoint or optimizer refers to it, or while it is new.
import Contract
import Foundation
import Glibc

/// A content that is stored.
public struct BlobReference: Sendable, Hashable {
  /// Lower-case hexadecimal; the content's name.
  public let sha256: String
  public let bytes: Int

  public init(sha256: String, bytes: Int) {
    self.sha256 = sha256
    self.bytes = bytes
  }
}

extension Store {
  /// Bytes in each chunk but the last.
  public static let blobChunkBytes = 1 << 20

  /// Stores bytes. Safe to repeat.
  public func putBlob(_ content: [UInt8]) throws -> BlobReference {
    try put(sha256: SHA256.digest(content), bytes: content.count) { offset, count in
      Array(content[offset..<offset + count])
    }
  }

  /// Stores a file's content; the memory used is a few chunks. Safe to repeat.
  ///
  /// - Throws: ``StoreError/corruptContent(_:)`` if the file changes meanwhile or cannot be read.
  public func putBlob(fileDescriptor: Int32) throws -> BlobReference {
    // Two passes: the name must be known before the first chunk is written, and the file is in the page cache.
    let hash = SHA256()
    var bytes = 0
    while true {
      let chunk = try Self.read(fileDescriptor, at: bytes, count: Self.blobChunkBytes)
      chunk.withUnsafeBytes { hash.update($0) }
      bytes += chunk.count
      if chunk.count < Self.blobChunkBytes { break }
    }
    return try put(sha256: hash.finish(), bytes: bytes) { offset, count in
      try Self.read(fileDescriptor, at: offset, count: count)
    }
  }

  /// Stores a file's content; see ``putBlob(fileDescriptor:)``.
  public func putBlob(file: URL) throws -> BlobReference {
    let descriptor = open(file.path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw StoreError.corruptContent("cannot open \(file.path): \(String(cString: strerror(errno)))")
    }
    defer { Glibc.close(descriptor) }
    return try putBlob(fileDescriptor: descriptor)
  }

  private func put(
    sha256: [UInt8], bytes: Int, chunk: (_ offset: Int, _ count: Int) throws -> [UInt8]
  ) throws -> BlobReference {
    let reference = BlobReference(sha256: Hexadecimal.text(sha256), bytes: bytes)
    try persist {
      // One transaction: readers see the whole content or nothing, whatever happens on the way.
      try bulk.transaction { connection in
        // Waits here for somebody who is storing the same content, and then has nothing left to do.
        guard try connection.run(Self.insertBlob, [.bytes(sha256), .integer(bytes)]).first?.isInserted == true else {
          return
        }
        let hash = SHA256()
        for offset in stride(from: 0, to: bytes, by: Self.blobChunkBytes) {
          let content = try chunk(offset, min(Self.blobChunkBytes, bytes - offset))
          content.withUnsafeBytes { hash.update($0) }
          try connection.run(
            Self.insertChunk, [.bytes(sha256), .integer(offset / Self.blobChunkBytes), .bytes(content)])
        }
        guard hash.finish() == sha256 else {
          throw StoreError.corruptContent("the content changed while it was being stored; nothing was stored")
        }
        // The time that collection goes by is when the content is there, not when a long upload began.
        try connection.run(Self.touchBlob, [.bytes(sha256)])
      }
    }
    return reference
  }

  // A row that is there already is touched, so that it is not collected before the caller refers to it.
  private static let insertBlob = Statement(
    "blob_insert",
    """
    INSERT INTO blobs (sha256, bytes) VALUES ($1, $2)
    ON CONFLICT (sha256) DO UPDATE SET touched_at = now() RETURNING xmax = 0
    """)
  private static let touchBlob = Statement(
    "blob_touch", "UPDATE blobs SET touched_at = clock_timestamp() WHERE sha256 = $1")
  private static let insertChunk = Statement(
    "blob_insert_chunk", "INSERT INTO blob_chunks (sha256, position, content) VALUES ($1, $2, $3)")

  private static func read(_ descriptor: Int32, at offset: Int, count: Int) throws -> [UInt8] {
    try [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
      while filled < count {
        let got = pread(descriptor, buffer.baseAddress! + filled, count - filled, offset + filled)
        if got < 0 && errno == EINTR { continue }
        guard got >= 0 else {
          throw StoreError.corruptContent("cannot read the content: \(String(cString: strerror(errno)))")
        }
        if got == 0 { break }
        filled += got
      }
    }
  }

  /// A stored content, nil if there is none of that name.
  public func blob(sha256: String) throws -> BlobReference? {
    guard let digest = Hexadecimal.digest(sha256) else { return nil }
    return try pool.read { connection in
      try connection.run(Statement("blob_get", "SELECT bytes FROM blobs WHERE sha256 = $1"), [.bytes(digest)]).map {
        BlobReference(sha256: sha256, bytes: $0.integer())
      }.first
    }
  }

  /// Reads a part of a content.
  ///
  /// - Parameters:
  ///   - offset: first byte, from 0.
  ///   - count: bytes at most; fewer come back at the end of the content. The default reads all the rest into memory.
  /// - Throws: ``StoreError/notFound(_:)``; ``StoreError/corruptContent(_:)`` if chunks are missing, and for a whole
  ///   content if its hash is wrong.
  public func readBlob(sha256: String, offset: Int = 0, count: Int = .max) throws -> [UInt8] {
    precondition(offset >= 0 && count >= 0, "offset and count are not negative")
    guard let digest = Hexadecimal.digest(sha256), let blob = try blob(sha256: sha256) else {
      throw StoreError.notFound("content \(sha256.prefix(64))")
    }
    let end = offset + min(count, max(0, blob.bytes - offset))
    guard offset < end else { return [] }
    var content: [UInt8] = []
    content.reserveCapacity(end - offset)
    for position in offset / Self.blobChunkBytes...(end - 1) / Self.blobChunkBytes {
      let start = position * Self.blobChunkBytes
      let from = max(offset, start) - start
      let wanted = min(end, start + Self.blobChunkBytes) - start - from
      let got = try readChunk(digest, position, from: from, count: wanted) { part in
        content.append(contentsOf: part)
        return part.count
      }
      guard got == wanted else {
        throw StoreError.corruptContent("content \(sha256) has \(got ?? 0) of \(wanted) bytes in chunk \(position)")
      }
    }
    if offset == 0 && end == blob.bytes && SHA256.digest(content) != digest {
      throw StoreError.corruptContent("content \(sha256) is damaged: its bytes have another hash")
    }
    return content
  }

  private func readChunk<Value>(
    _ digest: [UInt8], _ position: Int, from: Int, count: Int, _ body: (UnsafeRawBufferPointer) throws -> Value
  ) throws -> Value? {
    let result = try persist {
      try bulk.read { connection in
        try connection.run(
          Statement(
            "blob_read",
            "SELECT substring(content FROM $3 FOR $4) FROM blob_chunks WHERE sha256 = $1 AND position = $2"),
          [.bytes(digest), .integer(position), .integer(from + 1), .integer(count)])
      }
    }
    guard var row = result.first else { return nil }
    return try row.withBytes(body)
  }

  /// Writes a content to a file, which appears under its name when it is complete and its hash is right.
  ///
  /// - Throws: ``StoreError/notFound(_:)``; ``StoreError/corruptContent(_:)`` if the content does not have its hash or
  ///   the file cannot be written.
  public func writeBlob(sha256: String, to file: URL) throws {
    guard let digest = Hexadecimal.digest(sha256), let blob = try blob(sha256: sha256) else {
      throw StoreError.notFound("content \(sha256.prefix(64))")
    }
    let path = file.path + ".part-\(getpid())-\(UInt32.random(in: .min ... .max))"
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw Self.fileFault(path) }
    defer {
      Glibc.close(descriptor)
      unlink(path)
    }
    let hash = SHA256()
    for position in 0..<(blob.bytes + Self.blobChunkBytes - 1) / Self.blobChunkBytes {
      try readChunk(digest, position, from: 0, count: Self.blobChunkBytes) { part in
        hash.update(part)
        var written = 0
        while written < part.count {
          let count = write(descriptor, part.baseAddress! + written, part.count - written)
          if count < 0 && errno == EINTR { continue }
          guard count > 0 else { throw Self.fileFault(path) }
          written += count
        }
      }
    }
    guard hash.finish() == digest else {
      throw StoreError.corruptContent("content \(sha256) does not have its hash: the database is damaged")
    }
    guard rename(path, file.path) == 0 else { throw Self.fileFault(file.path) }
  }

  private static func fileFault(_ path: String) -> StoreError {
    .corruptContent("cannot write \(path): \(String(cString: strerror(errno)))")
  }

  /// Deletes contents that nothing refers to.
  ///
  /// - Parameter graceSeconds: how long a content is kept after it was last uploaded, so that one whose reference is
  ///   still on its way is not taken; default 10 minutes.
  /// - Returns: how many were deleted.
  @discardableResult
  public func sweepBlobs(graceSeconds: Double = 600) throws -> Int {
    var total = 0
    while true {
      // A few at a time, so that no lock is held for long. The foreign keys make a reference that comes in between
      // wait for, or win against, the deletion.
      let deleted = try bulk.run(Self.sweep, [.number(graceSeconds)]).changed
      total += deleted
      if deleted < 100 { return total }
    }
  }

  private static let sweep = Statement(
    "blobs_sweep",
    """
    DELETE FROM blobs WHERE sha256 IN (
      SELECT sha256 FROM blobs b
      WHERE touched_at < now() - make_interval(secs => $1)
        AND NOT EXISTS (SELECT FROM datasets d WHERE d.sha256 = b.sha256)
        AND NOT EXISTS (SELECT FROM models m WHERE m.sha256 = b.sha256)
        AND NOT EXISTS (SELECT FROM checkpoints c WHERE c.sha256 = b.sha256)
        AND NOT EXISTS (SELECT FROM campaign_snapshots c WHERE c.sha256 = b.sha256)
        AND NOT EXISTS (SELECT FROM optimizers o WHERE o.sha256 = b.sha256)
        AND NOT EXISTS (SELECT FROM optimizers o WHERE o.flax = b.sha256)
        AND NOT EXISTS (SELECT FROM optimizers o WHERE o.source = b.sha256)
        AND NOT EXISTS (SELECT FROM evaluations e WHERE e.report_json = b.sha256)
        AND NOT EXISTS (SELECT FROM evaluations e WHERE e.report_html = b.sha256)
        AND NOT EXISTS (SELECT FROM evaluation_weights w WHERE w.sha256 = b.sha256)
      ORDER BY touched_at LIMIT 100 FOR UPDATE SKIP LOCKED)
    """)
}

extension Row {
  fileprivate var isInserted: Bool {
    var row = self
    return row.bool()
  }
}
