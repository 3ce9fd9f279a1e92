// WorkerProcess.swift, Slot.swift, TrainingRun.swift, DatasetCache.swift: a real worker on a real database, in this
// process so that its cache and its timing can be interfered with.
import Contract
import Foundation
import Logging
import Store
import TestSupport
import Testing

@testable import Worker

@Suite struct WorkerProcessTests {
  @Test("an evaluation after every step is no problem, and every one of them is kept")
  func evaluatesEveryStep() throws {
    let bench = try WorkerBench()
    let dataset = try bench.upload(WorkerBench.table)
    let job = try bench.train(.small(dataset, steps: 700, evaluateEvery: 1))
    #expect(job.state == .succeeded && job.attempt == 1, "\(job.message ?? "")")
    let curves = try bench.store.curveSummaries(job: job.id)
    #expect(curves.map(\.points) == [700, 700, 700])
  }

  @Test("data without a single target is rejected with a reason")
  func noTargets() throws {
    let bench = try WorkerBench()
    let dataset = try bench.upload("x,y\n1,\n2,\n3,\n", DatasetOptions(format: .csv, task: .regression))
    #expect(dataset.state == .rejected)
    let problems = try bench.store.datasetProblems(id: dataset.id, project: "default")
    #expect(problems?.first?.reason.contains("no numbers") == true)
  }

  @Test("a damaged cache is decoded afresh from the store")
  func damagedCache() throws {
    let first = try WorkerBench()
    let dataset = try first.upload(WorkerBench.table)
    let good = try first.train(.small(dataset, steps: 30))
    for name in try FileManager.default.contentsOfDirectory(atPath: first.cache.path) where !name.hasPrefix(".") {
      let file = first.cache.appendingPathComponent(name).appendingPathComponent("train.inputs")
      try Data([1, 2, 3]).write(to: file)
    }
    // Another worker has nothing mapped yet, and finds the damage.
    let cache = DatasetCache(store: first.store, folder: first.cache, bytesMax: 1 << 30)
    #expect(try cache.open(dataset).train.rows == dataset.schema?.trainRows)
    #expect(good.state == .succeeded)
  }

  @Test("what a killed worker left half-written is removed, what a living one is writing is not")
  func orphans() throws {
    let database = try TestDatabase()
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("trainyard-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: folder) }
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    // No process has the largest number there can be.
    let dead = [".upload-4194304-7", ".0123-89.4194304.55"]
    let living = [".upload-\(getpid())-7", ".0123-89.\(getpid()).55", "0123-89"]
    for name in dead + living { try Data([1]).write(to: folder.appendingPathComponent(name)) }
    _ = try DatasetCache(store: database.store(), folder: folder, bytesMax: 1 << 30)
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() == living.sorted())
  }

  @Test("a job whose loss is never finite fails as diverged, with the step")
  func diverged() throws {
    let bench = try WorkerBench()
    let rows = (0..<50).map { "\($0),\(Double($0) * 1.5)" }.joined(separator: "\n")
    let dataset = try bench.upload("x,y\n" + rows, DatasetOptions(format: .csv, task: .regression))
    var wild = TrainingSpec.small(dataset, steps: 200)
    wild.optimizer = OptimizerSpec(name: .sgd, learningRate: 1e6)
    let job = try bench.train(wild)
    #expect(job.state == .failed && job.reason == .diverged, "\(job.state) \(job.message ?? "")")
    #expect(job.message?.contains("not finite") == true)
  }
}
