// What happened to jobs and campaigns: a page of stored events as JSON, or a stream that goes on with what happens
// next (`Accept: text/event-stream`). EventFeed.swift feeds the streams.
import Contract
import HTTP
import Store

struct EventRoutes: Sendable {
  let store: Store
  let feed: EventFeed
  let jobs: JobRoutes
  let campaigns: CampaignRoutes

  func ofJob(_ request: Request, _ caller: APIKey) throws -> Response {
    let wanted = try Wanted(request.head)
    let id = try jobs.find(request.parameter("job_id"), caller).id
    return try answer(id, wanted, caller, jobSource)
  }

  func ofCampaign(_ request: Request, _ caller: APIKey) throws -> Response {
    let wanted = try Wanted(request.head)
    let id = try campaigns.find(request.parameter("campaign_id"), caller).id
    return try answer(id, wanted, caller, campaignSource)
  }

  private func answer(_ id: String, _ wanted: Wanted, _ caller: APIKey, _ source: EventFeed.Source) throws -> Response {
    switch wanted {
    case .page(let after, let limit): return .items(try source.events(id, after, limit).map(\.json))
    case .stream(let after):
      let stream = try feed.open(id, of: source, project: caller.project, after: after)
      return .events(stream, headers: ["Vary": "Accept"])
    }
  }

  private var jobSource: EventFeed.Source {
    EventFeed.Source(
      standing: { [store] id, project in
        try store.standing(job: id, project: project).map { job in
          EventFeed.Standing(
            state: job.state.rawValue, isTerminal: job.state.isTerminal, revision: job.revision,
            eventCount: job.eventCount, progress: job.json)
        }
      },
      events: { [store] id, after, limit in
        try store.events(job: id, after: after, limit: limit).map { event in
          EventFeed.Event(sequence: event.sequence, kind: event.kind.rawValue, json: event.json)
        }
      })
  }

  private var campaignSource: EventFeed.Source {
    EventFeed.Source(
      standing: { [store] id, project in
        try store.standing(campaign: id, project: project).map { campaign in
          EventFeed.Standing(
            state: campaign.state.rawValue, isTerminal: campaign.state.isTerminal, revision: campaign.revision,
            eventCount: campaign.eventCount, progress: campaign.json)
        }
      },
      events: { [store] id, after, limit in
        try store.events(campaign: id, after: after, limit: limit).map { event in
          EventFeed.Event(sequence: event.sequence, kind: event.kind.rawValue, json: event.json)
        }
      })
  }

  /// What a client asks for.
  enum Wanted: Equatable {
    case page(after: Int, limit: Int)
    case stream(after: Int)

    /// - Throws: ``SpecError`` with every fault of the query, or about `Last-Event-ID`.
    init(_ head: RequestHead) throws(SpecError) {
      let last = try head.lastEventID()
      guard head.prefers("text/event-stream") else {
        self = try Query.read(head, numbers: ["after", "limit"]) { fields in
          .page(
            after: fields.integer("after", in: 0...Int.max) ?? 0,
            limit: fields.integer("limit", in: Page<JobEvent>.limitRange) ?? Limits.pageItemsDefault)
        }
        return
      }
      let after = try Query.read(head, numbers: ["after"]) { $0.integer("after", in: 0...Int.max) ?? 0 }
      // A browser that comes back asks for the same URL again; where it was stands in the header.
      self = .stream(after: last ?? after)
    }
  }
}
