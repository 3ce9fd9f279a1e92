// The looks of `trainyard doctor`, each on one thing a server or worker needs. Nothing is made or changed.
import Client
import Compute
import Contract
import Foundation
import Glibc
import HTTP
import Store

/// What one look found.
struct Check {
  enum State: String {
    case ok, note, fault

    /// Five characters for a list.
    var label: String {
      switch self {
      case .ok: return "ok   "
      case .note: return "note "
      case .fault: return "FAULT"
      }
    }
  }

  let name: String
  let state: State
  let found: String
  /// What to do; nil where nothing is to be done.
  let cure: String?

  init(_ name: String, _ state: State, _ found: String, cure: String? = nil) {
    self.name = name
    self.state = state
    self.found = found
    self.cure = cure
  }

  var json: JSON {
    ["name": .string(name), "state": .string(state.rawValue), "found": .string(found), "cure": .optional(cure)]
  }
}

/// All looks, for one set of settings.
struct Checks {
  let settings: Settings
  /// The variables of the process, where kernels look for TRAINYARD_CPU.
  let environment: [String: String]

  func all() -> [Check] {
    [programs(), library(), processor(), folder(), database(), address(), certificate(), sampleData()].compactMap { $0 }
  }

  private func programs() -> Check? {
    if settings.databaseURL != nil { return nil }
    do {
      return Check("PostgreSQL programs", .ok, try PrivateCluster.programsFolder())
    } catch {
      return Check(
        "PostgreSQL programs", .fault, "\(error)",
        cure: "apt-get install postgresql, or name a database of your own with TRAINYARD_DATABASE_URL")
    }
  }

  private func library() -> Check {
    let name = "libopenblas.so.0"
    guard let handle = dlopen(name, RTLD_NOW | RTLD_LOCAL) else {
      return Check(
        "OpenBLAS", .fault, dlerror().map { String(cString: $0) } ?? "\(name) cannot be loaded",
        cure: "apt-get install libopenblas0-pthread")
    }
    dlclose(handle)
    return Check("OpenBLAS", .ok, name)
  }

  private func processor() -> Check {
    let cores = ProcessInfo.processInfo.activeProcessorCount
    do {
      return Check(
        "processor", .ok, "\(cores) cores, kernels for \(try CPULevel.selected(environment: environment).rawValue)")
    } catch {
      return Check("processor", .fault, "\(error)", cure: "Unset TRAINYARD_CPU to let the processor decide.")
    }
  }

  private func folder() -> Check {
    let name = "data folder"
    guard let folder = settings.dataFolder else {
      return Check(name, .note, "none given", cure: "A server needs one: --data FOLDER or TRAINYARD_DATA.")
    }
    // The folder itself, or the nearest one above it that exists.
    var existing = folder
    while !FileManager.default.fileExists(atPath: existing.path) && existing.path.count > 1 {
      existing.deleteLastPathComponent()
    }
    guard access(existing.path, W_OK | X_OK) == 0 else {
      return Check(
        name, .fault, "\(existing.path) is not writable", cure: "Make it writable for this user, or choose another.")
    }
    var status = statvfs()
    let free =
      statvfs(existing.path, &status) == 0 ? Int(clamping: status.f_bavail) * Int(clamping: status.f_frsize) : 0
    guard free >= DataFolder.freeBytesMin else {
      return Check(
        name, .fault, "\(free >> 20) MB are free on the disk of \(folder.path)",
        cure: "A server needs \(DataFolder.freeBytesMin >> 20) MB to start.")
    }
    let kind = existing == folder ? "" : " (to be made)"
    return Check(name, .ok, "\(folder.path)\(kind), \(free >> 30) GB free")
  }

  private func database() -> Check {
    let name = "database"
    if settings.databaseURL == nil {
      guard let folder = settings.dataFolder, PrivateCluster(dataFolder: folder).postmasterID != nil else {
        return Check(name, .note, "a private one, not running now", cure: "`trainyard serve` starts it.")
      }
    }
    do {
      return try withDatabase(settings) { connection in
        let store = try Store(connection: connection, connectionsMax: 1, applicationName: "trainyard doctor")
        defer { store.close() }
        let waiting = try store.migrationStatus().filter { $0.appliedAt == nil }
        if waiting.isEmpty {
          try store.requireCurrentSchema()
          return Check(name, .ok, "answers, its schema is current")
        }
        return Check(
          name, .note, "answers; \(waiting.count) migrations wait to be applied",
          cure: "`trainyard serve` and `trainyard migrate up` apply them.")
      }
    } catch {
      return Check(
        name, .fault, (error as? CommandFailure)?.message ?? "\(error)",
        cure: "Check TRAINYARD_DATABASE_URL, and that the database runs and lets this user in.")
    }
  }

  private func address() -> Check {
    let name = "address"
    guard let obstacle = settings.listen.obstacle() else {
      return Check(name, .ok, "\(settings.listen.text) is free")
    }
    if let url = URL(string: "\(settings.tls == nil ? "http" : "https")://\(settings.listen.text)"),
      APIClient(server: url, key: nil, retry: .never).isReady()
    {
      return Check(name, .ok, "a server is ready at \(settings.listen.text)")
    }
    if settings.tls != nil {
      return Check(
        name, .note, "\(settings.listen.text): \(obstacle), perhaps a server whose certificate is not trusted here",
        cure:
          "Add the certificate's authority to the system's (update-ca-certificates), or choose another address with --listen."
      )
    }
    return Check(name, .fault, "\(settings.listen.text): \(obstacle)", cure: "Choose another address with --listen.")
  }

  private func certificate() -> Check? {
    let name = "TLS"
    guard let files = settings.tls else {
      if settings.listen.isLoopback { return nil }
      return Check(
        name, .note, "none: keys and data would cross the network in clear text",
        cure: "Give --tls-cert and --tls-key, or keep \(settings.listen.text) behind a proxy that speaks TLS.")
    }
    do {
      let credentials = try files.load()
      let hosts = credentials.names.joined(separator: ", ")
      if let trouble = credentials.trouble(now: Date()) {
        let isValid = (credentials.startsAt..<credentials.expiresAt).contains(Date())
        return Check(
          name, isValid ? .note : .fault, "the certificate in \(files.certificate) \(trouble)",
          cure: "Put a new certificate and its key in place.")
      }
      var status = stat()
      if stat(files.key, &status) == 0, status.st_mode & 0o007 != 0 {
        return Check(
          name, .note, "the private key in \(files.key) can be read by every user of this machine",
          cure: "chmod 600 \(files.key)")
      }
      return Check(name, .ok, "for \(hosts), until \(credentials.expiresAt.formatted(.iso8601))")
    } catch {
      let failure = error as? CommandFailure
      return Check(name, .fault, failure?.message ?? "\(error)", cure: failure?.cure)
    }
  }

  private func sampleData() -> Check {
    let folder = "/usr/share/datasets/fashion-mnist"
    let isThere = FileManager.default.fileExists(atPath: folder + "/train-images-idx3-ubyte.gz")
    return isThere
      ? Check("sample data", .ok, folder)
      : Check(
        "sample data", .note, "Fashion-MNIST is not installed",
        cure: "scripts/demo needs it: apt-get install dataset-fashion-mnist")
  }
}
