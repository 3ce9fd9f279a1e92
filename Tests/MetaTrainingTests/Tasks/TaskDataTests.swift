// TaskDataSets.swift, TaskImages.swift, TaskText.swift: tasks on data sets of several formats.
import Compute
import Contract
import Foundation
import Learning
import Testing

@testable import MetaTraining

@Suite struct TaskDataTests {
  private func dataset(_ bytes: [UInt8], _ options: DatasetOptions) throws -> TrainingData {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("tasks-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let file = folder.appendingPathComponent("upload"), place = folder.appendingPathComponent("set")
    try Data(bytes).write(to: file)
    _ = try DatasetBuilder.build(file: file, options: options, folder: place)
    return try TrainingData(folder: place)
  }

  /// An array of bytes in NumPy's format.
  private func npy(_ values: [UInt8], shape: String) -> [UInt8] {
    var header = "{'descr': '|u1', 'fortran_order': False, 'shape': (\(shape)), }"
    header += String(repeating: " ", count: 117 - header.utf8.count) + "\n"
    return [0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59, 1, 0, 118, 0] + Array(header.utf8) + values
  }

  @Test("text is one stream, whatever rows it was cut to: windows have the task's length and the next bytes as labels")
  func text() throws {
    let bytes = (0..<2000).map { UInt8(32 + $0 * 7 % 90) }
    let data = try dataset(bytes, DatasetOptions(format: .text))
    let text = try TaskText(data, name: "t", vocabulary: 259)
    #expect(text.vocabulary == 259 && text.tokens.count == data.train.rows * 64)
    #expect(text.tokens == bytes.prefix(text.tokens.count).map(Int32.init))

    let config = try TaskRegistry.standard.record("RNNLM_lm1bbytes_Patch32_LSTM128_Embed64").config(RandomKey(seed: 0))
    let task = try TaskBuilder(data: TaskDataSets(["lm1b_bytes": data]), level: .best).build(config)
    #expect(task.chanceLoss == log(259.0))
    let executor = Executor(task.plan)
    let places = BatchPlaces(task.source.inputs, of: executor)
    defer { places.deallocate() }
    task.source.draw(RandomKey(seed: 4), into: places)
    for row in 0..<128 {
      let window = (0..<32).map { places.int32(0)[row * 32 + $0] }
      let labels = (0..<32).map { places.int32(1)[row * 32 + $0] }
      #expect(Array(window.dropFirst()) == Array(labels.dropLast()))
      #expect(zip(window, labels).allSatisfy { ($1 - 32) == ($0 - 32 + 7) % 90 })
    }
  }

  @Test("colour images in NumPy arrays come at the task's size, in colour or grey")
  func images() throws {
    let rows = 40
    var pixels: [UInt8] = []
    for row in 0..<UInt8(rows) {
      for _ in 0..<32 * 32 { pixels += [row, 2 * row, 3 * row] }
    }
    let labels = (0..<rows).map { UInt8($0 % 10) }
    let arrays = npy(pixels, shape: "\(rows), 32, 32, 3") + npy(labels, shape: "\(rows),")
    let sets = TaskDataSets(["cifar10": try dataset(arrays, DatasetOptions(format: .npy))])
    let builder = TaskBuilder(data: sets, level: .best)
    for name in ["Conv_Cifar10_8_16x32", "ImageMLP_Cifar10BW8_Relu32"] {
      let task = try builder.build(TaskRegistry.standard.record(name).config(RandomKey(seed: 0)))
      let channels = name.contains("BW") ? 1 : 3
      let executor = Executor(task.plan)
      let places = BatchPlaces(task.source.inputs, of: executor)
      defer { places.deallocate() }
      task.source.draw(RandomKey(seed: 4), into: places)
      for row in 0..<128 {
        let image = places.floats(0) + row * 64 * channels
        // Red is the row's number, which the label ends with; grey is the mean of one, two and three times it.
        let number = Int((image[0] * 255 / (channels == 1 ? 2 : 1)).rounded())
        #expect(Int(places.int32(1)[row]) == number % 10)
        if channels == 3 { #expect(abs(image[2] - 3 * image[0]) < 1e-5) }
      }
    }
  }

  @Test("data of the wrong kind are refused with what they are")
  func refused() throws {
    let table = try dataset(
      Array(("a,b,c\n" + (0..<40).map { "\($0),\($0 * 2),\($0 % 2)\n" }.joined()).utf8), DatasetOptions(format: .csv))
    let builder = TaskBuilder(data: TaskDataSets(["cifar10": table, "lm1b_bytes": table]), level: .best)
    for name in ["Conv_Cifar10_8_16x32", "RNNLM_lm1bbytes_Patch32_LSTM128_Embed64"] {
      let config = try TaskRegistry.standard.record(name).config(RandomKey(seed: 0))
      let error = #expect(throws: DataFault.self) { try builder.build(config) }
      #expect(error?.description.contains("[2]") == true)
    }
  }
}
