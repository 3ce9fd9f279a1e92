// Random numbers by counter: Philox4x32-10 (Salmon et al. 2011). Any number of any run can be computed alone,
// from a key and an index. RandomKey.swift derives keys and shapes the words into uniforms and normals.

/// The Philox4x32-10 block function.
public enum Philox {
  public typealias Block = (UInt32, UInt32, UInt32, UInt32)

  /// Four random words for a 128-bit counter under a 64-bit key.
  @inlinable
  public static func block(counter: Block, key: (UInt32, UInt32)) -> Block {
    var (x0, x1, x2, x3) = counter
    var (k0, k1) = key
    for _ in 0..<10 {
      let p = UInt64(0xD251_1F53) &* UInt64(x0)
      let q = UInt64(0xCD9E_8D57) &* UInt64(x2)
      (x0, x1, x2, x3) = (
        UInt32(truncatingIfNeeded: q >> 32) ^ x1 ^ k0, UInt32(truncatingIfNeeded: q),
        UInt32(truncatingIfNeeded: p >> 32) ^ x3 ^ k1, UInt32(truncatingIfNeeded: p)
      )
      k0 &+= 0x9E37_79B9
      k1 &+= 0xBB67_AE85
    }
    return (x0, x1, x2, x3)
  }
}
