// Curves: how points are packed into chunks, read back by range, thinned out, and merged when a job is over.
// CurveSampler.swift does the thinning.
import Contract
import Foundation

/// A chunk as the database keeps it: little-endian binary32.
struct PackedChunk {
  let series: CurveSeries
  let firstStep: Int
  let stride: Int
  let count: Int
  /// NaN counts as highest.
  let minimum: Float
  let maximum: Float
  let points: [UInt8]

  init(_ chunk: CurveChunk) throws {
    guard (1...CurveChunk.valuesMax).contains(chunk.values.count), chunk.stride >= 1, chunk.firstStep >= 0,
      !chunk.stride.multipliedReportingOverflow(by: chunk.values.count).overflow
    else {
      throw StoreError.limit(
        "chunk of \(chunk.series.rawValue): expected 1 to \(CurveChunk.valuesMax) values from step 0 with a stride "
          + "from 1, got \(chunk.values.count) from step \(chunk.firstStep) with \(chunk.stride)")
    }
    (series, firstStep, stride, count) = (chunk.series, chunk.firstStep, chunk.stride, chunk.values.count)
    var low = chunk.values[0], high = chunk.values[0]
    for value in chunk.values {
      if value < low || low.isNaN { low = value }
      if value > high || value.isNaN { high = value }
    }
    (minimum, maximum) = (low, high)
    points = chunk.values.withUnsafeBufferPointer { values in
      [UInt8](unsafeUninitializedCapacity: values.count * 4) { bytes, filled in
        for (index, value) in values.enumerated() {
          UnsafeMutableRawBufferPointer(bytes).storeBytes(
            of: value.bitPattern.littleEndian, toByteOffset: index * 4, as: UInt32.self)
        }
        filled = values.count * 4
      }
    }
  }
}

extension Store {
  /// What is known of each series of a job that has points.
  public func curveSummaries(job: String) throws -> [CurveSummary] {
    try pool.read { connection in
      try connection.run(Self.summaries, [.text(job)]).map { row in
        let series = try Self.stored(CurveSeries.self, row.text())
        let (points, lastStep) = (row.integer(), row.integer())
        let (minimum, maximum) = (Float(row.number()), Float(row.number()))
        let last = row.withBytes { Float(bitPattern: UInt32(littleEndian: $0.loadUnaligned(as: UInt32.self))) }
        return CurveSummary(
          series: series, points: points, lastStep: lastStep, last: last, minimum: minimum, maximum: maximum)
      }
    }
  }

  // EXTERNAL storage: the last four bytes of a chunk are read without the rest.
  private static let summaries = Statement(
    "curve_summaries",
    """
    SELECT s.series, s.points, s.last_step, s.minimum, s.maximum,
      (SELECT substring(c.points FROM length(c.points) - 3) FROM curve_chunks c
       WHERE c.job = $1 AND c.series = s.series ORDER BY c.first_step DESC LIMIT 1)
    FROM (
      SELECT series, sum(length(points) / 4) AS points, max(last_step) AS last_step, min(minimum) AS minimum,
        max(maximum) AS maximum
      FROM curve_chunks WHERE job = $1 GROUP BY series
    ) s ORDER BY array_position(ARRAY['train_loss', 'held_out_loss'], s.series), s.series
    """)

  /// Reads a range of a series; see ``CurveQuery``. Memory does not grow with the number of points in the range.
  ///
  /// - Returns: the points, thinned out as ``CurvePoints/sampled(pointsMax:)`` does, or, without sampling, the first
  ///   `pointsMax` of the range; and how many there are in the range.
  public func curve(job: String, series: CurveSeries, query: CurveQuery) throws -> (points: CurvePoints, total: Int) {
    guard CurveQuery.pointsMaxRange.contains(query.pointsMax) else {
      throw StoreError.limit("max_points: expected 2 to 100000, got \(query.pointsMax)")
    }
    guard query.from <= query.to else { return (CurvePoints(), 0) }
    return try pool.read { connection in
      // One state for both queries, or a chunk could be counted and then merged away.
      try connection.transaction(.snapshot) {
        let spans = try Self.spans(job, series, query, connection)
        let total = spans.reduce(0) { $0 + $1.count }
        let isSampled = query.sampling == .minmax && total > query.pointsMax
        var sampler = CurveSampler(total: total, pointsMax: isSampled ? query.pointsMax : total)
        var left = isSampled ? total : min(total, query.pointsMax)
        var batch: ArraySlice<ChunkSpan> = []
        var rest = spans[...]
        while left > 0, !rest.isEmpty {
          // About 4 MB at a time.
          var points = 0
          batch = rest.prefix { span in
            points += span.count
            return points <= 1 << 20 || points == span.count
          }
          rest = rest.dropFirst(batch.count)
          let result = try connection.run(
            Self.readChunks,
            [.text(job), .text(series.rawValue), .integer(batch.first!.firstStep), .integer(batch.last!.firstStep)])
          var spansLeft = batch[...]
          _ = try result.map { row in
            guard let span = spansLeft.popFirst() else { return }
            try row.withBytes { bytes in
              guard (span.skipped + span.count) * 4 <= bytes.count else {
                throw StoreError.corruptContent("a chunk of \(series.rawValue) of \(job) is shorter than it should be")
              }
              let count = min(span.count, left)
              left -= count
              sampler.add(
                UnsafeRawBufferPointer(rebasing: bytes[(span.skipped * 4)...]), count: count,
                firstStep: span.firstStep + span.skipped * span.stride, stride: span.stride)
            }
          }
        }
        return (sampler.points, total)
      }
    }
  }

  /// The part of a chunk that lies in a range: `count` points after `skipped`.
  private struct ChunkSpan {
    let firstStep: Int, stride: Int, skipped: Int, count: Int
  }

  private static func spans(
    _ job: String, _ series: CurveSeries, _ query: CurveQuery, _ connection: Connection
  ) throws -> [ChunkSpan] {
    try connection.run(
      listChunks, [.text(job), .text(series.rawValue), .integer(query.from), .integer(query.to)]
    ).map { row in
      let (first, last, stride) = (row.integer(), row.integer(), row.integer())
      let skipped = query.from <= first ? 0 : (query.from - first + stride - 1) / stride
      let end = (min(last, query.to) - first) / stride
      return ChunkSpan(firstStep: first, stride: stride, skipped: skipped, count: max(0, end - skipped + 1))
    }
  }

  private static let listChunks = Statement(
    "curve_list_chunks",
    """
    SELECT first_step, last_step, stride FROM curve_chunks
    WHERE job = $1 AND series = $2 AND first_step <= $4 AND last_step >= $3 ORDER BY first_step
    """)
  private static let readChunks = Statement(
    "curve_read_chunks",
    """
    SELECT points FROM curve_chunks WHERE job = $1 AND series = $2 AND first_step BETWEEN $3 AND $4
    ORDER BY first_step
    """)

  // MARK: Merging

  /// Merges the many small chunks of a finished job into few large ones. Safe to repeat.
  func compactCurves(job: String) throws {
    for series in CurveSeries.allCases {
      try pool.transaction { connection in
        var merger = ChunkMerger(series: series)
        let result = try connection.run(Self.lockChunks, [.text(job), .text(series.rawValue)])
        for var row in (0..<result.count).compactMap(result.row) {
          let (first, stride) = (row.integer(), row.integer())
          row.withBytes { merger.add($0, firstStep: first, stride: stride) }
        }
        let merged = merger.finish()
        guard merged.count < result.count else { return }
        try connection.run(Self.deleteChunks, [.text(job), .text(series.rawValue)])
        for chunk in try merged.map(PackedChunk.init) {
          try connection.run(
            Self.insertChunk,
            [
              .text(job), .text(series.rawValue), .integer(chunk.firstStep), .integer(chunk.stride),
              .number(Double(chunk.minimum)), .number(Double(chunk.maximum)), .bytes(chunk.points),
            ])
        }
      }
    }
  }

  private static let lockChunks = Statement(
    "curve_lock_chunks",
    """
    SELECT first_step, stride, points FROM curve_chunks WHERE job = $1 AND series = $2
      AND EXISTS (SELECT FROM jobs WHERE id = $1 AND finished_at IS NOT NULL)
    ORDER BY first_step FOR UPDATE
    """)
  private static let deleteChunks = Statement(
    "curve_delete_chunks", "DELETE FROM curve_chunks WHERE job = $1 AND series = $2")
  private static let insertChunk = Statement(
    "curve_insert_chunk",
    """
    INSERT INTO curve_chunks (job, series, first_step, last_step, stride, attempt, sequence, minimum, maximum, points)
    SELECT j.id, $2, $3, $3::bigint + $4::bigint * (length($7::bytea) / 4 - 1), $4, j.attempt, 0, $5, $6, $7
    FROM jobs j WHERE j.id = $1
    """)
}
