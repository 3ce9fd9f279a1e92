// Arrays: IDX, and NumPy's NPY and NPZ.
import Contract
import Learning

extension FuzzedParser {
  static let idx = dataset(
    "idx", DatasetOptions(format: .idx),
    seeds: [
      idxFile(8, [6, 2, 3], (0..<36).map { UInt8($0 * 7) }) + idxFile(8, [6], [0, 1, 2, 2, 1, 0]),
      idxFile(13, [3, 1], [0, 0, 0x80, 0x3F, 0, 0, 0, 0x40, 0, 0, 0, 0]) + idxFile(9, [3], [0, 1, 0]),
    ])

  private static let pair =
    npyFile("<f4", "(6, 2)", [UInt8](repeating: 0x3F, count: 48))
    + npyFile("|u1", "(6,)", [0, 1, 2, 0, 1, 2])
  private static let words = [
    "'descr'", "'fortran_order'", "'shape'", "True", "(", ")", "[", ",", "'<f8'", "'>i8'", "'|O'", "'<f2'", "|b1",
    "99999999999999999", "{", "}",
  ]

  static let npy = dataset(
    "npy", DatasetOptions(format: .npy),
    seeds: [
      pair, pair + pair,
      npyFile(">i2", "(4, 1)", [UInt8](0..<8)) + npyFile("<f8", "(4,)", [UInt8](repeating: 0, count: 32)),
    ],
    tokens: words)

  static let npz = dataset(
    "npz", DatasetOptions(format: .npz),
    seeds: [
      zipFile([
        ("x.npy", npyFile("<f4", "(6, 2)", [UInt8](repeating: 0x3F, count: 48))),
        ("y.npy", npyFile("|u1", "(6,)", [0, 1, 2, 0, 1, 2])),
      ])
    ], tokens: words + ["x.npy", "y.npy", "x_test.npy", "PK\u{1}\u{2}", "PK\u{3}\u{4}", "PK\u{5}\u{6}"], mend: mendZip)

  private static func idxFile(_ type: UInt8, _ sizes: [Int], _ payload: [UInt8]) -> [UInt8] {
    [0, 0, type, UInt8(sizes.count)] + sizes.flatMap { [0, 0, 0, UInt8($0)] } + payload
  }

  private static func npyFile(_ type: String, _ shape: String, _ payload: [UInt8]) -> [UInt8] {
    let text = "{'descr': '\(type)', 'fortran_order': False, 'shape': \(shape), }\n"
    return [0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(text.utf8.count), 0] + Array(text.utf8) + payload
  }
}
