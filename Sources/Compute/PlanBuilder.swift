// PlanBuilder: what Plan.init does, in order: gradient nodes, needed nodes, drafts, memory, calls.
import CKernels

struct PlanBuilder {
  private(set) var graph: Graph
  let kernels: Kernels
  let layout: ParameterLayout
  private(set) var inputs: [Plan.Port] = []
  private(set) var outputs: [Plan.Port] = []
  private(set) var arena = Arena()
  private(set) var flops = 0
  private(set) var blas: BLAS?
  private(set) var calls: [Step] = []
  private(set) var forwardCount = 0
  private(set) var constants: [(offset: Int, numbers: [Float])] = []
  private(set) var programs: [ck_program] = []

  private let parameterIds: [Int]
  private let gradientIds: [Int?]
  private let differentiates: Bool
  private var dataflow: Dataflow
  private var drafts: [Draft] = []
  /// What holds each root's value: an arena region, or memory of the caller's.
  private var storage: [Int: Storage] = [:]
  private var scratch: [Int: Int] = [:]  // region of a step's own
  private var copies: [Copy] = []

  private enum Storage {
    case region(Int)
    case place(Step.Place)
  }

  /// A value that must also be elsewhere after the last step that makes it; nil writes zeros.
  private struct Copy {
    let root: Int?
    let target: Storage
    let count: Int
    let what: String
  }

  init(_ source: Graph, loss: Value?, kernels: Kernels) throws {
    var graph = source
    let parameters = graph.parameters
    parameterIds = parameters.map(\.value.id)
    layout = ParameterLayout(parameters.map { ($0.name, $0.value.shape) })
    gradientIds = try loss.map { try graph.gradients(of: $0, for: parameters.map(\.value)).map { $0?.id } } ?? []
    differentiates = loss != nil
    self.graph = graph
    self.kernels = kernels

    let forward = Self.closure(of: graph.outputs.map(\.id), in: graph)
    let all = Self.closure(of: graph.outputs.map(\.id) + gradientIds.compactMap { $0 }, in: graph)
    let kept = graph.outputs.map(\.id) + gradientIds.compactMap { $0 }
    dataflow = Dataflow(graph, needed: all, kept: kept)
    drafts = dataflow.drafts(graph.nodes.indices.filter { forward[$0] })
    let forwardDrafts = drafts.count
    let before = Set(
      drafts.compactMap { if case .crossEntropy(_, let gradient) = $0 { gradient } else { nil } })
    drafts += dataflow.drafts(graph.nodes.indices.filter { all[$0] && !forward[$0] && !before.contains($0) })
    forwardCount = forwardDrafts
  }

  /// Which nodes the values of `ids` depend on, themselves included.
  private static func closure(of ids: [Int], in graph: Graph) -> [Bool] {
    var needed = [Bool](repeating: false, count: graph.nodes.count)
    for id in ids { needed[id] = true }
    for id in graph.nodes.indices.reversed() where needed[id] {
      for operand in graph.nodes[id].operands { needed[operand] = true }
    }
    return needed
  }

  mutating func build() throws {
    placeOutside()
    placeResults()
    placeOutputsAndGradients()
    try arena.place()
    try emit()
  }

  // MARK: Memory

  /// Inputs and constants have regions of their own for the whole run; parameters lie in the caller's buffer.
  private mutating func placeOutside() {
    for id in graph.nodes.indices {
      switch graph.nodes[id].op {
      case .input:
        let region = arena.add(count: graph.nodes[id].shape.count, first: -1, last: .max)
        storage[id] = .region(region)
      case .constant where !dataflow.consumers[id].isEmpty || dataflow.isKept(id):
        storage[id] = .region(arena.add(count: 1, first: -1, last: .max))
      case .numbers(let numbers) where !dataflow.consumers[id].isEmpty || dataflow.isKept(id):
        storage[id] = .region(arena.add(count: numbers.count, first: -1, last: .max))
      case .parameter(let name):
        storage[id] = .place(Step.Place(base: .parameters, offset: layout[name]!.offset))
      default: continue
      }
    }
  }

  /// The roots that a draft reads and writes.
  private func traffic(_ draft: Draft) -> (reads: [Int], writes: [Int]) {
    let roots = dataflow.roots
    switch draft {
    case .product(let node, let bias, _, let mask, let result):
      return (graph.nodes[node].operands.map { roots[$0] } + [bias, mask].compactMap { $0 }, [result])
    case .map(let program):
      let writes = program.results.map(\.root)
      return (program.lastReads.keys.map(\.root), writes)
    case .crossEntropy(let loss, let gradient):
      let reads = graph.nodes[(loss ?? gradient)!].operands.map { roots[$0] }
      return (reads, [loss, gradient].compactMap { $0 })
    case .single(let node):
      return (graph.nodes[node].operands.map { roots[$0] }, [node])
    }
  }

  /// Gives each written root a region for its life, or the place of the parameter gradient that it is.
  private mutating func placeResults() {
    var lastRead: [Int: Int] = [:]
    for (step, draft) in drafts.enumerated() { for root in traffic(draft).reads { lastRead[root] = step } }
    for output in graph.outputs { lastRead[dataflow.roots[output.id]] = .max }
    let end = drafts.count  // copies run here

    // A gradient that one parameter alone wants goes straight to its place, unless a run without gradients makes it.
    var direct: [Int: Step.Place] = [:]
    let outputRoots = Set(graph.outputs.map { dataflow.roots[$0.id] })
    for (index, gradient) in gradientIds.enumerated() {
      guard let root = gradient.map({ dataflow.roots[$0] }), !dataflow.isExternal(root) else { continue }
      if direct[root] == nil, !outputRoots.contains(root) {
        direct[root] = Step.Place(base: .gradients, offset: layout.tensors[index].offset)
      } else {
        lastRead[root] = max(lastRead[root] ?? 0, end)
      }
    }
    for (step, draft) in drafts.enumerated() {
      for root in traffic(draft).writes {
        if step < forwardCount { direct[root] = nil }
        if let place = direct[root] {
          storage[root] = .place(place)
          continue
        }
        let last = max(lastRead[root] ?? step, dataflow.isKept(root) ? end : step)
        if case .map(let program) = draft, let region = inherited(root, program, step, lastRead) {
          arena.extend(region, through: last)
          storage[root] = .region(region)
        } else {
          storage[root] = .region(arena.add(count: graph.nodes[root].shape.count, first: step, last: last))
        }
      }
      let node: Int
      switch draft {
      case .product(let product, _, _, _, _): node = product
      case .single(let single): node = single
      case .map, .crossEntropy: continue
      }
      if case .matmul(_, true) = graph.nodes[node].op, !usesBLAS(node) {
        let right = graph.nodes[node].operands[1]
        scratch[step] = arena.add(count: graph.nodes[right].shape.count, first: step, last: step)
      } else if case .kernel(let operation) = graph.nodes[node].op {
        let operands = graph.nodes[node].operands
        for operand in operands where storage[operand] == nil {
          guard case .workspace = graph.nodes[operand].op else { continue }
          let region = arena.add(count: graph.nodes[operand].shape.count, first: step, last: lastRead[operand] ?? step)
          storage[operand] = .region(region)
        }
        let shapes = operands.map { graph.nodes[$0].shape }
        let floats = operation.work(shapes, result: graph.nodes[node].shape, kernels: kernels).scratchFloats
        if floats > 0 { scratch[step] = arena.add(count: floats, first: step, last: step) }
      }
    }
  }

  /// The region of an operand that dies in this program and is not read after `root` is written: computed in place.
  private func inherited(_ root: Int, _ program: Program, _ step: Int, _ lastRead: [Int: Int]) -> Int? {
    let writer = program.results.first { $0.root == root }!.instruction
    for operand in program.operands {
      guard operand.spread == .full, operand.root != root, lastRead[operand.root] == step,
        let read = program.lastReads[operand], read <= writer,
        program.lastReads.keys.filter({ $0.root == operand.root }).count == 1,
        !dataflow.isExternal(operand.root), !dataflow.isKept(operand.root),
        case .region(let region)? = storage[operand.root], arena.regions[region].last == step
      else { continue }
      return region
    }
    return nil
  }

  private mutating func placeOutputsAndGradients() {
    for output in graph.outputs {
      let root = dataflow.roots[output.id]
      guard dataflow.isExternal(root) else { continue }
      let count = graph.nodes[root].shape.count
      let region = arena.add(count: count, first: -1, last: .max)
      copies.append(Copy(root: root, target: .region(region), count: count, what: "copy to output \(output.name)"))
    }
    for (index, gradient) in gradientIds.enumerated() {
      let tensor = layout.tensors[index]
      let place = Step.Place(base: .gradients, offset: tensor.offset)
      let root = gradient.map { dataflow.roots[$0] }
      if let root, case .place(place)? = storage[root].map({ $0 }), !dataflow.isExternal(root) { continue }
      copies.append(
        Copy(
          root: root, target: .place(place), count: tensor.count,
          what: root == nil ? "zero gradient of \(tensor.name)" : "copy to gradient of \(tensor.name)"))
    }
  }

  private func address(_ stored: Storage) -> Step.Place {
    switch stored {
    case .place(let place): place
    case .region(let region): Step.Place(base: .arena, offset: arena.regions[region].offset)
    }
  }

  private func address(root: Int) -> Step.Place {
    if case .input = graph.nodes[root].op { return Step.Place(base: .input(inputIndex[root]!), offset: 0) }
    return address(storage[root]!)
  }

  // MARK: Calls

  private var inputIndex: [Int: Int] = [:]

  private mutating func emit() throws {
    for id in graph.nodes.indices {
      if case .input(let name) = graph.nodes[id].op {
        inputIndex[id] = inputs.count
        inputs.append(port(name, id, address(storage[id]!).offset))
      } else if case .constant(let number) = graph.nodes[id].op, let stored = storage[id] {
        constants.append((address(stored).offset, [number]))
      } else if case .numbers(let numbers) = graph.nodes[id].op, let stored = storage[id] {
        constants.append((address(stored).offset, numbers))
      }
    }
    var outputCopies: [Step] = []
    var gradientCopies: [Step] = []
    for copy in copies {
      let target = address(copy.target)
      let step = Step(
        kernel: copy.root == nil ? kernels.table.pointee.zero : kernels.table.pointee.copy,
        places: [target, copy.root.map { address(root: $0) }], lengths: [copy.count], numbers: [], program: nil,
        description: copy.what)
      if target.base == .arena { outputCopies.append(step) } else { gradientCopies.append(step) }
    }
    for (index, draft) in drafts.enumerated() {
      if index == forwardCount { calls += outputCopies }
      let before = flops
      var call = try step(draft, index)
      call.flops = flops - before
      calls.append(call)
    }
    if forwardCount == drafts.count { calls += outputCopies }
    forwardCount += outputCopies.count
    calls += gradientCopies

    var copied = copies.filter { address($0.target).base == .arena }.makeIterator()
    for output in graph.outputs {
      let root = dataflow.roots[output.id]
      let place = dataflow.isExternal(root) ? address(copied.next()!.target) : address(root: root)
      outputs.append(port(output.name, output.id, place.offset))
    }
  }

  private func port(_ name: String, _ id: Int, _ offset: Int) -> Plan.Port {
    Plan.Port(name: name, shape: graph.nodes[id].shape, type: graph.nodes[id].type, offset: offset)
  }

  /// Adds a step's operations; throws where a run would take hours, which nothing could stop.
  private mutating func count(_ operations: Int) throws {
    guard operations <= Plan.flopsMax - flops else {
      throw ComputeError(
        op: "plan", expected: "at most \(Plan.flopsMax) operations a run; take smaller shapes or a smaller batch",
        got: "more")
    }
    flops += operations
  }

  private mutating func step(_ draft: Draft, _ index: Int) throws -> Step {
    let table = kernels.table.pointee
    switch draft {
    case .product(let node, let bias, let relu, let mask, let result):
      if case .kernel(let operation) = graph.nodes[node].op {
        return try kernelStep(operation, node, bias, relu, mask, result, index)
      }
      return try product(node, bias, relu, mask, result, index)
    case .map(let program):
      programs.append(program.code)
      try count(program.nodes.count * program.rows * program.columns)
      let names = program.nodes.map { graph.nodes[$0].op.name }.joined(separator: ", ")
      return Step(
        kernel: table.map, places: program.operands.map { address(root: $0.root) },
        lengths: [program.rows, program.columns], numbers: [], program: programs.count - 1,
        description: "map [\(program.rows), \(program.columns)] \(names)")
    case .crossEntropy(let loss, let gradient):
      return try crossEntropy(loss, gradient)
    case .single(let node):
      guard case .kernel(let operation) = graph.nodes[node].op else {
        preconditionFailure("\(graph.nodes[node].op.name) has a step of its own kind")
      }
      return try kernelStep(operation, node, index)
    }
  }

  private mutating func crossEntropy(_ loss: Int?, _ gradient: Int?) throws -> Step {
    let reader = graph.nodes[(loss ?? gradient)!]
    guard case .kernel(let operation) = reader.op else { preconditionFailure("not a cross-entropy") }
    let shapes = reader.operands.map { graph.nodes[$0].shape }
    let work = operation.work(shapes, result: reader.shape, kernels: kernels)
    let operands = loss == nil ? reader.operands.dropLast() : reader.operands[...]
    let upstream = gradient.flatMap { graph.nodes[$0].operands.last }
    let number = upstream.flatMap { dataflow.constant($0) }
    func address(_ id: Int) -> Step.Place { self.address(root: dataflow.roots[id]) }
    try count(work.flops)
    return Step(
      kernel: work.kernel,
      places: [loss.map(address), gradient.map(address), number == nil ? upstream.map(address) : nil]
        + operands.map(address),
      lengths: work.lengths, numbers: [number ?? 0], program: nil,
      description: "cross-entropy \(shapes[0])\(loss == nil ? "" : ", loss")\(gradient == nil ? "" : ", gradient")")
  }

  private mutating func kernelStep(_ operation: any KernelOperation, _ node: Int, _ index: Int) throws -> Step {
    let shape = graph.nodes[node].shape
    let operands = graph.nodes[node].operands
    let work = operation.work(operands.map { graph.nodes[$0].shape }, result: shape, kernels: kernels)
    try count(work.flops)
    return Step(
      kernel: work.kernel,
      places: [address(root: node)] + operands.map { address(root: dataflow.roots[$0]) }
        + (scratch[index].map { [address(.region($0))] } ?? []),
      lengths: work.lengths, numbers: work.numbers, program: nil, description: "\(operation.name) \(shape)")
  }

  /// A kernel with a product's epilogue.
  private mutating func kernelStep(
    _ operation: any KernelOperation, _ node: Int, _ bias: Int?, _ relu: Bool, _ mask: Int?, _ result: Int, _ index: Int
  ) throws -> Step {
    let operands = graph.nodes[node].operands
    let work = operation.work(
      operands.map { graph.nodes[$0].shape }, result: graph.nodes[node].shape, kernels: kernels)
    try count(work.flops)
    return Step(
      kernel: work.kernel,
      places: [
        address(root: result), address(root: dataflow.roots[operands[0]]), address(root: dataflow.roots[operands[1]]),
        bias.map { address(root: $0) }, mask.map { address(root: $0) }, scratch[index].map { address(.region($0)) },
      ], lengths: work.lengths + [relu ? 1 : 0], numbers: work.numbers, program: nil,
      description: "\(operation.name) \(graph.nodes[node].shape)" + ending(bias, relu, mask))
  }

  private func ending(_ bias: Int?, _ relu: Bool, _ mask: Int?) -> String {
    (bias == nil ? "" : " + bias") + (relu ? ", relu" : "") + (mask == nil ? "" : ", relu gradient")
  }

  /// M, N and K of a product node.
  private func sizes(_ node: Int) -> (m: Int, n: Int, k: Int) {
    guard case .matmul(let transposeLeft, _) = graph.nodes[node].op else { preconditionFailure("not a product") }
    let left = graph.nodes[graph.nodes[node].operands[0]].shape
    let shape = graph.nodes[node].shape
    return (shape.rows, shape.last, transposeLeft ? left.rows : left.last)
  }

  private func usesBLAS(_ node: Int) -> Bool {
    let (m, n, k) = sizes(node)
    return kernels.prefersBLAS(m: m, n: n, k: k)
  }

  private mutating func product(
    _ node: Int, _ bias: Int?, _ relu: Bool, _ mask: Int?, _ result: Int, _ index: Int
  ) throws -> Step {
    guard case .matmul(let transposeLeft, let transposeRight) = graph.nodes[node].op else {
      preconditionFailure("not a product")
    }
    let (m, n, k) = sizes(node)
    let large = usesBLAS(node)
    if large, blas == nil { blas = try BLAS.load(level: kernels.level) }
    let flags =
      (relu ? CK_RELU_RESULT : 0) | (transposeLeft ? CK_TRANSPOSE_A : 0) | (transposeRight ? CK_TRANSPOSE_B : 0)
    let operands = graph.nodes[node].operands.map { address(root: dataflow.roots[$0]) }
    try count(2 * m * n * k)
    return Step(
      kernel: large ? kernels.table.pointee.product_blas : kernels.table.pointee.product,
      places: [
        address(root: result), operands[0], operands[1], bias.map { address(root: $0) }, mask.map { address(root: $0) },
        scratch[index].map { address(.region($0)) },
      ], lengths: [m, n, k, Int(flags)], numbers: [], program: nil,
      description: "product [\(m), \(k)]\(transposeLeft ? "'" : "") x [\(k), \(n)]\(transposeRight ? "'" : "")"
        + ending(bias, relu, mask) + (large ? " (OpenBLAS)" : ""))
  }
}
