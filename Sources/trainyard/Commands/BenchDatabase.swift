// Where the benchmarks of the store find a database: one that is named, or a cluster of their own that goes when they do.
// BenchQueue.swift, BenchCurve.swift and BenchGroups.swift measure in it.
import Contract
import Foundation
import Store

extension BenchCommand {
  /// Opens a database that may be filled, migrates it, and has `body` measure there.
  ///
  /// - Parameters:
  ///   - options: may name a database; without one, nor TRAINYARD_DATABASE_URL, a private cluster is made and deleted.
  ///   - connections: how many the store may open.
  static func withStore(_ options: DatabaseOptions, connections: Int, _ body: (Store) throws -> Void) throws {
    func open(_ connection: String) throws {
      let store = try Store(
        connection: connection, connectionsMax: connections, applicationName: "bench", patienceSeconds: 30)
      defer { store.close() }
      try store.migrate()
      try body(store)
    }
    if let url = options.databaseURL ?? ProcessInfo.processInfo.environment["TRAINYARD_DATABASE_URL"] {
      return try open(url)
    }
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("ty-bench-\(getpid())")
    try FileManager.default.createDirectory(
      at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o711])
    defer { try? FileManager.default.removeItem(at: folder) }
    let cluster = PrivateCluster(dataFolder: folder)
    let connection = try cluster.start()
    defer { cluster.stop() }
    try open(connection)
  }

  /// A project with a tiny dataset that is ready, for jobs that nobody trains.
  static func makeDataset(in store: Store, project: String) throws -> Dataset {
    _ = try store.createKey(name: "bench", scopes: [.jobsRead], expiresAt: nil, project: project)
    let blob = try store.putBlob(Array("bench".utf8))
    let id = try store.createDataset(
      name: "bench", options: DatasetOptions(format: .csv), blob: blob, project: project
    ).dataset.id
    let schema = DatasetSchema(
      shape: DataShape(input: [2], target: .classes(2)), trainRows: 90, heldOutRows: 10, classNames: ["no", "yes"],
      columns: ["a", "b"].map { DatasetSchema.Column(name: $0, categories: nil) })
    while let claim = try store.claim(worker: "bench", kinds: [.validation], leaseSeconds: 60) {
      guard claim.lease.subject == id else {
        throw CommandFailure(.failure, "the database has datasets that wait for validation: take another one")
      }
      try store.finishValidation(lease: claim.lease, outcome: .ready(schema: schema, preview: ["rows": []]))
    }
    guard let dataset = try store.dataset(id: id, project: project) else {
      throw CommandFailure(.failure, "the dataset of the benchmark is gone: take a database that nobody else uses")
    }
    return dataset
  }

  /// The value below which a share of the sorted `seconds` lies, in milliseconds to a hundredth.
  static func milliseconds(_ seconds: [Double], _ share: Double) -> Double {
    let sorted = seconds.sorted()
    guard !sorted.isEmpty else { return 0 }
    return (sorted[min(sorted.count - 1, Int(share * Double(sorted.count)))] * 1e5).rounded() / 100
  }
}
