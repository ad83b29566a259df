//! PromQL: text in, series out. Synchronous; sees data only through [`crate::source::Source`].
//!
//! [`Engine`] is the door: `syntax` reads the text, `plan` resolves times and finds what is
//! evaluated once, `exec` runs one operator per file over whole series, with the arithmetic of
//! `function`.

mod annotations;
mod crew;
mod engine;
mod error;
mod exec;
mod form;
pub mod function;
mod histogram;
mod histogram_note;
mod lanes;
mod limits;
mod metrics;
mod number;
mod output;
mod plan;
mod profile;
mod question;
mod results;
mod settings;
mod slow;
mod sum;
pub mod syntax;
pub mod value;
mod watch;

/// The stack of a thread that parses, executes or drops queries: operators call each other, and so
/// does what walks a tree of [`syntax::LEVELS_MAX`] levels. 16 MiB are
/// enough without optimisation, 8 are not; what is not used is never taken from the system.
pub const STACK_BYTES: usize = 32 << 20;

pub use annotations::{Annotations, Note, Notes, Severity, line_and_column};
pub use engine::{Admitted, Engine};
pub use error::{Error, ErrorClass};
pub use histogram::{Bucket, FloatHistogram};
pub use histogram_note::{HistogramNote, Operation};
pub use metrics::QueryMetrics;
pub use output::{MatrixSeries, QueryOutput, QueryStats, QueryValue};
pub use profile::OperatorStats;
pub use question::{InstantQuery, RangeQuery};
pub use settings::QuerySettings;
pub use value::SampleValue;
