// Tests for Settings.swift: where values come from, and that all faults come at once.
import Contract
import Foundation
import Store
import Testing

@testable import trainyard

struct SettingsTests {
  @Test("without flags and variables the defaults hold")
  func defaults() throws {
    let settings = try Settings(flags: SettingFlags(), environment: [:], cores: 6)
    #expect(settings.listen == ListenAddress(host: "127.0.0.1", port: 8470))
    #expect(settings.workers == 6 && settings.slots == 1 && settings.logLevel == .info)
    #expect(
      settings.dataFolder == nil && settings.databaseURL == nil && settings.key == nil && settings.serverURL == nil)
  }

  @Test("a flag wins over its variable, and an empty variable counts as unset")
  func precedence() throws {
    let settings = try Settings(
      flags: SettingFlags(listen: "[::1]:0", workers: "0"),
      environment: [
        "TRAINYARD_WORKERS": "7", "TRAINYARD_LISTEN": "0.0.0.0:1", "TRAINYARD_SLOTS": "3", "TRAINYARD_LOG": "",
      ],
      cores: 2)
    #expect(settings.workers == 0 && settings.slots == 3 && settings.logLevel == .info)
    #expect(settings.listen == ListenAddress(host: "::1", port: 0) && settings.listen.text == "[::1]:0")
  }

  @Test("all faults are reported at once, each under the name it was given by")
  func faults() {
    let error = #expect(throws: SpecError.self) {
      try Settings(
        flags: SettingFlags(listen: "8470", workers: "many", url: "localhost"),
        environment: ["TRAINYARD_SLOTS": "0", "TRAINYARD_LOG": "loud", "TRAINYARD_KEY_FILE": "/nonexistent/key"],
        cores: 2)
    }
    #expect(
      error?.faults.map(\.path) == [
        "--listen", "--workers", "TRAINYARD_SLOTS", "TRAINYARD_LOG", "--url", "TRAINYARD_KEY_FILE",
      ])
  }

  @Test("the key comes from the flag's file, then the variable, then its file, then the data folder")
  func keys() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("settings-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let file = folder.appendingPathComponent("key")
    try "ty_file\n".write(to: file, atomically: true, encoding: .utf8)
    try "ty_admin\n".write(to: Settings.adminKeyFile(in: folder), atomically: true, encoding: .utf8)
    func key(_ flags: SettingFlags, _ environment: [String: String]) throws -> String? {
      try Settings(flags: flags, environment: environment, cores: 1).key
    }
    let both = ["TRAINYARD_KEY": "ty_variable", "TRAINYARD_KEY_FILE": file.path]
    #expect(try key(SettingFlags(data: folder.path, keyFile: file.path), ["TRAINYARD_KEY": "ty_variable"]) == "ty_file")
    #expect(try key(SettingFlags(data: folder.path), both) == "ty_variable")
    #expect(try key(SettingFlags(data: folder.path), ["TRAINYARD_KEY_FILE": file.path]) == "ty_file")
    #expect(try key(SettingFlags(data: folder.path), [:]) == "ty_admin")
  }

  @Test("the database's password may stand in a file, for either form of a connection string")
  func passwordFile() throws {
    let file = FileManager.default.temporaryDirectory.appendingPathComponent("password-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: file) }
    func url(_ text: String) throws -> String? {
      try Settings(
        flags: SettingFlags(databaseURL: text), environment: ["TRAINYARD_DATABASE_PASSWORD_FILE": file.path], cores: 1
      ).databaseURL
    }
    #expect(throws: SpecError.self) { try url("host=db") }
    try "\n".write(to: file, atomically: true, encoding: .utf8)
    #expect(throws: SpecError.self) { try url("host=db") }
    try "it's a \\ secret\n".write(to: file, atomically: true, encoding: .utf8)
    let expected = #"dbname='jobs' host='db' password='it\'s a \\ secret' user='trainyard'"#
    #expect(try url("postgresql://trainyard@db/jobs") == expected)
    #expect(try url("postgresql://trainyard:other@db/jobs") == expected)
    #expect(try url("host=db user=trainyard dbname=jobs") == expected)
    #expect(throws: SpecError.self) { try url("postgresql://[") }
    let again = try ConnectionString(expected)
    #expect(again.environment["PGPASSWORD"] == #"it's a \ secret"# && again.environment["PGHOST"] == "db")
    #expect(again.text == expected)
  }

  @Test("an address needs a host and a port", arguments: ["", ":80", "host", "host:", "host:99999", "::1:80", "a:b"])
  func addresses(text: String) {
    #expect(ListenAddress(text) == nil)
  }
}
