//! The scrub: every week each node reads all its block files, and the first live member of each
//! partition its objects in the bucket, slowly, and compares them with the catalog. What is damaged
//! or missing is replaced: here from a peer or the bucket, there from whoever has the file. Nothing
//! is dropped before its replacement is here; where nobody has one, that is said, loudly.
//!
//! Where it is, it notes: a restart goes on there. Not here: how a file is replaced (`store`), who
//! sends it (`moves`, `data`), what an object is called (`archive`).

mod cycle;
mod look;
mod metrics;
mod scrubber;

pub(super) use look::Look;
pub(super) use metrics::{ScrubMetrics, Where};
pub use scrubber::ScrubStatus;
pub(super) use scrubber::{Scrubber, ScrubberParts};
