// A moment with microseconds, as PostgreSQL keeps it, and its RFC 3339 text.
import Foundation

/// A moment in UTC, in microseconds since 1970.
public struct Timestamp: Sendable, Hashable, Comparable {
  public var microseconds: Int64

  public init(microseconds: Int64) { self.microseconds = microseconds }

  public init(_ date: Date) { microseconds = Int64((date.timeIntervalSince1970 * 1e6).rounded()) }

  public static func < (a: Timestamp, b: Timestamp) -> Bool { a.microseconds < b.microseconds }

  /// This moment moved by `seconds`.
  public func adding(seconds: Double) -> Timestamp {
    Timestamp(microseconds: microseconds + Int64((seconds * 1e6).rounded()))
  }

  /// Seconds from `earlier` to this moment.
  public func seconds(since earlier: Timestamp) -> Double { Double(microseconds - earlier.microseconds) / 1e6 }

  /// `2026-01-31T12:00:00.123456Z`; whole seconds are written without a fraction.
  public var rfc3339: String {
    let seconds = Int64((Double(microseconds) / 1e6).rounded(.down))
    let fraction = microseconds - seconds * 1_000_000
    let days = Int64((Double(seconds) / 86_400).rounded(.down))
    let second = seconds - days * 86_400
    let (year, month, day) = Timestamp.civil(days: days)
    func pad(_ value: Int64, _ width: Int) -> String {
      let text = String(value)
      return String(repeating: "0", count: max(0, width - text.count)) + text
    }
    let head =
      "\(pad(year, 4))-\(pad(month, 2))-\(pad(day, 2))T\(pad(second / 3600, 2)):\(pad(second / 60 % 60, 2)):\(pad(second % 60, 2))"
    return fraction == 0 ? head + "Z" : head + "." + pad(fraction, 6) + "Z"
  }

  /// Reads an RFC 3339 time with `Z` or a numeric offset; nil for anything else.
  public init?(rfc3339 text: String) {
    let pattern = #/^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)$/#
    guard text.utf8.count <= 40, let match = text.wholeMatch(of: pattern)?.output else { return nil }
    let year = Int64(match.1)!, month = Int64(match.2)!, day = Int64(match.3)!
    let hour = Int64(match.4)!, minute = Int64(match.5)!, second = Int64(match.6)!
    guard (1...12).contains(month), hour < 24, minute < 60, second < 61 else { return nil }
    let days = Timestamp.days(year: year, month: month, day: day)
    guard day >= 1, Timestamp.civil(days: days) == (year, month, day) else { return nil }
    let fraction = match.7.map { Int64((Double("0" + $0)! * 1e6).rounded()) } ?? 0
    var offset: Int64 = 0
    if match.8.count == 6 {
      let hours = Int64(match.8.dropFirst().prefix(2))!, minutes = Int64(match.8.suffix(2))!
      guard hours < 24, minutes < 60 else { return nil }
      offset = (hours * 60 + minutes) * 60 * (match.8.hasPrefix("-") ? -1 : 1)
    }
    microseconds = (days * 86_400 + hour * 3600 + minute * 60 + second - offset) * 1_000_000 + fraction
  }

  // The proleptic Gregorian calendar by whole 400-year eras, which start on 1 March.
  private static func days(year: Int64, month: Int64, day: Int64) -> Int64 {
    let shifted = month <= 2 ? year - 1 : year
    let era = (shifted >= 0 ? shifted : shifted - 399) / 400
    let yearOfEra = shifted - era * 400
    let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
    return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
  }

  private static func civil(days: Int64) -> (year: Int64, month: Int64, day: Int64) {
    let shifted = days + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let index = (5 * dayOfYear + 2) / 153
    let month = index < 10 ? index + 3 : index - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * index + 2) / 5 + 1)
  }
}
