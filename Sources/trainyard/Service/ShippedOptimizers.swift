// The learned optimizers that come with this executable, put into the database at every start of a server.
import CTheta
import Contract
import Foundation
import Learning
import Store

/// The files of weights that come with this executable.
enum ShippedTheta {
  /// One of them: the newest of that name, or of any name for `auto`, where no version is named.
  static func find(_ name: OptimizerName, version: Int?) -> Data? {
    let fitting = (0..<ct_files_count).map { ct_file_at($0)!.pointee }.filter {
      (name == .auto || String(cString: $0.name) == name.rawValue) && (version == nil || $0.version == version!)
    }
    return fitting.max { $0.version < $1.version }.map { Data(bytes: $0.bytes, count: $0.count) }
  }
}

/// Makes sure that the optimizers this build ships are in the database; those that are there already are left alone.
func installShippedOptimizers(_ store: Store) throws {
  for index in 0..<ct_files_count {
    let file = ct_file_at(index)!.pointee
    let name = OptimizerName(rawValue: String(cString: file.name))!
    if let found = try store.releasedOptimizer(named: name, version: file.version), found.flax != nil { continue }
    let bytes = Array(UnsafeBufferPointer(start: file.bytes, count: file.count))
    let theta = try Theta(safetensors: Data(bytes))
    _ = try store.installOptimizer(
      name: name, version: file.version, state: .released, blob: store.putBlob(bytes),
      flax: store.putBlob(Array(theta.flax())), parameterCount: theta.schema.layout.elements,
      provenance: .object(theta.provenance.mapValues(JSON.string)))
  }
}
