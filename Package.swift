// swift-tools-version: 6.0
// Targets and their allowed dependencies; ARCHITECTURE.md walks through them in reading order.
import PackageDescription

let package = Package(
  name: "trainyard",
  products: [.executable(name: "trainyard", targets: ["trainyard"])],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
  ],
  targets: [
    .target(
      name: "CKernels",
      // Also in debug builds: tests on kernels compiled without optimisation would take hours.
      cSettings: [.unsafeFlags(["-O3", "-fno-math-errno", "-ffp-contract=off"])]
    ),
    // The learned optimizers that the program ships, as bytes.
    .target(name: "CTheta", exclude: ["celo-1.safetensors", "celo-2.safetensors"]),
    // The dashboard's pages, as bytes too.
    .target(name: "CDashboard", exclude: ["pages"]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    // PNG and JPEG, with their libraries' long jumps kept in C.
    .target(name: "CImages", linkerSettings: [.linkedLibrary("png16"), .linkedLibrary("jpeg")]),
    .systemLibrary(name: "CLibPQ", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
    .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
    .target(name: "Contract"),
    .target(name: "Compute", dependencies: ["CKernels"]),
    .target(name: "Learning", dependencies: ["Compute", "CKernels", "Contract", "CZlib", "CImages"]),
    .target(
      name: "Store", dependencies: ["CLibPQ", "COpenSSL", "Contract"],
      // A link to the folder at the top level: the SQL is part of the program.
      resources: [.embedInCode("migrations")]
    ),
    .target(name: "MetaTraining", dependencies: ["Learning", "Compute", "Contract"]),
    .target(
      name: "Worker",
      dependencies: [
        "Store", "MetaTraining", "Learning", "Compute", "Contract", .product(name: "Logging", package: "swift-log"),
      ]
    ),
    // The description of the API as bytes; its folder is a link to the one at the top level.
    .target(name: "COpenAPI", exclude: ["openapi"]),
    .target(name: "CEpoll"),
    .target(name: "HTTP", dependencies: ["CEpoll", "COpenSSL"]),
    .target(
      name: "Server",
      dependencies: [
        "HTTP", "Store", "Contract", "CDashboard", "COpenAPI",
        .product(name: "Logging", package: "swift-log"),
        // Serves the description of the API as JSON too.
        .product(name: "Yams", package: "Yams"),
      ]
    ),
    .target(name: "Client", dependencies: ["Contract", "COpenSSL"]),
    .executableTarget(
      name: "trainyard",
      dependencies: [
        "CTheta", "HTTP", "Server", "Worker", "Client", "Store", "MetaTraining", "Learning", "Compute", "Contract",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "Yams", package: "Yams"),
      ]
    ),
    .testTarget(name: "ContractTests", dependencies: ["Contract"]),
    .target(name: "AllocationCounter", path: "Tests/AllocationCounter"),
    .testTarget(name: "ComputeTests", dependencies: ["Compute", "CKernels", "AllocationCounter"]),
    .target(name: "TestSupport", dependencies: ["Store", "Contract"], path: "Tests/TestSupport"),
    .executableTarget(name: "ClusterHolder", dependencies: ["Store"], path: "Tests/ClusterHolder"),
    .testTarget(name: "StoreTests", dependencies: ["Store", "Contract", "TestSupport", "ClusterHolder"]),
    .testTarget(
      name: "ServerTests",
      dependencies: [
        "Server", "HTTP", "Store", "Contract", "TestSupport",
        .product(name: "Logging", package: "swift-log"), .product(name: "Yams", package: "Yams"),
      ]
    ),
    .testTarget(
      name: "WorkerTests",
      dependencies: [
        "Worker", "Store", "MetaTraining", "Learning", "Compute", "Contract", "TestSupport",
        .product(name: "Logging", package: "swift-log"),
      ]),
    .testTarget(name: "HTTPTests", dependencies: ["HTTP", "COpenSSL", "TestSupport"]),
    .testTarget(
      name: "EndToEndTests",
      dependencies: ["trainyard", "Client", "Store", "MetaTraining", "Learning", "Contract", "TestSupport"]),
    .testTarget(name: "ClientTests", dependencies: ["Client", "Contract"]),
    .testTarget(
      name: "MetaTrainingTests", dependencies: ["MetaTraining", "Learning", "Compute", "Contract", "AllocationCounter"]),
    .executableTarget(
      name: "ParserFuzz", dependencies: ["Learning", "Contract", "CZlib"], path: "Tests/ParserFuzz"),
    .testTarget(name: "ParserFuzzTests", dependencies: ["ParserFuzz"]),
    .testTarget(
      name: "LearningTests", dependencies: ["Learning", "Compute", "Contract", "CZlib", "AllocationCounter"],
      resources: [.copy("Fixtures")]),
    .testTarget(
      name: "TrainyardTests",
      dependencies: [
        "trainyard", .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
      ]),
  ],
  swiftLanguageModes: [.v6]
)
