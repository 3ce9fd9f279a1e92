// The learned optimizers that come with this executable, put into the database at every start of a server.
import CTheta
import Contract
import Foundation
import Learning
import Store

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
