// The state of the whole service in a few numbers, for metrics. Each call counts rows; whoever asks often keeps the answer.
import Contract

/// What the database knows about the service at a moment.
public struct Figures: Sendable, Hashable {
  /// Pieces of work of one kind in one state of the queue.
  public struct Work: Sendable, Hashable {
    public var kind: String
    public var state: String
    public var count: Int
  }
  /// Things in one state.
  public struct InState: Sendable, Hashable {
    public var state: String
    public var count: Int
  }
  /// How long work of one kind has waited.
  public struct Oldest: Sendable, Hashable {
    public var kind: String
    public var seconds: Double
  }
  /// A worker process that was seen within the last hour.
  public struct Worker: Sendable, Hashable {
    public var id: String
    public var host: String
    public var slots: Int
    public var unseenSeconds: Double
  }
  public var work: [Work]
  public var oldest: [Oldest]
  public var jobs: [InState]
  public var campaigns: [InState]
  public var workers: [Worker]
  public var databaseBytes: Int
}

extension Store {
  /// Counts everything once, over all projects.
  public func figures() throws -> Figures {
    try pool.read { connection in
      func inState(_ statement: Statement) throws -> [Figures.InState] {
        try connection.run(statement).map { Figures.InState(state: $0.text(), count: $0.integer()) }
      }
      return Figures(
        work: try connection.run(
          Statement(
            "figures_work", "SELECT kind, state, count(*) FROM work GROUP BY kind, state ORDER BY kind, state")
        ).map { Figures.Work(kind: $0.text(), state: $0.text(), count: $0.integer()) },
        oldest: try connection.run(Self.oldestWork).map { Figures.Oldest(kind: $0.text(), seconds: $0.number()) },
        jobs: try inState(Self.jobsInState),
        campaigns: try inState(
          Statement("figures_campaigns", "SELECT state, count(*) FROM campaigns GROUP BY state ORDER BY state")),
        workers: try connection.run(
          Statement(
            "figures_workers",
            """
            SELECT id, host, slots, extract(epoch FROM now() - seen_at)::float8 FROM workers
            WHERE seen_at > now() - interval '1 hour' ORDER BY id DESC LIMIT 1000
            """)
        ).map {
          Figures.Worker(id: $0.text(), host: $0.text(), slots: $0.integer(), unseenSeconds: $0.number())
        },
        databaseBytes: try connection.run(
          Statement("figures_bytes", "SELECT pg_database_size(current_database())")
        ).map { $0.integer() }[0])
    }
  }

  // By the indexes alone: there may be millions of jobs.
  private static let jobsInState = Statement(
    "figures_jobs",
    """
    SELECT state, count(*) FROM jobs WHERE finished_at IS NULL GROUP BY state
    UNION ALL SELECT outcome, count(*) FROM jobs WHERE outcome IS NOT NULL GROUP BY outcome ORDER BY 1
    """)

  // A row of the queue does not say since when it waits, but what it is about says when it was made; the ids of work
  // rise, so the oldest of a kind is the one with the least id. Work that an attempt gave back counts from then on too.
  private static let oldestWork = Statement(
    "figures_oldest",
    """
    SELECT w.kind, greatest(0, extract(epoch FROM now() - CASE w.kind
        WHEN 'job' THEN (SELECT created_at FROM jobs WHERE id = w.subject)
        WHEN 'validation' THEN (SELECT created_at FROM datasets WHERE id = w.subject)
        WHEN 'campaign' THEN (SELECT created_at FROM campaigns WHERE id = w.subject)
        WHEN 'evaluation' THEN (SELECT created_at FROM evaluations WHERE id = w.subject)
      END))::float8
    FROM work w
    JOIN (
      SELECT kind, min(id) AS id FROM work
      WHERE state = 'queued' AND (not_before IS NULL OR not_before <= now()) AND kind IN ('job', 'validation', 'campaign', 'evaluation')
      GROUP BY kind
    ) first ON first.id = w.id
    ORDER BY w.kind
    """)
}
