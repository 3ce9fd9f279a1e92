// Results of trainings in a folder, each under the hash of all that it depends on. A later evaluation, or the same one
// after an interruption, finds them there.
import Contract
import Foundation

/// A folder of results.
public struct EvaluationArchive: Sendable {
  private let folder: URL

  /// - Parameter folder: made with the first result where it is not there.
  public init(folder: URL) { self.folder = folder }

  private func place(_ key: String) -> URL {
    folder.appendingPathComponent(String(key.prefix(2))).appendingPathComponent("\(key).json")
  }

  /// The result of a key; nil where there is none that can be read.
  public subscript(key: String) -> EvaluationResult? {
    guard let data = try? Data(contentsOf: place(key)), let json = try? JSON.parse(data) else { return nil }
    return EvaluationResult(json: json)
  }

  /// Adds a result. Two processes may add the same one.
  ///
  /// - Throws: what the file system says.
  public func add(_ result: EvaluationResult, key: String) throws {
    let place = place(key)
    try FileManager.default.createDirectory(at: place.deletingLastPathComponent(), withIntermediateDirectories: true)
    try Data(result.json.bytes).write(to: place, options: .atomic)
  }
}
