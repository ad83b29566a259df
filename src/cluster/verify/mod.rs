//! Verification: a person wants the proof, now, that every replica and every object of every block
//! is, to the byte, what the catalog says. Any node is asked, and has all of them read what they
//! hold; members whose files are the catalog's are equal to each other.
//!
//! It finds and says. What is found damaged is left to the scrub to heal. Whoever wants it must go
//! on asking: a node gives up an order that nobody has asked about for a minute.
//!
//! Heads are not looked at: every read compares them, and the log is read at every start.

mod everywhere;
mod metrics;
mod orders;
mod report;
mod verifier;
mod wire;

pub use everywhere::{NodeVerified, Standing, Verification, Verified, VerifyOrder};
pub(super) use metrics::VerifyMetrics;
pub(super) use orders::Orders;
pub use report::{VerifyFault, VerifyReport, VerifyStage};
pub(super) use verifier::{Verifier, VerifierParts};
