// Standard output and error of the process: whole lines, and a block of lines that is redrawn in place on a terminal.
import Contract
import Foundation
import Glibc

/// Where commands print. Writes that fail end the process as a closed pipe would.
struct Console {
  /// Whether standard output is a terminal that understands cursor movements.
  var isTerminal: Bool {
    isatty(STDOUT_FILENO) == 1 && ProcessInfo.processInfo.environment["TERM"].map { $0 != "dumb" } ?? false
  }

  /// Size of the terminal in characters; 80 by 24 where it does not tell.
  var size: (columns: Int, rows: Int) {
    var window = winsize()
    guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &window) == 0, window.ws_col > 0, window.ws_row > 0 else {
      return (80, 24)
    }
    return (Int(window.ws_col), Int(window.ws_row))
  }

  /// Prints a line on standard output.
  func line(_ text: String) { Self.write(text + "\n", to: STDOUT_FILENO) }

  /// Prints a line on standard error.
  func error(_ text: String) { Self.write(text + "\n", to: STDERR_FILENO) }

  /// Prints a document for machines, or what `human` says for people.
  func show(_ json: JSON, asJSON: Bool, human: () -> String) {
    line(asJSON ? json.text : human())
  }

  /// Draws `lines` over the block of `previous` lines drawn before; returns how many lines it drew.
  func redraw(_ lines: [String], over previous: Int) -> Int {
    let (columns, rows) = size
    let shown = lines.prefix(max(1, rows - 1)).map { String($0.prefix(columns)) }
    var text = previous > 0 ? "\u{1B}[\(previous)A" : ""
    for line in shown { text += "\r\u{1B}[2K" + line + "\n" }
    if shown.count < previous { text += "\u{1B}[0J" }
    Self.write(text, to: STDOUT_FILENO)
    return shown.count
  }

  private static func write(_ text: String, to descriptor: Int32) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0 && errno == EINTR { continue }
      // Nobody reads any more: whoever closed the pipe knows.
      guard count > 0 else { exit(ExitStatus.failure.rawValue) }
      bytes = bytes.dropFirst(count)
    }
  }
}
