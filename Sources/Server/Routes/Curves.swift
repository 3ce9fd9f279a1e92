// Curves of a job: summaries, and points by range, thinned out, as JSON columns or CSV.
import Contract
import Foundation
import HTTP
import Store

struct CurveRoutes: Sendable {
  let store: Store
  let jobs: JobRoutes

  private enum Format: String, CaseIterable { case json, csv }

  func summaries(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let job = try jobs.find(request.parameter("job_id"), caller)
    return .items(try store.curveSummaries(job: job.id).map(\.json))
  }

  func points(_ request: Request, _ caller: APIKey) throws -> Response {
    let (query, format) = try Query.read(
      request.head, texts: ["sampling", "format"], numbers: ["from", "to", "max_points"]
    ) { fields in
      let query = CurveQuery(
        from: fields.integer("from", in: 0...Int.max) ?? 0, to: fields.integer("to", in: 0...Int.max) ?? .max,
        pointsMax: fields.integer("max_points", in: CurveQuery.pointsMaxRange) ?? 1000,
        sampling: fields.choice("sampling", of: CurveQuery.Sampling.self) ?? .minmax)
      if query.from > query.to { fields.fault("from", "expected at most \"to\", got \(query.from) above \(query.to)") }
      return (query, fields.choice("format", of: Format.self))
    }
    let name = request.parameter("series")
    let job = try jobs.find(request.parameter("job_id"), caller)
    guard let series = CurveSeries(rawValue: name) else {
      let known = CurveSeries.allCases.map(\.rawValue).joined(separator: ", ")
      throw Problem(
        .notFound, status: 404, title: "Not Found", detail: "there is no series \(name.prefix(64)); there are \(known)")
    }
    let (points, total) = try store.curve(job: job.id, series: series, query: query)
    switch format ?? (request.head.prefers("text/csv") ? .csv : .json) {
    case .json: return .json(points.json(series: series, total: total))
    case .csv:
      return .bytes(
        Array(points.csv(series: series).utf8), contentType: "text/csv; charset=utf-8; header=present",
        headers: ["Vary": "Accept"])
    }
  }
}
