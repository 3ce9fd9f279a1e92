// What the server is told from outside: where to listen and which limits hold. The executable fills it in; App.swift
// hands its parts on.
import Contract
import Foundation
import HTTP

/// The settings of one server.
public struct ServerSettings: Sendable {
  /// `host:port` to listen on; port 0 takes a free one.
  public var address: String
  /// Certificate and key to speak TLS with; nil speaks plain HTTP.
  public var credentials: TLSCredentials?
  /// Names beyond localhost and the address itself under which clients may reach the server; `*` allows all.
  public var allowedHosts: [String] = []
  /// Threads for handlers, each of which may hold a database connection; default 8.
  public var handlerThreads = 8
  /// Where large bodies are kept while they arrive; default `/var/tmp`.
  public var spoolFolder = "/var/tmp"
  /// Where the dashboard's chart library, dygraphs, lies; default where Debian puts it.
  public var dygraphsFolder = Dashboard.dygraphsFolder
  /// The program's version, as capabilities show it.
  public var version: String
  public var limits = Limits()

  public init(address: String, version: String) {
    self.address = address
    self.version = version
  }
}

/// How much one client or project may ask for. Every limit is shown by `GET /v1/capabilities`.
public struct Limits: Sendable, Hashable {
  /// Longest JSON body; a model of 256 layers needs a twentieth of it. Default 1 MiB.
  public var bodyBytesMax = 1 << 20
  /// Longest upload of a dataset. Default 2 GiB.
  public var uploadBytesMax = 2 << 30
  /// What one run may hold in memory beside the data, by estimate. Default 4 GiB.
  public var jobMemoryBytesMax = 4 << 30
  /// Jobs of a project that are not over, where it has no quota of its own; likewise the next two. Default 1,000.
  public var unfinishedJobsMax = 1000
  /// Campaigns of a project that wait, run or are paused at a time. Default 100.
  public var unfinishedCampaignsMax = 100
  /// Streams of events of a project that are open at a time. Default 100.
  public var eventStreamsMax = 100
  /// All datasets of a project together. Default 100 GiB.
  public var datasetBytesMax = 100 << 30

  /// The bounds of projects that have no quotas of their own.
  public var quotas: ProjectQuotas {
    ProjectQuotas(
      unfinishedJobs: unfinishedJobsMax, unfinishedCampaigns: unfinishedCampaignsMax, datasetBytes: datasetBytesMax)
  }

  /// Longest `?wait=`; proxies tend to cut quiet connections after this long.
  public static let waitSecondsMax = 60
  /// Items of a page where the client does not say.
  public static let pageItemsDefault = 50

  public init() {}
}
