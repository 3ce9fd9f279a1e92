// The calls about projects, for holders of `projects:admin`.
import Contract
import Foundation

extension APIClient {
  /// Makes a project.
  ///
  /// - Parameter quotas: bounds by name; those left out are the server's defaults.
  public func createProject(_ id: String, quotas: [String: JSON] = [:]) throws(APIError) -> JSON {
    // A second one of that id is refused, so sending it twice makes one.
    try post("/v1/projects", ["id": .string(id), "quotas": .object(quotas)], repetition: .forbidden)
  }

  /// All projects with their quotas and what they use of them, by their ids.
  public func projects(limit: Int = 200) throws(APIError) -> [JSON] { try list("/v1/projects", limit: limit) }

  /// One project.
  public func project(_ id: String) throws(APIError) -> JSON { try get("/v1/projects/\(segment(id))") }

  /// Sets a project's bounds by name; null takes the server's default again.
  public func setProject(_ id: String, quotas: [String: JSON]) throws(APIError) -> JSON {
    try patch("/v1/projects/\(segment(id))", ["quotas": .object(quotas)], entityTag: nil)
  }
}
