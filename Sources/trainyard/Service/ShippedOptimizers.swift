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
///
/// A shipped optimizer is known by its bytes: where someone gave its version to weights of their own before this build
/// came, it takes the next number that is free.
func installShippedOptimizers(_ store: Store) throws {
  for index in 0..<ct_files_count {
    let file = ct_file_at(index)!.pointee
    let name = OptimizerName(rawValue: String(cString: file.name))!
    let bytes = Array(UnsafeBufferPointer(start: file.bytes, count: file.count))
    let blob = try store.putBlob(bytes)
    var version = file.version
    while true {
      let found = try store.releasedOptimizer(named: name, version: version)
      if let found, found.sha256 == blob.sha256, found.flax != nil { break }
      if found == nil || found?.sha256 == blob.sha256, try install(bytes, blob, name, version, in: store) { break }
      version += 1
    }
  }
}

/// Installs weights as that version; false where it is taken by others.
private func install(
  _ bytes: [UInt8], _ blob: BlobReference, _ name: OptimizerName, _ version: Int, in store: Store
) throws -> Bool {
  let theta = try Theta(safetensors: Data(bytes))
  do {
    _ = try store.installOptimizer(
      name: name, version: version, state: .released, blob: blob, flax: store.putBlob(Array(theta.flax())),
      parameterCount: theta.schema.layout.elements, provenance: .object(theta.provenance.mapValues(JSON.string)))
    return true
  } catch StoreError.conflict { return false }
}
