// Where PostgreSQL's programs are, and which user may run them.
import Foundation
import Glibc

/// PostgreSQL's server programs of one version.
struct PostgresPrograms: Sendable, Hashable {
  let folder: String
  /// Such as 15.
  let major: Int

  static let majorMin = 15

  func path(_ program: String) -> String { folder + "/" + program }

  /// Finds the newest installed version, or the given one.
  ///
  /// - Parameters:
  ///   - major: the version that a data folder needs; nil for the newest.
  ///   - folders: where to look; the default is where Debian, Red Hat and the source build put them, and the PATH.
  /// - Throws: ``StoreError/cluster(_:)`` that names what to install.
  static func find(major: Int?, in folders: [String] = usualFolders) throws(StoreError) -> PostgresPrograms {
    let found = folders.compactMap(PostgresPrograms.init(folder:))
    if let major {
      if let programs = found.first(where: { $0.major == major }) { return programs }
      let others =
        found.isEmpty ? "none is installed" : "installed: \(found.map { "\($0.major)" }.joined(separator: ", "))"
      throw .cluster(
        "the data folder was made by PostgreSQL \(major), and its programs are not here (\(others)); install the "
          + "package postgresql-\(major), or move the data with pg_upgrade")
    }
    if let newest = found.filter({ $0.major >= majorMin }).max(by: { $0.major < $1.major }) { return newest }
    throw .cluster(
      "PostgreSQL's programs (initdb, postgres) of version \(majorMin) or later were not found; install the package "
        + "postgresql (apt install postgresql), or set TRAINYARD_DATABASE_URL to use a server of your own")
  }

  static var usualFolders: [String] {
    func children(_ folder: String, _ rest: String) -> [String] {
      ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).map { "\(folder)/\($0)/\(rest)" }
    }
    let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
    return path.split(separator: ":").map(String.init) + children("/usr/lib/postgresql", "bin")
      + ((try? FileManager.default.contentsOfDirectory(atPath: "/usr")) ?? []).filter { $0.hasPrefix("pgsql-") }
      .map { "/usr/\($0)/bin" } + ["/usr/local/pgsql/bin"]
  }

  private init?(folder: String) {
    guard ["initdb", "postgres", "pg_ctl"].allSatisfy({ access(folder + "/" + $0, X_OK) == 0 }) else { return nil }
    // "postgres (PostgreSQL) 15.18 (Debian ...)"
    guard let text = TiedProcess.output(of: [folder + "/postgres", "--version"]) else { return nil }
    let number = text.split(separator: " ").dropFirst(2).first?.prefix { $0.isNumber }
    guard let major = number.flatMap({ Int($0) }) else { return nil }
    self.folder = folder
    self.major = major
  }
}

/// The user that a private cluster runs as.
struct ClusterUser: Sendable, Hashable {
  let name: String
  let userID: uid_t
  let groupID: gid_t
  /// Whether this process is another user (root) and has to step down.
  let isOther: Bool

  /// This process's user, or for root, whom PostgreSQL refuses, the user `postgres`.
  static func current() throws(StoreError) -> ClusterUser {
    let isRoot = geteuid() == 0
    guard let entry = isRoot ? getpwnam("postgres") : getpwuid(geteuid()) else {
      throw .cluster(
        isRoot
          ? "PostgreSQL does not run as root, and there is no user \"postgres\" to run it as; install the package "
            + "postgresql, run as an ordinary user, or set TRAINYARD_DATABASE_URL"
          : "the user with the id \(geteuid()) has no name, which PostgreSQL needs; add the user, or set "
            + "TRAINYARD_DATABASE_URL")
    }
    return ClusterUser(
      name: String(cString: entry.pointee.pw_name), userID: entry.pointee.pw_uid, groupID: entry.pointee.pw_gid,
      isOther: isRoot)
  }

  /// The command that runs `arguments` as this user.
  func command(_ arguments: [String]) -> [String] {
    isOther ? ["setpriv", "--reuid=\(userID)", "--regid=\(groupID)", "--init-groups"] + arguments : arguments
  }
}
