// Which database a command works on: the one that settings name, or the private one of the data folder, which runs
// already or is started for as long as it is needed. Used by everything that talks to the store.
import Contract
import Foundation
import Store

/// Calls `body` with a connection string for the database that `settings` mean.
///
/// - Parameters:
///   - holding: the data folder, by whoever has locked it; nil takes the lock if a private cluster has to be started.
///   - log: told when a private cluster is made, dies, or is started again.
///   - body: may be called on a cluster that ends when it returns.
func withDatabase<Value>(
  _ settings: Settings, holding folder: DataFolder? = nil, log: @escaping PrivateCluster.Log = { _ in },
  _ body: (String) throws -> Value
) throws -> Value {
  if let url = settings.databaseURL { return try body(url) }
  guard let path = settings.dataFolder else {
    throw CommandFailure(
      .usage, "no database is named",
      cure: "Give --data FOLDER of a server, or --database-url URL (TRAINYARD_DATA, TRAINYARD_DATABASE_URL).")
  }
  let cluster = PrivateCluster(dataFolder: path, log: log)
  // A running server's cluster is shared; the lock tells the two cases apart without a race.
  if folder == nil, let connection = cluster.runningConnection { return try body(connection) }
  let lock = try folder ?? DataFolder(path, isTraversable: getuid() == 0)
  defer { withExtendedLifetime(lock) {} }
  let connection = try cluster.start()
  defer { cluster.stop() }
  return try body(connection)
}
