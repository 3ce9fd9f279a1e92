// A libFuzzer entry for the head parser and the chunked decoder; the tests' oracle says what must never be accepted.
//
// It has libFuzzer's main, so it is no SwiftPM target. From the root of the repository:
//
//   mkdir -p .build/fuzz/corpus
//   clang -O1 -c Sources/CEpoll/cepoll.c -I Sources/CEpoll/include -o .build/fuzz/cepoll.o
//   swiftc -swift-version 6 -O -wmo -parse-as-library -module-name HTTP -sanitize=fuzzer -use-ld=lld -I Sources/CEpoll/include \
//     Sources/HTTP/*.swift Tests/HTTPTests/Support/FramingOracle.swift Tests/HTTPFuzz/FramingFuzz.swift \
//     .build/fuzz/cepoll.o -o .build/fuzz/framing
//   .build/fuzz/framing -dict=Tests/HTTPFuzz/http.dict -max_len=600 -max_total_time=60 .build/fuzz/corpus

/// The first byte chooses the parser and where the rest is cut in two; both readings must agree.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzFraming(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  guard count > 1 else { return 0 }
  let bytes = Array(UnsafeBufferPointer(start: data + 1, count: count - 1))
  let cut = Int(data[0] >> 1) * bytes.count / 128
  if data[0] & 1 == 0 {
    precondition(head(bytes, cuts: []) == head(bytes, cuts: [cut]), "the verdict depends on the split")
  } else {
    precondition(chunks(bytes, cuts: []) == chunks(bytes, cuts: [cut]), "the decoded data depend on the split")
  }
  return 0
}

private func head(_ bytes: [UInt8], cuts: [Int]) -> String {
  var parser = HeadParser(limits: HeadLimits())
  for end in cuts + [bytes.count] {
    switch bytes[..<end].withUnsafeBufferPointer({ parser.advance($0) }) {
    case .incomplete: continue
    case .fault(let fault): return "\(fault)"
    case .head(let raw, let consumed):
      do throws(ProtocolFault) {
        let head = try InterpretedHead(raw)
        let objection = FramingOracle.objection(to: bytes[..<consumed], framing: head.framing, target: head.target)
        precondition(objection == nil, objection ?? "")
        return "\(consumed) \(head.framing) \(head.keepsAlive)"
      } catch {
        return "\(error)"
      }
    }
  }
  return "incomplete"
}

private func chunks(_ bytes: [UInt8], cuts: [Int]) -> String {
  var decoder = ChunkedDecoder(limits: HeadLimits())
  var decoded: [UInt8] = []
  var start = 0
  for end in cuts + [bytes.count] {
    var used = 0
    var fault: ProtocolFault?
    bytes[start..<end].withUnsafeBufferPointer { piece in
      do throws(ProtocolFault) {
        used = try decoder.decode(piece) { part in
          decoded.append(contentsOf: part)
          return true
        }
      } catch { fault = error }
    }
    if let fault { return "\(fault)" }
    if decoder.isFinished {
      precondition(FramingOracle.chunkedData(bytes[..<(start + used)]) == decoded, "the body has another reading")
      return "\(start + used) \(decoded)"
    }
    start = end
  }
  return "incomplete \(decoded)"
}
