// The description of the API against the router, in both directions, and its examples against what reads and writes
// the real values.
import Contract
import Foundation
import HTTP
import Store
import TestSupport
import Testing

@testable import Server

@Suite struct DescriptionTests {
  let api = APIDescription.shared
  let routes: [Route<Access, APIKey?>]

  init() throws { routes = try ServerUnderTest().app.router.routes }

  @Test func `every operation has a route and every route an operation`() {
    let described = Set(api.operations.map { "\($0.method) \($0.path)" })
    let routed = Set(routes.map { "\($0.method.rawValue) \($0.pattern)" })
    #expect(described.subtracting(routed).isEmpty, "described but not routed")
    #expect(routed.subtracting(described).isEmpty, "routed but not described")
    #expect(described.count == routes.count)
  }

  @Test func `routes take the bodies and demand the scopes that are described`() throws {
    for route in routes {
      let operation = try #require(api.operation(route.method.rawValue, route.pattern))
      #expect(Set(operation.requestTypes).isSubset(of: route.acceptedContentTypes), "\(operation)")
      // Generators make one method of each media type; those that are taken for another stand in the text.
      for type in Set(route.acceptedContentTypes).subtracting(operation.requestTypes) {
        #expect(operation.json["description"]?.string?.contains("`\(type)`") == true, "\(operation) \(type)")
      }
      #expect((route.bodyBytesMax > 0) == (operation.json["requestBody"] != nil), "\(operation)")
      switch route.policy.rule {
      case .open: #expect(operation.isOpen, "\(operation)")
      case .anyKey:
        #expect(!operation.isOpen, "\(operation)")
        #expect(operation.scope == nil, "\(operation)")
      case .scope(let scope): #expect(operation.scope == scope.rawValue, "\(operation)")
      }
    }
    #expect(
      Set(api.operations.filter(\.isOpen).map(\.path))
        == ["/", "/assets/{name}", "/livez", "/readyz", "/openapi.yaml", "/openapi.json"])
  }

  @Test func `path parameters are those of the path`() {
    for operation in api.operations {
      let names = operation.path.split(separator: "/").filter { $0.hasPrefix("{") }.map { $0.dropFirst().dropLast() }
      #expect(operation.names(in: "path").sorted() == names.map(String.init).sorted(), "\(operation)")
    }
  }

  @Test func `every operation has an id of its own, a tag that exists, a summary, and its errors`() {
    let ids = api.operations.map(\.id)
    #expect(Set(ids).count == ids.count)
    let tags = Set((api.root["tags"]?.array ?? []).compactMap { $0["name"]?.string })
    for operation in api.operations {
      #expect(!operation.id.isEmpty && operation.json["summary"]?.string?.isEmpty == false, "\(operation)")
      let own = Set((operation.json["tags"]?.array ?? []).compactMap(\.string))
      #expect(own.count == 1 && own.isSubset(of: tags), "\(operation)")
      var expected: Set<String> = ["400", "500", "503"]
      if !operation.isOpen { expected.formUnion(["401", "422"]) }
      if operation.scope != nil { expected.insert("403") }
      if operation.names(in: "path").count > 0 { expected.insert("404") }
      if operation.json["requestBody"] != nil { expected.formUnion(["413", "415"]) }
      if operation.names(in: "header").contains("Idempotency-Key") { expected.insert("409") }
      let described = Set(members(operation.json["responses"]).map(\.0))
      #expect(expected.subtracting(described).isEmpty, "\(operation) lacks \(expected.subtracting(described))")
      for status in described where status >= "400" {
        let content = api.response(operation, Int(status)!)?["content"]
        #expect(content?["application/problem+json"] != nil, "\(operation) \(status)")
      }
    }
  }

  @Test func `every reference leads somewhere, and links to operations that take their parameters`() {
    func walk(_ json: JSON, _ path: String) {
      if json["$ref"]?.string != nil { #expect(api.resolve(json) != .null, "\(path)") }
      if let target = json["operationId"]?.string, path.contains("/links/") {
        let taken = api.operations.first { $0.id == target }?.names(in: "path") ?? ["no such operation"]
        #expect(members(json["parameters"]).map(\.0) == taken, "\(path)")
      }
      for (name, value) in members(json) { walk(value, "\(path)/\(name)") }
      for (index, value) in (json.array ?? []).enumerated() { walk(value, "\(path)/\(index)") }
    }
    walk(api.root, "")
  }

  @Test func `every body, in and out, has examples, and they fit their schemas`() {
    var checked = 0
    for operation in api.operations {
      let inward = operation.json["requestBody"]?["content"].map { [("request", $0)] } ?? []
      let outward = members(operation.json["responses"]).compactMap { status, response in
        api.resolve(response)["content"].map { (status, $0) }
      }
      for (place, content) in inward + outward {
        for (type, media) in members(content) {
          let examples = members(media["examples"])
          #expect(!examples.isEmpty, "\(operation) \(place) \(type)")
          for (name, example) in examples {
            guard let value = api.resolve(example)["value"], let schema = media["schema"] else {
              Issue.record("\(operation) \(place) \(name) has no value or no schema")
              continue
            }
            let faults = api.faults(value, schema)
            #expect(faults.isEmpty, "\(operation) \(place) \(name)")
            checked += 1
          }
        }
      }
    }
    #expect(checked > 200)
  }

  @Test func `every parameter has an example that fits its schema`() {
    for operation in api.operations {
      for parameter in operation.parameters {
        guard let example = parameter["example"], let schema = parameter["schema"] else {
          Issue.record("\(operation) \(parameter["name"]?.string ?? "")")
          continue
        }
        #expect(api.faults(example, schema).isEmpty, "\(operation) \(parameter["name"]?.string ?? "")")
      }
    }
  }

  @Test func `request examples are read by the program without a fault`() throws {
    let readers: [String: (JSON) throws -> Void] = [
      "createKey": { _ = try APIKey.Request.decode($0) },
      "createProject": { _ = try Project.Request.decode($0) },
      "changeProject": { _ = try Project.change($0, of: ProjectQuotas()) },
      "rotateKey": { _ = try APIKey.Rotation.decode($0) },
      "createModel": { _ = try ModelDefinition.decodeRequest($0) },
      "checkModel": { _ = try ModelCheck.decode($0) },
      "createJob": { _ = try TrainingSpec.decode($0) },
      "changeJob": { _ = try JobChange.decode($0) },
      "extendJob": { _ = try JobExtension.decode($0) },
      "createCampaign": { _ = try CampaignSpec.decode($0) },
      "planCampaign": { _ = try CampaignSpec.decode($0) },
      "changeCampaign": { _ = try CampaignChange.decode($0) },
      "branchCampaign": { _ = try CampaignBranch.decode($0) },
      "rollbackCampaign": { _ = try CampaignBranch.decode($0) },
      "createEvaluation": { _ = try EvaluationSpec.decode($0) },
      "evaluateCampaign": { json in
        let id = Identifier.make(.campaign)
        _ = try CampaignEvaluationRequest.decode(json).spec(of: ThetaReference(campaign: id, version: 1))
      },
      "promoteCampaignTheta": { _ = try CampaignResultRoutes.Promotion.decode($0) },
    ]
    var read: Set<String> = []
    for operation in api.operations {
      for (name, example) in members(operation.json["requestBody"]?["content"]?["application/json"]?["examples"]) {
        let reader = try #require(readers[operation.id], "no reader for \(operation)")
        #expect(throws: Never.self, "\(operation) \(name)") { try reader(example["value"] ?? .null) }
        read.insert(operation.id)
      }
    }
    #expect(read == Set(readers.keys))
  }

  @Test func `closed lists are those of the program`() {
    func words(_ schema: String) -> [String] {
      api.root["components"]?["schemas"]?[schema]?["enum"]?.array?.compactMap(\.string) ?? []
    }
    #expect(words("Scope") == Scope.allCases.map(\.rawValue))
    #expect(words("JobState") == JobState.allCases.map(\.rawValue))
    #expect(words("CampaignState") == CampaignState.allCases.map(\.rawValue))
    #expect(words("EvaluationState") == EvaluationState.allCases.map(\.rawValue))
    #expect(words("EvaluationReportFormat") == EvaluationReportFormat.allCases.map(\.rawValue))
    #expect(words("CampaignMode") == CampaignSpec.Mode.allCases.map(\.rawValue))
    func words(_ schema: String, _ member: String) -> [String] {
      api.root["components"]?["schemas"]?[schema]?["properties"]?[member]?["enum"]?.array?.compactMap(\.string) ?? []
    }
    #expect(words("CampaignEstimator", "kind") == EstimatorSpec.Kind.allCases.map(\.rawValue))
    #expect(words("CampaignEstimator", "meta_loss") == EstimatorSpec.MetaLoss.allCases.map(\.rawValue))
    #expect(words("CampaignEstimator", "stagger") == EstimatorSpec.Stagger.allCases.map(\.rawValue))
    #expect(words("CampaignEstimator", "non_finite") == EstimatorSpec.NonFinite.allCases.map(\.rawValue))
    #expect(
      words("CampaignEstimator", "task_normalisation") == EstimatorSpec.TaskNormalisation.allCases.map(\.rawValue))
    #expect(words("CampaignLengths", "kind") == LengthSchedule.Kind.allCases.map(\.rawValue))
    #expect(words("CampaignPhaseRecord", "state") == CampaignPhaseRecord.State.allCases.map(\.rawValue))
    #expect(words("CampaignEvent", "type") == CampaignEvent.Kind.allCases.map(\.rawValue))
    #expect(words("JobEvent", "type") == JobEvent.Kind.allCases.map(\.rawValue))
    #expect(words("Checkpoint", "kind") == Checkpoint.Kind.allCases.map(\.rawValue))
    #expect(words("DatasetState") == DatasetState.allCases.map(\.rawValue))
    #expect(words("DatasetFormat") == DatasetFormat.allCases.map(\.rawValue))
    #expect(words("DatasetTask") == DatasetOptions.Task.allCases.map(\.rawValue))
    #expect(words("DatasetTokens") == DatasetOptions.Tokens.allCases.map(\.rawValue))
    #expect(words("DatasetDelimiter") == DatasetOptions.Delimiter.allCases.map(\.rawValue))
    #expect(words("Activation") == Activation.allCases.map(\.rawValue))
    #expect(words("OptimizerName") == OptimizerName.allCases.map(\.rawValue))
    #expect(words("OptimizerState") == LearnedOptimizerRecord.State.allCases.map(\.rawValue))
    #expect(words("OptimizerFormat") == LearnedOptimizerRecord.Format.allCases.map(\.rawValue))
    #expect(words("CurveSeries") == CurveSeries.allCases.map(\.rawValue))
    #expect(words("CurveSampling") == CurveQuery.Sampling.allCases.map(\.rawValue))
    let layers = api.root["components"]?["schemas"]?["Layer"]?["properties"]?["type"]?["enum"]?.array ?? []
    #expect(Set(layers.compactMap(\.string)) == Set(Layer.types))
  }

  @Test func `a job's optimizer has the options of all optimizers, with their types and widest ranges`() {
    // `trainyard optimizer kinds --openapi` prints what belongs there.
    var described = Dictionary(
      uniqueKeysWithValues: members(api.root["components"]?["schemas"]?["OptimizerChoice"]?["properties"]))
    #expect(described.removeValue(forKey: "name") != nil && described.removeValue(forKey: "version") != nil)
    let options = Dictionary(grouping: OptimizerName.allCases.flatMap(\.options), by: \.key)
    #expect(Set(described.keys) == Set(options.keys))
    for (key, options) in options {
      guard let schema = described[key] else { continue }
      for option in options.map(\.json) {
        guard option["type"] != "object" else {
          #expect(schema["$ref"]?.string?.hasSuffix("/LearningRateSchedule") == true, "\(key)")
          continue
        }
        #expect(schema["type"] == option["type"], "\(key)")
        for (bound, fits) in [("minimum", { $0 <= $1 }), ("maximum", { $0 >= $1 })]
          as [(String, (Double, Double) -> Bool)]
        {
          guard let own = option[bound]?.number else { continue }
          #expect(schema[bound]?.number.map { fits($0, own) } == true, "\(key) \(bound)")
        }
      }
    }
  }

  @Test func `a campaign as the program writes it has the members that are described, and no others`() {
    func properties(_ schema: String) -> Set<String> {
      Set(members(api.root["components"]?["schemas"]?[schema]?["properties"]).map(\.0))
    }
    func keys(_ json: JSON) -> Set<String> { Set(members(json).map(\.0)) }
    let phase = CampaignSpec.sample.phases[0]
    #expect(keys(CampaignSpec.sample.json) == properties("CampaignRequest"))
    #expect(keys(phase.json) == properties("CampaignPhase"))
    #expect(keys(phase.estimator.json) == properties("CampaignEstimator"))
    #expect(keys(phase.policy.json) == properties("CampaignPolicy"))
    #expect(keys(phase.outer.json) == properties("CampaignOuter"))
    #expect(keys(phase.lengths.json) == properties("CampaignLengths"))
    #expect(properties("CampaignBranch") == Set(CampaignBranch.members + ["version"]))
  }

  @Test func `the schema of a schedule takes what the program reads`() throws {
    let schema = try #require(api.root["components"]?["schemas"]?["LearningRateSchedule"])
    let kinds = api.root["components"]?["schemas"]?["LearningRateScheduleKind"]?["enum"]?.array ?? []
    #expect(kinds.count == 10)
    var keys: Set<String> = []
    for kind in kinds {
      var text: [String: JSON] = ["kind": kind, "warmup_steps": 3]
      if kind == "step" { text["every"] = 10 }
      if kind == "piecewise" { text["knots"] = [[0, 1], [10, 0.5]] }
      let faults = Faults()
      let read = try #require(
        LearningRateSchedule.read(.object(text), path: "", faults: faults), "\(kind): \(faults.list)")
      // Written out it has every member of its kind.
      #expect(api.faults(read.json, schema).isEmpty, "\(kind)")
      keys.formUnion(members(read.json).map(\.0))
    }
    #expect(keys == Set(members(schema["properties"]).map(\.0)))
  }

  @Test func `the description is served as it stands, as YAML and as JSON`() throws {
    let server = try ServerUnderTest()
    let yaml = try server.get("/openapi.yaml", key: "")
    #expect(yaml.body == Description().yaml)
    let json = try server.get("/openapi.json", key: "")
    #expect(json.json == api.root)
    let tag = try #require(json.headers["etag"])
    #expect(try server.get("/openapi.json", key: "", headers: [("If-None-Match", tag)]).status == 304)
    #expect(tag != yaml.headers["etag"])
  }
}
