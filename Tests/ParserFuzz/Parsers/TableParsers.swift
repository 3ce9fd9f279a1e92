// Tables and texts: CSV and UTF-8 text.
import Contract
import Learning

extension FuzzedParser {
  static let csv = dataset(
    "csv", DatasetOptions(format: .csv),
    seeds: [
      Array("size,colour,level\n1,\"a,b\",x\n2,c,y\n3.5e1,\"q\"\"q\",x\n,c,y\r\n-4,?,x\n".utf8),
      Array("a,b\n1,2.5\n2,3.5\n3,1e-3\nnan,2\n".utf8),
    ], tokens: ["\"", "\"\"", ",", "\n", "\r\n", "nan", "NA", "0x10", "1e999", "é", ",,,,"])

  static let text: FuzzedParser = {
    var options = DatasetOptions(format: .text)
    options.tokens = .characters
    options.sequenceLength = 4
    return dataset(
      "text", options, seeds: [Array("größe und 🙂 noch mehr Text, damit es reicht\nzweite Zeile\n".utf8)],
      tokens: ["é", "🙂", "\u{FEFF}", "\u{10FFFF}", "\n"])
  }()
}
