// `trainyard optimizer export`: a learned optimizer's weights as a file, in our form or that of the reference
// implementations, from a server or out of another file.
import ArgumentParser
import Client
import Contract
import Foundation
import Learning

extension LearnedOptimizerRecord.Format: ExpressibleByArgument {}

struct OptimizerExport: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export", abstract: "Write a learned optimizer's weights as safetensors or flax.",
    discussion: """
      Of a server's optimizer, or converted from a file without any server:
        trainyard optimizer export opt_... --format flax --out theta.state
        trainyard optimizer export --theta params --format safetensors --out velo.safetensors
      A flax file that is exported as flax with nothing changed keeps its bytes, wrapper included.
      """)
  @OptionGroup var server: ServerOptions
  @Argument(help: "The optimizer's id on the server.") var id: String?
  @Option(help: ArgumentHelp("A file to convert: safetensors or flax.", valueName: "file")) var theta: String?
  @Option(help: "Which optimizer the file must be; default: what its tensors tell.") var name: OptimizerName?
  @Option(
    help: ArgumentHelp("Constants of the architecture that the file does not hold, or others.", valueName: "json"))
  var config: String?
  @Option(help: ArgumentHelp("Provenance to store with safetensors; may be repeated.", valueName: "key=value"))
  var provenance: [String] = []
  @Option(help: "The form to write.") var format = LearnedOptimizerRecord.Format.safetensors
  @Option(help: ArgumentHelp("The file to write.", valueName: "file")) var out: String

  func validate() throws {
    guard (id == nil) != (theta == nil) else { throw ValidationError("give the optimizer's id, or --theta FILE") }
    if id != nil, name != nil || config != nil || !provenance.isEmpty {
      throw ValidationError("--name, --config and --provenance are for --theta: what is on a server stays as it is")
    }
  }

  func run() throws {
    let data = try id.map { try server.client().optimizerTheta($0, format: format) } ?? converted()
    do { try data.write(to: URL(fileURLWithPath: out), options: .atomic) } catch {
      throw CommandFailure(.failure, "\(out) cannot be written: \(error.localizedDescription)")
    }
    let facts: JSON = ["file": .string(out), "format": .string(format.rawValue), "bytes": .integer(data.count)]
    Console().show(facts, asJSON: server.json) { "\(out): \(data.count) bytes" }
  }

  private func converted() throws -> Data {
    let path = theta!
    let source = try ThetaFiles.bytes(path)
    var read = try ThetaFiles.read(path, as: name)
    if let config {
      let constants = try ThetaFiles.constants(config)
      do { read = try read.with(constants: constants) } catch let error as any Error & CustomStringConvertible {
        throw CommandFailure(.usage, "--config: \(error)")
      }
    }
    for (key, value) in try ThetaFiles.provenance(provenance) { read.provenance[key] = value }
    switch format {
    case .safetensors: return read.safetensors()
    case .flax: return Theta.isFlax(source) ? source : read.flax()
    }
  }
}
