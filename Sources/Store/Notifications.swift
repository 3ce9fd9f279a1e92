// Wake-ups over LISTEN and NOTIFY. They only save time: whoever waits for something also polls.
import Contract
import Foundation

/// What notifications are about.
public enum NotificationChannel: String, Sendable, CaseIterable {
  /// There is something to lease; the payload is the ``WorkKind``.
  case work = "trainyard_work"
  /// A job changed its state or made progress; the payload is its id.
  case job = "trainyard_job"
  /// A dataset changed its state; the payload is its id.
  case dataset = "trainyard_dataset"
  /// A model changed its state; the payload is its id.
  case model = "trainyard_model"
  /// A learned optimizer changed its state; the payload is its id.
  case optimizer = "trainyard_optimizer"
  /// An evaluation changed its state, or one of its trainings ended; the payload is the evaluation's id, or the
  /// training's where that is given back.
  case evaluation = "trainyard_evaluation"
  /// A campaign changed its state or made progress; the payload is its id.
  case campaign = "trainyard_campaign"
  /// Groups of a campaign have results, for its learner; the payload is the campaign's id.
  case results = "trainyard_results"
}

/// Sends notifications from a thread of its own, after the transactions they tell of.
///
/// NOTIFY inside a transaction holds a lock over the commit's disk flush, so that all committing transactions of the
/// database would queue up. Here they are gathered, repeated ones are dropped, and the sending transaction flushes
/// nothing.
// @unchecked: the pending set and the flags are guarded by the condition.
final class Notifier: @unchecked Sendable {
  private struct Notice: Hashable {
    var channel: NotificationChannel
    var payload: String
  }
  private let pool: Pool
  private let condition = NSCondition()
  private var pending: Set<Notice> = []
  private var isRunning = false
  private var isStopped = false

  /// Notices kept while the database is away; beyond, polling finds what they were about.
  private static let pendingMax = 10_000
  /// Between two batches; a single notice is sent at once.
  private static let pauseSeconds = 0.005

  init(pool: Pool) { self.pool = pool }

  func notify(_ channel: NotificationChannel, _ payload: String) {
    condition.lock()
    defer { condition.unlock() }
    guard !isStopped, pending.count < Self.pendingMax else { return }
    pending.insert(Notice(channel: channel, payload: payload))
    if isRunning {
      condition.signal()
    } else {
      isRunning = true
      let thread = Thread { [self] in run() }
      thread.name = "notifier"
      thread.stackSize = 256 << 10
      thread.start()
    }
  }

  /// Sends what is pending and ends the thread.
  func stop() {
    condition.lock()
    isStopped = true
    condition.broadcast()
    while isRunning { condition.wait() }
    condition.unlock()
  }

  private func run() {
    condition.lock()
    while true {
      while pending.isEmpty && !isStopped { condition.wait() }
      if pending.isEmpty { break }
      let batch = pending
      pending = []
      condition.unlock()
      // A failure loses wake-ups, not work.
      try? send(batch)
      // What comes in a burst goes together: each batch takes a lock that all others in the database wait for.
      Thread.sleep(forTimeInterval: Self.pauseSeconds)
      condition.lock()
    }
    isRunning = false
    condition.broadcast()
    condition.unlock()
  }

  private func send(_ batch: Set<Notice>) throws {
    // A wake-up that a crash loses is found by polling, so its commit need not wait for the disk: said within the
    // statement, which is a transaction of its own, it costs no round trip.
    _ = try pool.run(
      Statement(
        "notify",
        """
        SELECT set_config('synchronous_commit', 'off', true), pg_notify(channel, payload)
        FROM unnest($1::text[], $2::text[]) n(channel, payload)
        """), [.array(batch.map(\.channel.rawValue)), .array(batch.map(\.payload))])
  }
}

/// Listens on a connection and a thread of its own, and connects again when the connection breaks.
// @unchecked: `isStopped` is guarded by the lock; the rest is constant.
public final class NotificationListener: @unchecked Sendable {
  /// Called on the listener's thread with the channel and the payload. An **empty payload** means that notifications
  /// may have been missed (the connection was made anew), so anything on the channel may have changed.
  public typealias Handler = @Sendable (NotificationChannel, String) -> Void

  private let connection: String
  private let applicationName: String
  private let channels: Set<NotificationChannel>
  private let handler: Handler
  private let wakeRead: Int32
  private let wakeWrite: Int32
  private let condition = NSCondition()
  private var isStopped = false
  private var isEnded = false
  private var isListening = false

  /// Starts listening; connecting goes on in the background, so this does not fail when the database is away.
  ///
  /// - Parameters:
  ///   - connection: a libpq connection string or `postgresql://` URL.
  ///   - channels: what to listen to.
  ///   - handler: called for each notification; it must not block for long.
  /// - Throws: ``StoreError/unavailable(query:reason:)`` if the process has no file descriptors left.
  public init(
    connection: String, applicationName: String, channels: Set<NotificationChannel>, handler: @escaping Handler
  ) throws(StoreError) {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else {
      throw .unavailable(query: "listen", reason: String(cString: strerror(errno)))
    }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    self.connection = connection
    self.applicationName = applicationName
    self.channels = channels
    self.handler = handler
    wakeRead = ends[0]
    wakeWrite = ends[1]
    let thread = Thread { [self] in run() }
    thread.name = "listener"
    thread.stackSize = 512 << 10
    thread.start()
  }

  /// Waits until the server has confirmed that it listens.
  ///
  /// - Returns: false if `seconds` passed first.
  public func waitUntilListening(seconds: Double) -> Bool {
    let deadline = Date(timeIntervalSinceNow: seconds)
    condition.lock()
    defer { condition.unlock() }
    while !isListening {
      guard condition.wait(until: deadline) else { return isListening }
    }
    return true
  }

  /// Ends the thread and waits for it; the handler is not called afterwards. Must not be called from the handler.
  public func stop() {
    condition.lock()
    defer { condition.unlock() }
    guard !isEnded else { return }
    if !isStopped {
      isStopped = true
      var byte: UInt8 = 0
      _ = write(wakeWrite, &byte, 1)
    }
    while !isEnded { condition.wait() }
  }

  private func run() {
    var pauseSeconds = 0.05
    var isFirst = true
    while !stopped {
      do {
        let connection = try Connection(self.connection, applicationName: applicationName)
        for channel in channels { try connection.script("listen", "LISTEN \(channel.rawValue)") }
        pauseSeconds = 0.05
        setListening(true)
        if !isFirst { channels.forEach { handler($0, "") } }
        isFirst = false
        serve(connection)
      } catch {
        // Polling is the net while the database is away; its users report the fault.
      }
      setListening(false)
      if !stopped {
        var descriptor = pollfd(fd: wakeRead, events: Int16(POLLIN), revents: 0)
        _ = poll(&descriptor, 1, Int32(pauseSeconds * 1000))
        pauseSeconds = min(pauseSeconds * 2, 2)
      }
    }
    condition.lock()
    close(wakeRead)
    close(wakeWrite)
    isEnded = true
    condition.broadcast()
    condition.unlock()
  }

  private func serve(_ connection: Connection) {
    while !stopped && connection.waitForInput(seconds: 30, wake: wakeRead) {
      while let notification = connection.nextNotification() {
        if let channel = NotificationChannel(rawValue: notification.channel), !stopped {
          handler(channel, notification.payload)
        }
      }
    }
  }

  private var stopped: Bool {
    condition.lock()
    defer { condition.unlock() }
    return isStopped
  }

  private func setListening(_ value: Bool) {
    condition.lock()
    isListening = value
    condition.broadcast()
    condition.unlock()
  }
}

extension Store {
  /// Listens to this database; see ``NotificationListener``.
  public func listen(
    to channels: Set<NotificationChannel>, handler: @escaping NotificationListener.Handler
  ) throws -> NotificationListener {
    try NotificationListener(
      connection: connection, applicationName: applicationName + " listener", channels: channels, handler: handler)
  }
}
