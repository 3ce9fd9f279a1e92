// Other hosts for tests: network namespaces, each with a cable that can be pulled, and a database that hears them.
import Contract
import Foundation
import Glibc
import Testing

@testable import Store

/// Hosts of their own: network namespaces, each with a cable to this one.
final class Hosts {
  struct Host {
    let name: String
    let cable: String
    /// Where this machine is from there.
    let server: String

    /// Reaches the cluster of this machine from there.
    var connection: String {
      "host=\(server) port=5432 user=trainyard dbname=trainyard tcp_user_timeout=2000"
    }
    /// What a process there is started by.
    var wrapper: [String] { ["/usr/bin/env", "ip", "netns", "exec", name] }
  }
  private(set) var all: [Host] = []

  /// - Returns: nil, after saying so, where this user may not make any.
  init?(count: Int) throws {
    for index in 0..<count {
      let name = "ty\(getpid())-\(index)"
      let host = Host(name: name, cable: "ty\(getpid() % 100_000)v\(index)", server: "10.213.\(index).1")
      let setup = [
        ["netns", "add", name],
        ["link", "add", host.cable, "type", "veth", "peer", "name", "host0", "netns", name],
        ["addr", "add", "\(host.server)/24", "dev", host.cable], ["link", "set", host.cable, "up"],
        ["-n", name, "addr", "add", "10.213.\(index).2/24", "dev", "host0"],
        ["-n", name, "link", "set", "host0", "up"], ["-n", name, "link", "set", "lo", "up"],
      ]
      all.append(host)
      for command in setup where try Self.ip(command) != 0 {
        print("skipped: this user cannot make network namespaces (ip \(command.joined(separator: " ")))")
        return nil
      }
    }
  }

  deinit {
    for host in all {
      _ = try? Self.ip(["link", "del", host.cable])
      _ = try? Self.ip(["netns", "del", host.name])
    }
  }

  /// Plugs a host's cable in, or pulls it.
  func set(_ host: Host, up: Bool) throws {
    guard try Self.ip(["link", "set", host.cable, up ? "up" : "down"]) == 0 else {
      throw TestFailure("cannot set the link \(host.cable)")
    }
  }

  private static func ip(_ arguments: [String]) throws -> Int32 {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["ip"] + arguments
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    return process.terminationStatus
  }

  /// A cluster of this machine that has an ear for the other hosts.
  ///
  /// - Returns: it, to be stopped by the caller, and how it is reached from this machine.
  static func cluster(in folder: Folder) throws -> (PrivateCluster, connection: String) {
    // Once to make it, then again with other settings.
    let maker = PrivateCluster(dataFolder: folder.file("data"))
    let local = try maker.start()
    try Store(connection: local, connectionsMax: 1, applicationName: "test").migrate()
    maker.stop()
    let rules = folder.file("data").appendingPathComponent("postgres/data/pg_hba.conf")
    let more = "host all trainyard 10.213.0.0/16 trust\n"
    try (String(contentsOf: rules, encoding: .utf8) + more).write(
      toFile: rules.path, atomically: false, encoding: .utf8)
    let cluster = PrivateCluster(dataFolder: folder.file("data"), moreSettings: ["listen_addresses=*"])
    return (cluster, try cluster.start())
  }
}
