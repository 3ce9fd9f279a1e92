// What becomes of a campaign whose learner fails: what lies in the campaign fails it, what lies in this machine gives it
// back.
import Contract
import Foundation
import Learning
import Logging
import MetaTraining
import Store

enum CampaignFaults {
  /// Runs a learner to its end, whatever that is.
  static func handle(_ lease: Lease, _ surroundings: CampaignSurroundings, _ body: () throws -> Void) {
    let (store, logger) = (surroundings.store, surroundings.logger)
    let subject: Logger.Metadata = ["campaign": "\(lease.subject)"]
    do {
      do { try body() } catch let error as SpecError {
        // Any machine would say the same.
        try store.endCampaign(lease: lease, .failed(reason: "invalid", "\(error)"))
        logger.error("the campaign cannot be run", metadata: subject.merging(["error": "\(error)"]) { $1 })
      } catch let fault as DataFault {
        try store.endCampaign(
          lease: lease, .failed(reason: "dataset_unavailable", "a dataset cannot be used: \(fault)"))
      } catch let fault as StorageError {
        logger.error("cannot lead a campaign here now", metadata: subject.merging(["error": "\(fault)"]) { $1 })
        try store.release(lease: lease)
        surroundings.stop.pause(seconds: 5)
      }
    } catch StoreError.staleLease {
      logger.notice("lost the lease of a campaign; left it to its new learner", metadata: subject)
    } catch {
      logger.error("leading a campaign failed", metadata: subject.merging(["error": "\(error)"]) { $1 })
      do { try store.abandon(lease: lease, message: "\(error)") } catch {
        logger.warning("cannot give the lease back; it will expire", metadata: subject)
      }
    }
  }
}
