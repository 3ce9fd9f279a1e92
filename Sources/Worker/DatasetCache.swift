// Datasets on this machine's disk, by content: fetched from the store once, decoded once, mapped by every run that
// uses them. Safe to delete at any time; bounded by dropping what was used longest ago.
import Contract
import Foundation
import Learning
import Store

/// The folder of decoded datasets that all workers of a machine share.
// @unchecked: `opened` is guarded by the lock.
final class DatasetCache: @unchecked Sendable {
  private let store: Store
  private let folder: URL
  private let bytesMax: Int
  private let lock = NSLock()
  private var opened: [(name: String, data: TrainingData)] = []

  /// Datasets kept mapped between jobs, so that the next job on one starts at once.
  private static let openedMax = 4

  init(store: Store, folder: URL, bytesMax: Int) {
    self.store = store
    self.folder = folder
    self.bytesMax = bytesMax
    removeOrphans()
  }

  /// Deletes what killed workers left half-written: hidden entries that name a process which is no more.
  private func removeOrphans() {
    let manager = FileManager.default
    for name in (try? manager.contentsOfDirectory(atPath: folder.path)) ?? [] where name.hasPrefix(".") {
      let words = name.split(whereSeparator: { $0 == "." || $0 == "-" })
      let word = words.first == "upload" ? words.dropFirst().first : words.dropLast().last
      guard let process = word.flatMap({ pid_t($0) }), kill(process, 0) != 0, errno == ESRCH else { continue }
      try? manager.removeItem(at: folder.appendingPathComponent(name))
    }
  }

  /// Content and options decide what is decoded.
  private func name(_ dataset: Dataset) -> String {
    let options = dataset.options.json.text.utf8.reduce(UInt64(14_695_981_039_346_656_037)) {
      ($0 ^ UInt64($1)) &* 1_099_511_628_211
    }
    return "\(dataset.sha256.prefix(32))-\(String(options, radix: 16))"
  }

  /// Fetches and decodes an upload.
  ///
  /// - Throws: `DataFault` with every problem of the data.
  func build(_ dataset: Dataset) throws -> BuiltDataset {
    try FileManager.default.createDirectory(
      at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    let upload = folder.appendingPathComponent(".upload-\(getpid())-\(UInt32.random(in: .min ... .max))")
    defer { try? FileManager.default.removeItem(at: upload) }
    try store.writeBlob(sha256: dataset.sha256, to: upload)
    let built = try DatasetBuilder.build(
      file: upload, options: dataset.options, folder: folder.appendingPathComponent(name(dataset)))
    trim(keeping: name(dataset))
    return built
  }

  /// A stored content as a mapped file, for as long as `body` runs.
  func withFile<Result>(sha256: String, _ body: (Data) throws -> Result) throws -> Result {
    try FileManager.default.createDirectory(
      at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    let file = folder.appendingPathComponent(".upload-\(getpid())-\(UInt32.random(in: .min ... .max))")
    defer { try? FileManager.default.removeItem(at: file) }
    try store.writeBlob(sha256: sha256, to: file)
    // The mapping outlives the name.
    return try body(Data(contentsOf: file, options: .alwaysMapped))
  }

  /// The decoded dataset, fetched and decoded first if it is not here.
  func open(_ dataset: Dataset) throws -> TrainingData {
    let name = name(dataset)
    if let data = alreadyOpen(name) { return data }
    let place = folder.appendingPathComponent(name)
    if !FileManager.default.fileExists(atPath: place.path) { _ = try build(dataset) }
    let data: TrainingData
    do { data = try TrainingData(folder: place) } catch is StorageError {
      // Damaged, or trimmed by another worker a moment ago: what the store has is good, so decode it once more.
      try? FileManager.default.removeItem(at: place)
      _ = try build(dataset)
      data = try TrainingData(folder: place)
    }
    try? FileManager.default.setAttributes([.modificationDate: Date()], ofItemAtPath: place.path)
    lock.withLock {
      opened.append((name, data))
      if opened.count > Self.openedMax { opened.removeFirst() }
    }
    return data
  }

  private func alreadyOpen(_ name: String) -> TrainingData? {
    lock.withLock {
      guard let index = opened.firstIndex(where: { $0.name == name }) else { return nil }
      let entry = opened.remove(at: index)
      opened.append(entry)
      return entry.data
    }
  }

  /// Deletes what was used longest ago until the folder fits. Files that are mapped live on for whoever mapped them.
  private func trim(keeping kept: String) {
    let manager = FileManager.default
    guard
      let entries = try? manager.contentsOfDirectory(
        at: folder, includingPropertiesForKeys: [.contentModificationDateKey], options: [.skipsHiddenFiles])
    else { return }
    let dated = entries.map { entry -> (url: URL, date: Date, bytes: Int) in
      let date = try? entry.resourceValues(forKeys: [.contentModificationDateKey]).contentModificationDate
      let files = (try? manager.contentsOfDirectory(at: entry, includingPropertiesForKeys: [.fileSizeKey])) ?? []
      let bytes = files.reduce(0) { $0 + ((try? $1.resourceValues(forKeys: [.fileSizeKey]).fileSize) ?? 0) }
      return (entry, date ?? .distantPast, bytes)
    }.sorted { $0.date < $1.date }
    var total = dated.reduce(0) { $0 + $1.bytes }
    for entry in dated where total > bytesMax && entry.url.lastPathComponent != kept {
      try? manager.removeItem(at: entry.url)
      total -= entry.bytes
    }
  }
}
