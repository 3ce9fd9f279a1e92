// VeLO against recordings of the reference implementation, at its published size too, and what a tensor without elements
// may do to the others.
import Compute
import Contract
import Learning
import Testing

@Suite("VeLO")
struct VeloTests {
  /// The recorded weights of the published size are told by a formula: too many to keep.
  static let published = Result { try generatedTheta(RecordedRun("hyper_v2_velo").file, .init()) }

  @Test("follows the reference at every level", arguments: availableLevels)
  func small(level: CPULevel) throws {
    let recorded = try RecordedRun("hyper_v2_small")
    let velo = Velo.Configuration(lstmHidden: 32, networks: 16)
    try follows(recorded, velo, recorded.theta(ThetaSchema(Velo.self, velo)), level)
  }

  @Test("follows the reference as older weights expect it at every level", arguments: availableLevels)
  func bugged(level: CPULevel) throws {
    let recorded = try RecordedRun("hyper_v2_small_bugged")
    var velo = Velo.Configuration(lstmHidden: 16, networks: 8)
    (velo.buggedLossFeatures, velo.buggedLSTMState) = (true, true)
    try follows(recorded, velo, recorded.theta(ThetaSchema(Velo.self, velo)), level)
  }

  @Test("follows the reference at its published size at every level", arguments: availableLevels)
  func published(level: CPULevel) throws {
    let theta = try Self.published.get()
    #expect(theta.schema.layout.elements == 2_320_385)
    try follows(RecordedRun("hyper_v2_velo"), .init(), theta, level)
  }

  private func follows(
    _ recorded: RecordedRun, _ velo: Velo.Configuration, _ theta: Theta, _ level: CPULevel
  ) throws {
    let optimizer = Velo(parameters: recorded.parameters, configuration: velo, level: level)
    let run = OptimizerRun(optimizer, theta: theta, totalSteps: recorded.totalSteps)
    #expect(try recorded.replay(run, trajectory: "traj") < 1)
    for tensor in recorded.parameters.tensors {
      let name = tensor.name
      var slots = [("momentum/\(name)", "mom_rolling/m/\(name)"), ("rms/\(name)", "rms_rolling/rms/\(name)")]
      if tensor.shape.rank >= 2 {
        slots.append(("row/\(name)", "fac_rolling/v_row/\(name)"))
        slots.append(("column/\(name)", "fac_rolling/v_col/\(name)"))
      } else {
        slots.append(("diagonal/\(name)", "fac_rolling/v_diag/\(name)"))
      }
      for (ours, theirs) in slots {
        #expect(try recorded.deviation(of: ours, of: run, from: "state/\(theirs)") < 1e-5, "\(ours)")
      }
    }
    for part in ["hidden", "cell"] {
      let theirs = try recorded.file.floats("state/lstm_hidden_state/\(part)")
      let largest = theirs.map(abs).max()!
      #expect(zip(run.slot("lstm/\(part)"), theirs).allSatisfy { abs($0 - $1) <= 1e-4 * largest }, "\(part)")
    }
    for (slot, field) in [("means", "means"), ("minima", "running_min"), ("decays", "decays")] {
      let theirs = try recorded.file.floats("state/loss_buffer/\(field)")
      // The share of a loss in the slowest average, 1 - exp(-1/n), has four or five digits in float32.
      #expect(zip(run.slot("loss_buffer/\(slot)"), theirs).allSatisfy { abs($0 - $1) <= 1e-4 * abs($1) }, "\(slot)")
    }
  }

  @Test("one wrong LSTM weight is far outside the tolerance")
  func recordingIsSensitive() throws {
    let recorded = try RecordedRun("hyper_v2_small")
    let velo = Velo.Configuration(lstmHidden: 32, networks: 16)
    let theta = try recorded.theta(ThetaSchema(Velo.self, velo))
    var values = theta.values
    // The features of the one-hot rank are moved by one.
    let w = theta.schema.layout["rnn_params/linear_2/w"]!
    for unit in 0..<32 { values.swapAt(w.offset + 20 * 32 + unit, w.offset + 21 * 32 + unit) }
    let run = OptimizerRun(
      Velo(parameters: recorded.parameters, configuration: velo, level: .scalar),
      theta: try Theta(schema: theta.schema, values: values), totalSteps: recorded.totalSteps)
    #expect(try recorded.replay(run, trajectory: "traj") > 10)
  }

  @Test("weights return from a file with all their constants")
  func file() throws {
    var velo = Velo.Configuration(lstmHidden: 7, networks: 3)
    (velo.mixingScale, velo.buggedLSTMState) = (1, true)
    let theta = Theta.initial(ThetaSchema(Velo.self, velo), key: RandomKey(seed: 1))
    let again = try Theta(safetensors: theta.safetensors())
    #expect(again == theta)
    #expect(again.schema.configuration == velo.json)
  }

  @Test("tensors without elements change no bit of the others", arguments: availableLevels)
  func emptyTensors(level: CPULevel) throws {
    let schema = ThetaSchema(Velo.self, .init(lstmHidden: 12, networks: 3))
    let theta = try livelyTheta(schema)
    let plain = layout(["a": [5, 3], "b": [7], "c": .scalar])
    let padded = layout(["none": [0], "a": [5, 3], "no/w": [0, 4], "b": [7], "c": .scalar, "no/b": [3, 0]])
    let updated = [plain, padded].map { parameters in
      let run = OptimizerRun(schema.optimizer(parameters: parameters, level: level), theta: theta)
      var numbers = Numbers(seed: 8)
      for name in ["a", "b", "c"] {
        run.set(name, to: (0..<plain[name]!.count).map { _ in numbers.next() }, in: run.parameters)
      }
      run.initialize()
      for step in 0..<5 {
        for name in ["a", "b", "c"] {
          run.set(name, to: (0..<plain[name]!.count).map { _ in numbers.next() }, in: run.gradients)
        }
        run.update(loss: 1 / Float(step + 1))
      }
      #expect(run.optimizer.state.tensors.allSatisfy { run.slot($0.name).allSatisfy { $0.isFinite } })
      return ["a", "b", "c"].flatMap { run.parameter($0) }
    }
    #expect(updated[0] == updated[1])
    #expect(updated[0].allSatisfy { $0.isFinite })
  }

  @Test("reads the published arguments and its own names, and refuses two names for one")
  func configuration() throws {
    let read: (JSON) throws -> Velo.Configuration? = { json in
      try Faults.collect { faults -> Velo.Configuration? in
        guard var fields = Fields(json, faults: faults) else { return nil }
        var velo = Velo.Configuration()
        velo.read(&fields)
        fields.finish()
        return velo
      }
    }
    let published: JSON = [
      "lstm_hidden_size": 32, "param_inits": 16, "use_bugged_loss_features": true, "use_bugged_next_lstm_state": true,
    ]
    let velo = try #require(try read(published))
    #expect((velo.lstmHidden, velo.networks, velo.mixingScale) == (32, 16, 100))
    #expect(velo.buggedLossFeatures && velo.buggedLSTMState)
    #expect(try read(velo.json) == velo)
    #expect(throws: SpecError.self) { try read(["lstm_hidden": 32, "lstm_hidden_size": 32]) }
    #expect(throws: SpecError.self) { try read(["lstm_hidden": 0]) }
    #expect(throws: SpecError.self) { try read(["networks": 5000]) }
  }
}

/// Weights by the formula that the recording names: a hash of the leaf's and the element's numbers, scaled and moved.
func generatedTheta(_ file: SafetensorsFile, _ velo: Velo.Configuration) throws -> Theta {
  let schema = ThetaSchema(Velo.self, velo)
  let layout = schema.layout
  var values = [Float](repeating: 0, count: layout.floats)
  let order = try JSON.parse(file.metadata["theta_order"] ?? "[]", depthMax: 2).array ?? []
  let seed = try #require(UInt64(file.metadata["theta_seed"] ?? ""))
  #expect(Set(order.compactMap(\.string)) == Set(layout.tensors.map(\.name)))
  for (k, name) in order.compactMap(\.string).enumerated() {
    let leaf = try #require(layout[name])
    let transform = try file.floats("theta_gen/\(name)")
    let (scale, offset) = (transform[0], transform[1])
    let start = seed &+ UInt64(k + 1) &* 0x9E37_79B9_7F4A_7C15
    var sum = 0.0
    values.withUnsafeMutableBufferPointer { values in
      for i in 0..<leaf.count {
        var z = start &+ UInt64(truncatingIfNeeded: i + 1) &* 0xD1B5_4A32_D192_ED03
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        z ^= z >> 31
        let value = (Float(z >> 40) - 8_388_608) / 8_388_608 * scale + offset
        values[leaf.offset + i] = value
        sum += Double(value)
      }
    }
    let leafValues = values[leaf.offset..<leaf.offset + leaf.count]
    let expected = try file.floats("theta_check/\(name)")
    #expect(Array(leafValues.prefix(4)) + leafValues.suffix(4) + [Float(sum)] == expected, "\(name)")
  }
  return try Theta(schema: schema, values: values)
}
