// Fusion: which nodes become one step. A product or convolution takes a bias, relu or relu's gradient into its epilogue;
// runs of elementwise nodes become one program; a cross-entropy is computed together with its gradient. Plan stores and emits
// the steps.
import CKernels

/// One kernel's work before memory is assigned: the nodes it computes.
enum Draft {
  /// A product or convolution with what was fused into its end. `result` is the last node of the chain.
  case product(node: Int, bias: Int?, relu: Bool, mask: Int?, result: Int)
  /// Elementwise nodes as one program.
  case map(Program)
  /// A cross-entropy, its gradient or both.
  case crossEntropy(loss: Int?, gradient: Int?)
  /// Any other single node.
  case single(Int)
}

/// An elementwise program under construction, and the values its operand slots stand for.
struct Program {
  /// A value and how it is spread; results are full.
  struct Operand: Hashable {
    let root: Int
    let spread: Spread
  }

  /// The nodes in order of execution, and their last.
  private(set) var nodes: [Int]
  private(set) var operands: [Operand] = []
  /// The roots that the program writes to memory, with the instruction that does.
  private(set) var results: [(root: Int, instruction: Int)] = []
  /// The last instruction that reads each operand.
  private(set) var lastReads: [Operand: Int] = [:]
  let rows: Int
  let columns: Int
  private(set) var code = ck_program()

  /// How many block-sized temporaries the kernel has.
  private static let temporaries = 8

  /// A program of these nodes, or nil where they do not fit one: other counts, broadcasts along different rows, or too
  /// many operands, instructions or temporaries.
  init?(_ nodes: [Int], _ dataflow: Dataflow) {
    let count = dataflow.graph.nodes[nodes[0]].shape.count
    var period: Int?
    for node in nodes {
      guard dataflow.graph.nodes[node].shape.count == count else { return nil }
      for operand in dataflow.graph.nodes[node].operands {
        guard let own = dataflow.spread(of: operand, in: node).period(in: count) else { continue }
        if let period, period != own { return nil }
        period = own
      }
    }
    guard nodes.count <= Int(CK_INSTRUCTIONS) else { return nil }
    self.nodes = nodes
    columns = period ?? count
    rows = count / columns
    guard assignSlots(dataflow) else { return nil }
  }

  private mutating func assignSlots(_ dataflow: Dataflow) -> Bool {
    let inside = Set(nodes)
    var slot: [Int: Int32] = [:]  // of roots computed here
    // Results first: results and operands share the call's slots.
    for (index, node) in nodes.enumerated() {
      let escapes = dataflow.isKept(node) || dataflow.consumers[node].contains { !inside.contains($0) }
      guard escapes else { continue }
      slot[node] = Int32(operands.count)
      operands.append(Operand(root: node, spread: .full))
      results.append((node, index))
    }
    var lastUse: [Int: Int] = [:]
    for (index, node) in nodes.enumerated() {
      for operand in dataflow.graph.nodes[node].operands { lastUse[dataflow.roots[operand]] = index }
    }
    var free = (0..<Self.temporaries).map { Int32(CK_OPERANDS) + Int32($0) }
    var instructions: [ck_instruction] = []
    for (index, node) in nodes.enumerated() {
      guard case .elementwise(let operation) = dataflow.graph.nodes[node].op else { return false }
      var sources: [Int32] = []
      for operand in dataflow.graph.nodes[node].operands {
        let root = dataflow.roots[operand]
        if let own = slot[root], inside.contains(root) {
          sources.append(own)
          continue
        }
        let wanted = Operand(root: root, spread: dataflow.spread(of: operand, in: node))
        if let known = operands.firstIndex(of: wanted) {
          sources.append(Int32(known))
        } else {
          sources.append(Int32(operands.count))
          operands.append(wanted)
        }
        lastReads[wanted] = index
      }
      if slot[node] == nil {
        guard let temporary = free.popLast() else { return false }
        slot[node] = temporary
      }
      for operand in Set(dataflow.graph.nodes[node].operands.map { dataflow.roots[$0] }) {
        if inside.contains(operand), lastUse[operand] == index, let own = slot[operand], own >= CK_OPERANDS {
          free.append(own)
        }
      }
      let (a, b) = operation.constants
      instructions.append(
        ck_instruction(
          operation: operation.code, result: slot[node]!, left: sources[0], right: sources.last!, a: a, b: b))
    }
    guard operands.count <= Int(CK_OPERANDS) else { return false }
    code.instructions = Int32(instructions.count)
    code.operands = Int32(operands.count)
    withUnsafeMutableBytes(of: &code.instruction) { $0.copyMemory(from: instructions, as: ck_instruction.self) }
    let spreads = operands.map { operand -> Int32 in
      switch operand.spread {
      case .full: Int32(bitPattern: CK_FULL.rawValue)
      case .scalar: Int32(bitPattern: CK_SCALAR_OPERAND.rawValue)
      case .row: Int32(bitPattern: CK_ROW.rawValue)
      case .column: Int32(bitPattern: CK_COLUMN.rawValue)
      }
    }
    withUnsafeMutableBytes(of: &code.spread) { $0.copyMemory(from: spreads, as: Int32.self) }
    return true
  }
}

extension UnsafeMutableRawBufferPointer {
  /// Copies an array of trivial elements to the start.
  fileprivate func copyMemory<T>(from array: [T], as type: T.Type) {
    array.withUnsafeBytes { copyMemory(from: UnsafeRawBufferPointer($0)) }
  }
}

/// Who uses what in the part of a graph that a plan runs.
struct Dataflow {
  let graph: Graph
  /// The node whose memory holds a node's value: itself but for reshapes.
  let roots: [Int]
  /// The needed nodes that read each root, reshapes aside; once for each operand.
  let consumers: [[Int]]
  /// Roots that something outside of the graph reads after the run.
  private let kept: Set<Int>

  init(_ graph: Graph, needed: [Bool], kept: [Int]) {
    var roots = Array(graph.nodes.indices)
    var consumers = [[Int]](repeating: [], count: roots.count)
    for id in graph.nodes.indices {
      if case .reshape = graph.nodes[id].op {
        roots[id] = roots[graph.nodes[id].operands[0]]
      } else if needed[id] {
        for operand in graph.nodes[id].operands { consumers[roots[operand]].append(id) }
      }
    }
    self.graph = graph
    self.roots = roots
    self.consumers = consumers
    self.kept = Set(kept.map { roots[$0] })
  }

  /// Whether a root's value must be in memory after the run.
  func isKept(_ root: Int) -> Bool { kept.contains(root) }

  /// Whether a root's memory is filled from outside of the run.
  func isExternal(_ root: Int) -> Bool {
    switch graph.nodes[root].op {
    case .input, .parameter, .constant, .numbers, .workspace: true
    default: false
    }
  }

  /// How an operand is spread over an elementwise node.
  func spread(of operand: Int, in node: Int) -> Spread {
    guard let spread = Spread(of: graph.nodes[operand].shape, over: graph.nodes[node].shape) else {
      preconditionFailure("\(graph.nodes[operand].shape) was let into a node of shape \(graph.nodes[node].shape)")
    }
    return spread
  }

  /// The steps of these nodes, given in an order of data flow.
  func drafts(_ nodes: [Int]) -> [Draft] {
    var drafts: [Draft] = []
    var taken = Set<Int>()
    var products: [Int: Draft] = [:]  // by the last node of their chain
    for node in nodes {
      if takesEpilogue(node), let (chain, draft) = productChain(node) {
        taken.formUnion(chain)
        products[chain.last!] = draft
      }
    }
    // Elementwise nodes wait until a step reads one of them, so that what lies between does not part them.
    var run: [Int] = []
    func flush() {
      drafts += programs(run).map { .map($0) }
      run = []
    }
    func flush(before reads: [Int]) {
      if reads.contains(where: { run.contains(roots[$0]) }) { flush() }
    }
    for node in nodes {
      if let product = products[node] {
        if case .product(let first, let bias, _, let mask, _) = product {
          flush(before: graph.nodes[first].operands + [bias, mask].compactMap { $0 })
        }
        drafts.append(product)
        continue
      }
      if taken.contains(node) { continue }
      switch graph.nodes[node].op {
      case .elementwise:
        run.append(node)
      case .input, .parameter, .constant, .numbers, .reshape, .workspace:
        continue
      case .kernel(let operation) where operation is CrossEntropy:
        flush(before: graph.nodes[node].operands)
        let partner = gradientPartner(of: node)
        if let partner { taken.insert(partner) }
        drafts.append(.crossEntropy(loss: node, gradient: partner))
      case .kernel(let operation) where operation is CrossEntropyBackward:
        flush(before: graph.nodes[node].operands)
        drafts.append(.crossEntropy(loss: nil, gradient: node))
      default:
        flush(before: graph.nodes[node].operands)
        drafts.append(.single(node))
      }
    }
    flush()
    return drafts
  }

  /// Elementwise nodes, given in an order of data flow, as few programs: each node joins the first that it fits of those
  /// from its operands' on.
  private func programs(_ nodes: [Int]) -> [Program] {
    var programs: [Program] = []
    var index: [Int: Int] = [:]  // of the program that computes a node
    for node in nodes {
      let earliest = graph.nodes[node].operands.compactMap { index[roots[$0]] }.max() ?? 0
      var place = earliest
      while place < programs.count {
        if let longer = Program(programs[place].nodes + [node], self) {
          programs[place] = longer
          break
        }
        place += 1
      }
      if place == programs.count {
        guard let program = Program([node], self) else {
          preconditionFailure("\(graph.nodes[node].op.name) does not fit a program of its own")
        }
        programs.append(program)
      }
      index[node] = place
    }
    return programs
  }

  private func takesEpilogue(_ node: Int) -> Bool {
    switch graph.nodes[node].op {
    case .matmul: true
    case .kernel(let operation): operation.takesEpilogue
    default: false
    }
  }

  /// The chain product [-> + bias] [-> relu], or product -> relu's gradient, whose middle values nobody else reads.
  private func productChain(_ node: Int) -> (chain: [Int], draft: Draft)? {
    let columns = graph.nodes[node].shape.last
    var chain = [node]
    var bias: Int?
    var relu = false
    func next() -> (id: Int, operation: Elementwise, operands: [Int])? {
      let last = chain.last!
      guard !isKept(last), consumers[last].count == 1, let id = consumers[last].first,
        graph.nodes[id].shape.count == graph.nodes[node].shape.count,
        case .elementwise(let operation) = graph.nodes[id].op
      else { return nil }
      return (id, operation, graph.nodes[id].operands)
    }
    if let (id, operation, operands) = next() {
      if operation == .add,
        let other = operands.first(where: { roots[$0] != node }), spread(of: other, in: id) == .row(columns: columns)
      {
        bias = roots[other]
        chain.append(id)
      } else if operation == .reluBackward, roots[operands[0]] == node, spread(of: operands[1], in: id) == .full {
        return ([node, id], .product(node: node, bias: nil, relu: false, mask: roots[operands[1]], result: id))
      }
    }
    if let (id, operation, _) = next(), operation == .relu {
      relu = true
      chain.append(id)
    }
    return (chain, .product(node: node, bias: bias, relu: relu, mask: nil, result: chain.last!))
  }

  /// The gradient node of a cross-entropy that can be computed with it: the same operands and a constant upstream.
  private func gradientPartner(of loss: Int) -> Int? {
    let operands = graph.nodes[loss].operands.map { roots[$0] }
    return consumers[operands[0]].first { id in
      guard case .kernel(let operation) = graph.nodes[id].op, operation is CrossEntropyBackward else { return false }
      let own = graph.nodes[id].operands
      return own.dropLast().map { roots[$0] } == operands && constant(own.last!) != nil
    }
  }

  /// The number that a value is, where it is a constant.
  func constant(_ id: Int) -> Float? {
    if case .constant(let number) = graph.nodes[roots[id]].op { number } else { nil }
  }
}
