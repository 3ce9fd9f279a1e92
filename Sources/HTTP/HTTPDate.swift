// The Date field's text (RFC 9110 §5.6.7), computed once a second; used by ResponseWriter.

import Glibc

/// The present time as an IMF-fixdate, e.g. `Sun, 06 Nov 1994 08:49:37 GMT`.
final class HTTPDate: Sendable {
  private let latest = Guarded((second: Int.min, text: [UInt8]()))

  func now() -> [UInt8] {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    let second = time.tv_sec
    return latest.withLock { latest in
      if latest.second != second { latest = (second, Array(Self.text(second).utf8)) }
      return latest.text
    }
  }

  /// The text of a moment given in seconds since 1970, UTC.
  static func text(_ second: Int) -> String {
    var moment = time_t(second)
    var parts = tm()
    gmtime_r(&moment, &parts)
    let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
    return "\(days[Int(parts.tm_wday)]), \(two(parts.tm_mday)) \(months[Int(parts.tm_mon)]) \(parts.tm_year + 1900) "
      + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)) GMT"
  }
}
