// ONNXOperators: the table of the operators that are imported, of the default domain. The reference in docs/onnx.md is
// held against it by a test. The files beside this one have the translations.
import Compute

/// An operator of the subset: what it may be, and how its node becomes nodes of ours.
struct ONNXOperator: Sendable {
  let name: String
  /// What is supported of it, for the reference.
  let limits: String
  let translate: @Sendable (inout ONNXTranslation, ONNXSite) throws -> [ONNXOperand]

  init(
    _ name: String, _ limits: String = "",
    _ translate: @escaping @Sendable (inout ONNXTranslation, ONNXSite) throws -> [ONNXOperand]
  ) {
    self.name = name
    self.limits = limits
    self.translate = translate
  }

  /// The subset, by name.
  static let all: [ONNXOperator] =
    (elementwise + products + windows + shapes + arrangements + reductions + normalizations + recurrences).sorted {
      $0.name < $1.name
    }

  static let named = Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0) })
}
