//! The words of the design as types: no I/O, no clock, no third-party framework.
//!
//! Everything here is a value that can be made, compared and shown. What a word means is said
//! once, at its type; the rest of the crate uses the same word for the same thing.

mod block;
mod deletion;
mod downsample;
mod exemplar;
mod fold;
mod histogram;
mod label;
mod matcher;
mod metadata;
mod partition;
mod re2;
mod sample;
mod series;
mod stale;
mod tenant;
mod time;
mod window;

pub use block::{BlockEntry, BlockId, Digest, Level, Uploaded};
pub use deletion::Deletion;
pub use downsample::{downsample, weight};
pub use exemplar::Exemplar;
pub use fold::{CounterFold, Fold, Resolution, extreme};
pub use histogram::{
    Buckets, Histogram, HistogramError, ResetHint, SCHEMA_CUSTOM, SCHEMA_MAX, SCHEMA_MIN, Span,
};
pub use label::{LabelError, LabelSet, LabelSetBuilder, METRIC_NAME};
pub use matcher::{MatchOp, Matcher, MatcherError, REGEX_SIZE_MAX, anchored_regex};
pub use metadata::{Metadata, MetricKind};
pub use partition::{Epoch, FOUNDING_DEPTH, Incarnation, NoArc, RingArc};
pub use sample::{Samples, Value, settle};
pub use series::{Fingerprint, fingerprint, fingerprint_of_family};
pub use stale::{STALE_NAN_BITS, is_stale, stale_nan};
pub use tenant::{TENANT_LENGTH_MAX, TenantError, TenantId};
pub use time::{TimeRange, TimestampMs};
pub use window::{WINDOW_MS, Window};
