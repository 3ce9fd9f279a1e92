// Data sets that a command reads itself, without a server: `--data name=file`, in the formats of `trainyard dataset add`.
import ArgumentParser
import Contract
import Foundation
import Learning

/// Data sets on the command line.
struct DataSetOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "A data set in any format of `dataset add`, told by the file's name; idx and npy may be several files in order.",
      valueName: "name=file,…"))
  var data: [String] = []

  /// Decodes each set into a temporary folder that is unlinked at once; the mappings keep it.
  func load() throws -> [String: TrainingData] {
    var sets: [String: TrainingData] = [:]
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("trainyard-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    for text in data {
      let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
      let files = parts.last?.split(separator: ",").map(String.init) ?? []
      guard parts.count == 2, let first = files.first else {
        throw CommandFailure(.usage, "--data \(text): expected NAME=FILE[,FILE...]")
      }
      guard sets[parts[0]] == nil else { throw CommandFailure(.usage, "--data \(parts[0]) is given twice") }
      // A name that tells nothing is taken for IDX, whose files have no ending of their own.
      let options = try ReadingOptions.parse([]).options(format: DatasetCommand.Add.format(of: first) ?? "idx")
      let place = folder.appendingPathComponent("set-\(sets.count)")
      do {
        _ = try DatasetBuilder.build(file: try upload(files, in: folder), options: options, folder: place)
        sets[parts[0]] = try TrainingData(folder: place)
      } catch let fault as DataFault {
        throw CommandFailure(.usage, "--data \(text), read as \(options.format.rawValue): \(fault)")
      }
    }
    return sets
  }

  /// One file with the bytes of all, as an upload has them.
  private func upload(_ files: [String], in folder: URL) throws -> URL {
    if files.count == 1, FileManager.default.isReadableFile(atPath: files[0]) { return URL(fileURLWithPath: files[0]) }
    let upload = folder.appendingPathComponent("upload")
    FileManager.default.createFile(atPath: upload.path, contents: nil)
    let handle = try FileHandle(forWritingTo: upload)
    defer { try? handle.close() }
    for file in files {
      do { try handle.write(contentsOf: Data(contentsOf: URL(fileURLWithPath: file), options: .mappedIfSafe)) } catch {
        throw CommandFailure(.usage, "\(file) cannot be read: \(error.localizedDescription)")
      }
    }
    return upload
  }
}
