// TaskConfig.swift, SHA256Digest.swift: configuration trees and their ids.
import Testing

@testable import Contract

@Suite struct TaskConfigTests {
  @Test("SHA-256 gives the digests of FIPS 180-4's examples")
  func digests() {
    #expect(
      SHA256Digest.hexadecimal(of: Array("abc".utf8))
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    #expect(
      SHA256Digest.hexadecimal(of: [])
        == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    #expect(
      SHA256Digest.hexadecimal(of: Array("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".utf8))
        == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1")
    #expect(
      SHA256Digest.hexadecimal(of: [UInt8](repeating: UInt8(ascii: "a"), count: 1_000_000))
        == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
  }

  @Test("equal trees share their text and id, however they are written")
  func canonical() throws {
    let one = try TaskConfig.decode(JSON.parse(#"{"obj": "A", "args": {"x": 1.0, "b": [2.0, 0.5]}}"#))
    let two = try TaskConfig.decode(JSON.parse(#"{"args":{"b":[2,0.5],"x":1},"obj":"A"}"#))
    #expect(one.canonicalText == #"{"args":{"b":[2,0.5],"x":1},"obj":"A"}"#)
    #expect(one.id == two.id && one.id.count == 64)
    #expect(one.id != two.with("x", 2).id)
  }

  @Test("a tree that is no tree is refused with the path of its fault")
  func faults() {
    let error = #expect(throws: SpecError.self) { try TaskConfig.decode(["args": [1], "more": 1]) }
    #expect(Set(error?.faults.map(\.path) ?? []) == ["/obj", "/args", "/more"])
    var deep: JSON = 1
    for _ in 0..<100 { deep = [deep] }
    #expect(throws: SpecError.self) { try TaskConfig.decode(["obj": "A", "args": ["x": deep]]) }
  }

  @Test("campaign tasks are read in all three forms")
  func forms() throws {
    let text = """
      {"name": "c", "optimizer": "celo", "phases": [{"name": "p", "estimator": {"kind": "nres"}, "lengths": [100, 1000],
       "outer_steps": 10, "tasks": [{"data": "d"}, {"task": "Quadratic"}, {"task": "synth_ImageMLP", "draws": 3},
       {"config": {"obj": "Quadratic", "args": {"dimensions": 3}}}]}]}
      """
    let spec = try CampaignSpec.decode(JSON.parse(text))
    let tasks = spec.phases[0].tasks.map(\.task)
    #expect(tasks[2] == .named("synth_ImageMLP", draws: 3))
    #expect(tasks[3] == .config(TaskConfig("Quadratic", ["dimensions": 3])))
    #expect(try CampaignSpec.decode(spec.json) == spec)
  }
}
