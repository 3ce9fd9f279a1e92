// `trainyard bench curve`: how long a chart's worth of points of a very long curve takes, read from the database and
// written as the answer's JSON, while the job runs (many small chunks) and when it is over (few large ones).
import ArgumentParser
import Contract
import Foundation
import Store

extension BenchCommand {
  struct Curve: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Milliseconds for 1,000 points of a long curve, from the database to the answer's bytes.",
      discussion: "Needs a database that it may fill; without one it makes a cluster of its own and deletes it.")

    @OptionGroup var database: DatabaseOptions
    @Option(help: "Points of the curve.") var points = 1_000_000
    @Option(help: "Points of the answer at most.") var maxPoints = 1000
    @Option(help: "Points of one commit; a worker commits once a second.") var commitPoints = 3000
    @Option(help: "Times the curve is read.") var times = 21
    @Flag(help: "Print one JSON object.") var json = false

    func validate() throws {
      guard (2...100_000_000).contains(points), CurveQuery.pointsMaxRange.contains(maxPoints),
        (1...CurveChunk.valuesMax).contains(commitPoints), (1...10_000).contains(times)
      else {
        throw ValidationError(
          "--points must be from 2 to 100000000, --max-points to 100000, --commit-points from 1 to "
            + "\(CurveChunk.valuesMax), --times to 10000")
      }
    }

    func run() throws {
      try BenchCommand.withStore(database, connections: 1) { store in
        let lease = try makeJob(store)
        let began = ContinuousClock.now
        try write(store, lease)
        let writeSeconds = (ContinuousClock.now - began) / .seconds(1)
        let running = try read(store, lease.subject)
        let result = TrainingResult(trainLoss: 1, heldOut: Metrics([.loss: 1]), steps: points, cpuLevel: "bench")
        try store.finishJob(
          lease: lease, outcome: .succeeded(result, model: store.putBlob(Array("no weights".utf8))), last: nil)
        let finished = try read(store, lease.subject)
        let median = { (seconds: [Double]) in BenchCommand.milliseconds(seconds, 0.5) }
        Console().show(
          [
            "command": "curve", "points": .integer(points), "max_points": .integer(maxPoints),
            "ms": .number(median(running)), "ms_max": .number(BenchCommand.milliseconds(running, 1)),
            "ms_finished": .number(median(finished)), "points_written_per_s": .number(Double(points) / writeSeconds),
          ], asJSON: json
        ) {
          "\(maxPoints) of \(points) points: \(median(running)) ms while the job runs, \(median(finished)) ms after; "
            + "\(Int(Double(points) / writeSeconds)) points/s written"
        }
      }
    }

    private func makeJob(_ store: Store) throws -> Lease {
      let dataset = try BenchCommand.makeDataset(in: store, project: "bench")
      let model = ModelSpec.mlp(hidden: [4], activation: .relu)
      let spec = TrainingSpec(
        dataset: dataset.id, model: model, steps: points,
        optimizer: OptimizerSpec(name: .adam))
      let job = try store.createJob(spec: spec, model: model, optimizerID: nil, project: "bench").job
      guard let claim = try store.claim(worker: "bench", kinds: [.job], leaseSeconds: 3600),
        claim.lease.subject == job.id
      else { throw CommandFailure(.failure, "the database has jobs that wait: take another one") }
      return claim.lease
    }

    /// A noisy loss that falls, in as many commits as a worker makes.
    private func write(_ store: Store, _ lease: Lease) throws {
      var noise: UInt64 = 1
      for (index, first) in stride(from: 0, to: points, by: commitPoints).enumerated() {
        let values = (first..<min(first + commitPoints, points)).map { step -> Float in
          noise = noise &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
          return Float(2 / (1 + 1e-4 * Double(step)).squareRoot()) + Float(noise >> 40) / Float(1 << 24)
        }
        let chunk = CurveChunk(series: .trainLoss, firstStep: first, stride: 1, values: values)
        _ = try store.commit(
          progress: JobProgress(
            sequence: index + 1, step: first + values.count, loss: values.last, chunks: [chunk]), lease: lease)
      }
    }

    /// Seconds of each reading.
    private func read(_ store: Store, _ job: String) throws -> [Double] {
      var seconds: [Double] = []
      for _ in 0..<times {
        let began = ContinuousClock.now
        let (curve, total) = try store.curve(
          job: job, series: .trainLoss, query: CurveQuery(pointsMax: maxPoints))
        let answer = curve.json(series: .trainLoss, total: total).text
        seconds.append((ContinuousClock.now - began) / .seconds(1))
        guard total == points, curve.steps.count <= maxPoints, !answer.isEmpty else {
          throw CommandFailure(.failure, "the curve has \(total) points, not \(points): that is a fault of the program")
        }
      }
      return seconds
    }
  }
}
