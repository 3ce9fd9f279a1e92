// `trainyard campaign run --local`: interrupted and gone on with, from the shell.
import Foundation
import Testing

struct LocalCampaignTests {
  private static let campaign = """
    name: smoke
    optimizer: learned_sgdm
    seed: 1
    phases:
      - name: find
        estimator: {kind: nres, sigma: 0.05, pairs: 4, window: 20, log_floor: 1.0e-4}
        lengths: [30, 70]
        outer_steps: 150
        outer: {optimizer: {name: adam, learning_rate: 0.05}}
        tasks: [{config: {obj: Quadratic, args: {dimensions: 10}}}]
    """

  @Test("a campaign that is interrupted goes on from its state to the same theta, on other threads")
  func interrupt() throws {
    let folder = try Folder()
    let file = try folder.write("campaign.yaml", Data(Self.campaign.utf8))
    let whole = folder.file("whole.safetensors"), parts = folder.file("parts.safetensors")
    let state = folder.file("state")
    func arguments(_ out: URL, _ more: String...) -> [String] {
      ["campaign", "run", "--local", "-f", file, "--out", out.path] + more
    }
    let plain = try Executable.run(arguments(whole, "--threads", "1"))
    #expect(plain.status == 0, "\(plain)")

    let process = Process()
    process.executableURL = URL(fileURLWithPath: Executable.path)
    process.arguments = arguments(parts, "--threads", "2", "--state", state.path, "--every", "1")
    process.environment = Executable.environment
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    // Its first step is done when it says so.
    var said = output.fileHandleForReading.availableData
    process.interrupt()
    while case let more = output.fileHandleForReading.availableData, !more.isEmpty { said += more }
    process.waitUntilExit()
    let lines = String(decoding: said, as: UTF8.self).split(separator: "\n").count
    #expect(process.terminationStatus == 0 && lines >= 1 && lines < 150)

    let rest = try Executable.run(arguments(parts, "--threads", "1", "--state", state.path))
    #expect(rest.status == 0, "\(rest)")
    #expect(try Data(contentsOf: parts) == Data(contentsOf: whole))

    let other = try folder.write("other.yaml", Data(Self.campaign.replacing("seed: 1", with: "seed: 2").utf8))
    let refused = try Executable.run(
      ["campaign", "run", "--local", "-f", other, "--out", parts.path, "--state", state.path])
    #expect(refused.status == 2 && refused.errors.contains("another campaign"), "\(refused)")
    var damaged = try Data(contentsOf: state)
    damaged[damaged.count / 2] ^= 4
    try damaged.write(to: state)
    let broken = try Executable.run(arguments(parts, "--state", state.path))
    #expect(broken.status == 2 && broken.errors.contains("damaged"), "\(broken)")
  }
}
