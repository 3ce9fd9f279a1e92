// OptimizerKernels+Rules: the C kernels of the hand-designed rules, and the names of their passes. RulePass sends
// tensors through them.
import CKernels
import Compute

/// The constants of one update of a rule; what each means stands in the rule's formula in CKernels/optimizer_rules_*.
typealias RuleConstants = ck_rule

/// An elementwise pass.
typealias RuleKind = ck_rule_kind

/// A pass over one tensor that makes two sums.
typealias MeasureKind = ck_measure_kind

extension RuleKind {
  static var descend: RuleKind { CK_RULE_DESCEND }
  static var momentum: RuleKind { CK_RULE_MOMENTUM }
  static var sign: RuleKind { CK_RULE_SIGN }
  static var lion: RuleKind { CK_RULE_LION }
  static var adagrad: RuleKind { CK_RULE_ADAGRAD }
  static var adadelta: RuleKind { CK_RULE_ADADELTA }
  static var rmsprop: RuleKind { CK_RULE_RMSPROP }
  static var rmspropMomentum: RuleKind { CK_RULE_RMSPROP_MOMENTUM }
  static var rmspropCentered: RuleKind { CK_RULE_RMSPROP_CENTERED }
  static var rmspropCenteredMomentum: RuleKind { CK_RULE_RMSPROP_CENTERED_MOMENTUM }
  static var adam: RuleKind { CK_RULE_ADAM }
  static var moments: RuleKind { CK_RULE_MOMENTS }
  static var amsgrad: RuleKind { CK_RULE_AMSGRAD }
  static var adabelief: RuleKind { CK_RULE_ADABELIEF }
  static var yogi: RuleKind { CK_RULE_YOGI }
  static var adamax: RuleKind { CK_RULE_ADAMAX }
  static var adan: RuleKind { CK_RULE_ADAN }
  static var ademamix: RuleKind { CK_RULE_ADEMAMIX }
  static var scheduleFree: RuleKind { CK_RULE_SCHEDULE_FREE }
  static var alongMoments: RuleKind { CK_RULE_ALONG_MOMENTS }
}

extension MeasureKind {
  static var norms: MeasureKind { CK_MEASURE_NORMS }
  static var lamb: MeasureKind { CK_MEASURE_LAMB }
  static var adafactor: MeasureKind { CK_MEASURE_ADAFACTOR }
  static var prodigy: MeasureKind { CK_MEASURE_PRODIGY }
  static var dadapt: MeasureKind { CK_MEASURE_DADAPT }
}

extension OptimizerKernels {
  private var rules: UnsafePointer<ck_rules> { table.pointee.rules }

  /// A pass over `count` floats, a multiple of 16; slots are `stride` floats apart.
  func run(
    _ kind: RuleKind, _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>, _ state: UnsafeMutablePointer<Float>,
    stride: Int, count: Int, _ constants: RuleConstants
  ) {
    withUnsafePointer(to: constants) { constants in
      flushingDenormals { ck_rules_run(rules, kind, p, g, state, Int64(stride), Int64(count), constants) }
    }
  }

  /// A measure of `count` elements; adds to the sums.
  func measure(
    _ kind: MeasureKind, _ p: UnsafeMutablePointer<Float>, _ g: UnsafeMutablePointer<Float>,
    _ state: UnsafeMutablePointer<Float>, stride: Int, count: Int, _ constants: RuleConstants,
    _ sums: inout TensorSums
  ) {
    withUnsafePointer(to: constants) { constants in
      withUnsafeMutablePointer(to: &sums.values) { sums in
        flushingDenormals {
          ck_rules_measure(
            rules, kind, p, g, state, Int64(stride), Int64(count), constants,
            UnsafeMutableRawPointer(sums).assumingMemoryBound(to: Double.self))
        }
      }
    }
  }

  /// Adafactor's measure of a factored tensor.
  func adafactor(
    _ tensor: FactoredTensor, _ p: UnsafePointer<Float>, _ g: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, _ constants: RuleConstants
  ) -> TensorSums {
    var sums = TensorSums()
    withUnsafePointer(to: tensor.tensor) { tensor in
      withUnsafePointer(to: constants) { constants in
        withUnsafeMutablePointer(to: &sums.values) { sums in
          flushingDenormals {
            rules.pointee.adafactor_factored(
              tensor, p, g, state, scratch, constants,
              UnsafeMutableRawPointer(sums).assumingMemoryBound(to: Double.self))
          }
        }
      }
    }
    return sums
  }

  /// SM3's update of one tensor.
  func sm3(
    _ tensor: CoveredTensor, _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, _ constants: RuleConstants
  ) {
    withUnsafePointer(to: tensor.tensor) { tensor in
      withUnsafePointer(to: constants) { constants in
        flushingDenormals { rules.pointee.sm3(tensor, p, g, state, scratch, constants) }
      }
    }
  }

  /// Schedule-Free's average of `count` floats, a multiple of 16.
  func average(
    _ out: UnsafeMutablePointer<Float>, _ y: UnsafePointer<Float>, _ z: UnsafePointer<Float>, count: Int,
    _ constants: RuleConstants
  ) {
    withUnsafePointer(to: constants) { constants in
      flushingDenormals { rules.pointee.average(out, y, z, Int64(count), constants) }
    }
  }
}

/// What a measure sums over a tensor, or over all.
struct TensorSums {
  fileprivate var values: (Double, Double) = (0, 0)
  var first: Double { values.0 }
  var second: Double { values.1 }
}

/// A tensor with factored second moments, as Adafactor's kernel sees it.
struct FactoredTensor: Sendable {
  fileprivate let tensor: ck_adafac_tensor
  let scratchFloats: Int

  /// - Parameters:
  ///   - row: where the statistic without the largest axis lies in the state.
  ///   - column: where that without the second largest lies.
  init(_ view: AdafactorSlots.View, row: Int, column: Int) {
    var tensor = ck_adafac_tensor()
    (tensor.outer, tensor.a, tensor.middle) = (Int64(view.outer), Int64(view.a), Int64(view.middle))
    (tensor.b, tensor.inner) = (Int64(view.b), Int64(view.inner))
    tensor.factored = true
    tensor.row_is_line = view.rowIsLine
    (tensor.line, tensor.lane) =
      view.rowIsLine ? (Int64(row), Int64(column)) : (Int64(column), Int64(row))
    scratchFloats = withUnsafePointer(to: tensor) { Int(ck_adafactor_scratch($0)) }
    self.tensor = tensor
  }
}

/// A tensor with one accumulator for each index of each axis, as SM3's kernel sees it.
struct CoveredTensor: Sendable {
  fileprivate let tensor: ck_sm3_tensor
  let scratchFloats: Int
  static let rankMax = Int(CK_SM3_RANK_MAX)

  /// - Parameters:
  ///   - axes: length of each axis and the place of its accumulator in the state; the last one longer than 1 must be
  ///     contiguous in memory, those before it in memory order.
  init(axes: [(length: Int, accumulator: Int)], momentum: Int) {
    precondition(!axes.isEmpty && axes.count <= Self.rankMax, "CoveredTensor: \(axes.count) axes")
    var tensor = ck_sm3_tensor()
    tensor.rank = Int32(axes.count)
    tensor.momentum = Int64(momentum)
    withUnsafeMutableBytes(of: &tensor.size) { bytes in
      for (index, axis) in axes.enumerated() { bytes.bindMemory(to: Int64.self)[index] = Int64(axis.length) }
    }
    withUnsafeMutableBytes(of: &tensor.accumulator) { bytes in
      for (index, axis) in axes.enumerated() { bytes.bindMemory(to: Int64.self)[index] = Int64(axis.accumulator) }
    }
    scratchFloats = axes.reduce(0) { $0 + $1.length } + ParameterLayout.alignment
    self.tensor = tensor
  }
}
