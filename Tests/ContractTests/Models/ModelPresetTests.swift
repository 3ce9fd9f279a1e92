// ModelPreset.swift, the ModelPresets files: what presets expand to, and which data they fit.
import Contract
import Testing

private let kinds: [(data: DataShape, fitting: Set<Preset.Name>)] = [
  (DataShape(input: [4], target: .classes(3)), [.mlp, .softmaxRegression, .autoencoder, .vae]),
  (DataShape(input: [4], target: .values(1)), [.mlp, .autoencoder, .vae]),
  (
    DataShape(input: [28, 28], target: .classes(10)),
    [.mlp, .softmaxRegression, .cnn, .resnet, .rnn, .vit, .mixer, .autoencoder, .vae]
  ),
  (
    DataShape(input: [32, 32, 3], target: .classes(10)),
    [.mlp, .softmaxRegression, .cnn, .resnet, .vit, .mixer, .autoencoder, .vae]
  ),
  (
    DataShape(input: [64], elements: .tokens(vocabulary: 256), target: .tokens(vocabulary: 256)), [.rnn, .transformer]
  ),
  (DataShape(input: [64], elements: .tokens(vocabulary: 99), target: .classes(5)), [.rnn, .transformer]),
]

@Suite struct ModelPresetTests {
  @Test("every preset resolves on the data it fits, and on others names those that do", arguments: kinds)
  func fit(data: DataShape, fitting: Set<Preset.Name>) throws {
    for name in Preset.Name.allCases {
      let spec = ModelSpec.preset(.standard(name))
      if fitting.contains(name) {
        let model = try spec.resolved(for: data)
        #expect(model.parameterCount > 0)
        // What it expands to says the same when it is written down and read.
        let (layers, objective) = spec.expanded(for: data)
        let written = ModelSpec.layers(layers, objective: objective)
        #expect(try ModelSpec.decode(written.json).resolved(for: data) == model, "\(name)")
      } else {
        let fault = #expect(throws: SpecError.self) { try spec.resolved(for: data) }?.faults.first
        #expect(fault?.path == "/model/preset")
        let list = fault?.reason.components(separatedBy: "presets that fit it: ").last?.components(separatedBy: ", ")
        #expect(Set(list ?? []) == Set(fitting.map(\.rawValue)), "\(name): \(fault?.reason ?? "")")
      }
    }
  }

  @Test("a preset survives being written and read", arguments: Preset.Name.allCases)
  func roundTrip(name: Preset.Name) throws {
    let spec = ModelSpec.preset(.standard(name))
    #expect(try ModelSpec.decode(spec.json) == spec)
    #expect(try ModelSpec.decode(["preset": .string(name.rawValue)]) == spec)
  }

  @Test(
    "a preset's fields are those its family has, within their limits",
    arguments: [
      (#"{"preset":"mlp","filters":[3]}"#, "/filters"), (#"{"preset":"cnn","filters":[]}"#, "/filters"),
      (#"{"preset":"cnn","filters":[4,8],"strides":[1]}"#, "/strides"),
      (#"{"preset":"resnet","blocks":[1,1]}"#, "/channels"), (#"{"preset":"resnet","version":3}"#, "/version"),
      (#"{"preset":"transformer","width":30}"#, "/heads"), (#"{"preset":"vit","heads":3}"#, "/heads"),
      (#"{"preset":"rnn","cell":"elman"}"#, "/cell"), (#"{"preset":"vae","loss":"l1"}"#, "/loss"),
      (#"{"preset":"forest"}"#, "/preset"),
    ])
  func faults(text: String, path: String) throws {
    let error = #expect(throws: SpecError.self) { try ModelSpec.decode(JSON.parse(text)) }
    #expect(error?.faults.map(\.path) == [path])
  }

  @Test("the families have the sizes that their papers' counts give")
  func counts() throws {
    func count(_ text: String, _ data: DataShape) throws -> Int {
      try ModelSpec.decode(JSON.parse(text)).resolved(for: data).parameterCount
    }
    let images = DataShape(input: [32, 32, 3], target: .classes(10))
    // 3x3 kernels over 3, 32, 64 channels, and a linear layer.
    #expect(try count(#"{"preset":"cnn"}"#, images) == 896 + 18_496 + 36_928 + 650)
    let bytes = DataShape(input: [64], elements: .tokens(vocabulary: 256), target: .tokens(vocabulary: 256))
    let block = 12 * 128 * 128 + 13 * 128
    #expect(try count(#"{"preset":"transformer"}"#, bytes) == 256 * 128 + 64 * 128 + 2 * block + 256 + 129 * 256)
    #expect(try count(#"{"preset":"rnn"}"#, bytes) == 256 * 128 + 2 * 128 * 512 + 512 + 129 * 256)
    // ResNet-50's published 25,557,032 for 1000 classes of 224x224, whose convolutions have no biases.
    let photos = DataShape(input: [224, 224, 3], target: .classes(1000))
    let resnet =
      #"{"preset":"resnet","version":1,"bottleneck":true,"blocks":[3,4,6,3],"channels":[256,512,1024,2048],"stem_channels":64,"stem_kernel":7,"stem_stride":2,"pool":true}"#
    #expect(try count(resnet, photos) == 25_557_032)
    // ViT-B/16's published 86,567,656.
    let vit = #"{"preset":"vit","patch":16,"layers":12,"width":768,"heads":12,"mlp":3072}"#
    #expect(try count(vit, photos) == 86_567_656)
  }
}
