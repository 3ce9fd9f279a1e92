// What becomes of a job's curves between two attempts: they end where the next attempt will go on, so that every step
// stands in them once.
import Contract
import Foundation

extension Store {
  /// Takes a job back to its newest state to go on from: its step, and its curves.
  ///
  /// A state after n steps has the train losses of steps 0 to n - 1 and the evaluations up to n behind it; what lies
  /// beyond will be written again.
  static func rewind(_ job: String, on connection: Connection) throws {
    guard var row = try connection.run(findResumeStep, [.text(job)]).first else { return }
    let step = row.integer()
    try connection.run(rewindJob, [.text(job), .integer(step)])
    for series in CurveSeries.allCases {
      let end = series == .trainLoss ? step : step + 1
      let range: [Parameter] = [.text(job), .text(series.rawValue), .integer(end)]
      try connection.run(deleteBeyond, range)
      // At most one chunk goes on beyond the step; it is cut.
      guard var row = try connection.run(findStraddling, range).first else { continue }
      let (first, stride) = (row.integer(), row.integer())
      let kept = row.withBytes { bytes in
        (0...(end - 1 - first) / stride).map { index in
          Float(bitPattern: UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: index * 4, as: UInt32.self)))
        }
      }
      let chunk = try PackedChunk(CurveChunk(series: series, firstStep: first, stride: stride, values: kept))
      try connection.run(
        cutChunk,
        [
          .text(job), .text(series.rawValue), .integer(first), .integer(first + stride * (kept.count - 1)),
          .number(Double(chunk.minimum)), .number(Double(chunk.maximum)), .bytes(chunk.points),
        ])
    }
  }

  private static let findResumeStep = Statement(
    "rewind_step", "SELECT coalesce(max(step), 0) FROM checkpoints WHERE job = $1 AND kind = 'resume'")
  private static let rewindJob = Statement(
    "rewind_job",
    "UPDATE jobs SET step = $2, loss = CASE WHEN step = $2 THEN loss END WHERE id = $1")
  private static let deleteBeyond = Statement(
    "rewind_delete", "DELETE FROM curve_chunks WHERE job = $1 AND series = $2 AND first_step >= $3")
  private static let findStraddling = Statement(
    "rewind_find",
    """
    SELECT first_step, stride, points FROM curve_chunks
    WHERE job = $1 AND series = $2 AND first_step < $3 AND last_step >= $3 FOR UPDATE
    """)
  private static let cutChunk = Statement(
    "rewind_cut",
    """
    UPDATE curve_chunks SET last_step = $4, minimum = $5, maximum = $6, points = $7
    WHERE job = $1 AND series = $2 AND first_step = $3
    """)
}
