// A process that holds a private cluster, for tests that kill it: starts one in the folder of its first argument,
// prints the connection string, and stops it when its standard input ends.
import Foundation
import Store

@main
struct ClusterHolder {
  static func main() throws {
    let cluster = PrivateCluster(dataFolder: URL(fileURLWithPath: CommandLine.arguments[1]))
    let connection = try cluster.start()
    FileHandle.standardOutput.write(Data((connection + "\n").utf8))
    while readLine() != nil {}
    cluster.stop()
  }
}
