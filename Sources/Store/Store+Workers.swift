// The workers as they report themselves, for people to look at. Nothing depends on these rows: work is got back by its
// leases.
import Contract
import Foundation

extension Store {
  /// Adds a worker; its times are taken from the database's clock. Safe to repeat.
  public func registerWorker(_ worker: WorkerRecord) throws {
    try persist {
      _ = try pool.run(
        Statement(
          "worker_register",
          """
          INSERT INTO workers
            (id, host, process_id, slots, cpu_level, product_flops_per_s, functions_per_s, bytes_per_s)
          VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
          ON CONFLICT (id) DO UPDATE SET seen_at = now()
          """),
        [
          .text(worker.id), .text(worker.host), .integer(worker.processID), .integer(worker.slots),
          .text(worker.cpuLevel), .number(worker.speed.productFlopsPerSecond),
          .number(worker.speed.functionsPerSecond), .number(worker.speed.bytesPerSecond),
        ])
    }
  }

  /// Says that a worker lives.
  ///
  /// - Returns: false if it is not registered (any more).
  @discardableResult
  public func heartbeatWorker(id: String) throws -> Bool {
    try pool.run(Statement("worker_heartbeat", "UPDATE workers SET seen_at = now() WHERE id = $1"), [.text(id)]).changed
      == 1
  }

  /// The worker that has leased the work on something; nil if nobody has.
  public func workHolder(of subject: String) throws -> String? {
    try pool.read { connection in
      try connection.run(
        Statement("work_holder", "SELECT worker FROM work WHERE subject = $1 AND state = 'leased'"), [.text(subject)]
      ).map { $0.text() }.first
    }
  }

  /// Takes a worker off the list.
  public func removeWorker(id: String) throws {
    _ = try pool.run(Statement("worker_remove", "DELETE FROM workers WHERE id = $1"), [.text(id)])
  }

  /// All workers that were seen within `seenSeconds`, newest first; at most 1,000.
  public func workers(seenSeconds: Double = 3600) throws -> [WorkerRecord] {
    try pool.read { connection in
      try connection.run(
        Statement(
          "workers_list",
          """
          SELECT id, host, process_id, slots, cpu_level, product_flops_per_s, functions_per_s, bytes_per_s, started_at,
            seen_at
          FROM workers
          WHERE seen_at > now() - make_interval(secs => $1) ORDER BY id DESC LIMIT 1000
          """), [.number(seenSeconds)]
      ).map { row in
        WorkerRecord(
          id: row.text(), host: row.text(), processID: row.integer(), slots: row.integer(), cpuLevel: row.text(),
          speed: MachineSpeed(
            productFlopsPerSecond: row.number(), functionsPerSecond: row.number(), bytesPerSecond: row.number()),
          startedAt: row.time(), seenAt: row.time())
      }
    }
  }
}
