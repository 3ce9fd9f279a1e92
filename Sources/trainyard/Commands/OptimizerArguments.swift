// Optimizers on the command line: by any of their spellings, their options as key=value.
import ArgumentParser
import Contract

extension OptimizerName: ExpressibleByArgument {
  public init?(argument: String) { self.init(spelled: argument) }
}

enum OptimizerArguments {
  /// The `optimizer` members that `key=value` options mean: values are JSON where they parse as such, else text.
  static func members(options: [String]) throws -> [String: JSON] {
    var members: [String: JSON] = [:]
    for option in options {
      let parts = option.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      guard parts.count == 2, !parts[0].isEmpty else {
        throw CommandFailure(.usage, "--option: expected key=value, got \"\(option)\"")
      }
      members[parts[0]] = (try? JSON.parse(parts[1])) ?? .string(parts[1])
    }
    return members
  }

  /// An optimizer with those options set.
  static func settings(_ name: OptimizerName, options: [String]) throws -> OptimizerSettings {
    let members = try members(options: options)
    do {
      return try Faults.collect { faults in
        guard var fields = Fields(.object(members), path: "", faults: faults) else { return nil }
        let settings = OptimizerSettings.read(name, &fields)
        if name.isLearned, !settings.has("learning_rate"), fields.has("learning_rate") {
          fields.consume("learning_rate")
          fields.fault("learning_rate", OptimizerSpec.noLearningRate)
        }
        fields.finish()
        return settings
      }
    } catch { throw CommandFailure(.usage, "\(name.rawValue): \(error)") }
  }
}
