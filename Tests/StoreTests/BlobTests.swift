// Contents: stored once, whole or not at all, read in parts, collected when nobody needs them.
import Contract
import Foundation
import TestSupport
import Testing

@testable import Store

@Suite struct BlobTests {
  let database: TestDatabase
  let store: Store

  init() throws {
    database = try TestDatabase()
    store = try database.store()
  }

  /// Bytes that do not repeat with the chunk size.
  private func content(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
    var state = seed
    return (0..<count).map { _ in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return UInt8(truncatingIfNeeded: state >> 33)
    }
  }

  private func temporaryFile() -> URL {
    FileManager.default.temporaryDirectory.appendingPathComponent("blob-\(UUID().uuidString)")
  }

  @Test(arguments: [0, 1, 1 << 20, (1 << 20) + 1, 3_456_789])
  func `a content comes back as it went in`(count: Int) throws {
    let bytes = content(count)
    let file = temporaryFile()
    defer { try? FileManager.default.removeItem(at: file) }
    try Data(bytes).write(to: file)
    let stored = try store.putBlob(file: file)
    #expect(stored == BlobReference(sha256: SHA256.hexadecimal(bytes), bytes: count))
    #expect(try store.blob(sha256: stored.sha256) == stored)
    #expect(try store.readBlob(sha256: stored.sha256) == bytes)
    let copy = temporaryFile()
    defer { try? FileManager.default.removeItem(at: copy) }
    try store.writeBlob(sha256: stored.sha256, to: copy)
    #expect(try Data(contentsOf: copy) == Data(bytes))
  }

  @Test func `parts are read across chunks and end with the content`() throws {
    let bytes = content(2_500_000)
    let stored = try store.putBlob(bytes)
    for (offset, count) in [(0, 10), (1_048_570, 20), (1_048_576, 1), (5, 2_400_000), (2_499_990, 100), (2_500_000, 1)]
    {
      let expected = Array(bytes[offset..<min(offset + count, bytes.count)])
      #expect(try store.readBlob(sha256: stored.sha256, offset: offset, count: count) == expected)
    }
    #expect(try store.readBlob(sha256: stored.sha256, offset: 9_999_999, count: 5) == [])
  }

  @Test func `equal contents are kept once, also when they come at the same time`() throws {
    let bytes = content(2_000_000)
    let stored = try concurrently(4) { _ in try store.putBlob(bytes) }
    #expect(Set(stored).count == 1)
    #expect(try database.texts("SELECT count(*) FROM blob_chunks") == ["2"])
  }

  @Test func `an upload that is torn leaves nothing behind`() throws {
    let file = temporaryFile()
    defer { try? FileManager.default.removeItem(at: file) }
    try Data(content(3_000_000)).write(to: file)
    // The server ends the connection when the second chunk arrives, as a crash would.
    try database.run(
      """
      CREATE FUNCTION tear() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
      CREATE TRIGGER tear BEFORE INSERT ON blob_chunks FOR EACH ROW WHEN (NEW.position = 1) EXECUTE FUNCTION tear()
      """)
    #expect { try store.putBlob(file: file) } throws: { ($0 as? StoreError)?.isRetryable == true }
    #expect(try database.texts("SELECT count(*) FROM blobs") == ["0"])
    #expect(try database.texts("SELECT count(*) FROM blob_chunks") == ["0"])
    try database.run("DROP TRIGGER tear ON blob_chunks")
    #expect(try store.putBlob(file: file).bytes == 3_000_000)
  }

  @Test func `a damaged content is noticed and no file appears`() throws {
    let stored = try store.putBlob(content(1_500_000))
    try database.run("UPDATE blob_chunks SET content = overlay(content placing '\\x00ff00' from 77) WHERE position = 1")
    let file = temporaryFile()
    #expect { try store.writeBlob(sha256: stored.sha256, to: file) } throws: {
      if case StoreError.corruptContent = $0 { true } else { false }
    }
    #expect(!FileManager.default.fileExists(atPath: file.path))
    try database.run("DELETE FROM blob_chunks WHERE position = 0")
    #expect { try store.readBlob(sha256: stored.sha256) } throws: {
      if case StoreError.corruptContent = $0 { true } else { false }
    }
  }

  @Test func `what is not there is not found`() throws {
    let missing = String(repeating: "0", count: 64)
    #expect(try store.blob(sha256: missing) == nil && store.blob(sha256: "no digest") == nil)
    #expect(throws: StoreError.notFound("content \(missing)")) { try store.readBlob(sha256: missing) }
    try store.makeProject()
    #expect(throws: StoreError.notFound("content \(missing)")) {
      try store.createDataset(
        name: "x", options: DatasetOptions(format: .csv), blob: BlobReference(sha256: missing, bytes: 1),
        project: "demo")
    }
  }

  @Test func `only contents that nobody refers to and that are not new are collected`() throws {
    _ = try store.makeReadyDataset()
    let orphan = try store.putBlob([1, 2, 3])
    let fresh = try store.putBlob([4, 5, 6])
    try database.run(
      "UPDATE blobs SET touched_at = now() - interval '1 hour' WHERE sha256 <> '\\x\(fresh.sha256)'")
    #expect(try store.sweepBlobs() == 1)
    #expect(try store.blob(sha256: orphan.sha256) == nil && store.blob(sha256: fresh.sha256) != nil)
    // Stored again, an old content counts as new.
    try database.run("UPDATE blobs SET touched_at = now() - interval '1 hour'")
    _ = try store.putBlob([4, 5, 6])
    #expect(try store.sweepBlobs() == 0)
  }

  @Test func `housekeeping deletes what is old and used by nobody, and only that`() throws {
    let dataset = try store.makeReadyDataset()
    try store.makeJob(
      on: dataset, idempotency: Idempotency(key: "k", route: "r", requestSHA256: String(repeating: "a", count: 64)))
    _ = try store.putBlob([1, 2, 3])
    let now = Timestamp(Date())
    for name in ["gone", "here"] {
      try store.registerWorker(
        WorkerRecord(
          id: Identifier.make(.worker), host: name, processID: 1, slots: 1, cpuLevel: "avx2", speed: .sample,
          startedAt: now,
          seenAt: now))
    }
    #expect(try store.keepHouse() == Housekeeping(contents: 0, idempotencyKeys: 0, workers: 0))
    try database.run(
      """
      UPDATE blobs SET touched_at = now() - interval '2 days';
      UPDATE idempotency SET created_at = now() - interval '2 days';
      UPDATE workers SET seen_at = now() - interval '2 days' WHERE host = 'gone'
      """)
    #expect(try store.keepHouse() == Housekeeping(contents: 1, idempotencyKeys: 1, workers: 1))
    #expect(try store.workers().map(\.host) == ["here"])
    #expect(try store.blob(sha256: dataset.sha256) != nil)
  }
}
