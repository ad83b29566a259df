//! Samples arrive: remote-write is decoded, checked, and handed to the cluster's writer.
//!
//! It knows nothing of HTTP connections, of logs and heads, or of who else holds a sample. What it
//! promises: a success means that everything is durable; what is refused is named, with the bound
//! and the remedy, and the rest is stored; what a retry can cure is 503 and never anything else.
//!
//! The hot path parses no labels: see `series_cache`.

mod decompress;
mod error;
mod known;
mod metrics;
mod native_histogram;
mod partial_write;
mod receive;
mod series_cache;
mod series_key;
mod settings;
mod validate;

pub use error::Error;
pub use receive::{
    Answer, BodyRoom, Exposed, RECEIVERS, Receiver, ReceiverRoute, RequestHead, SelfScrape,
};
pub use settings::IngestSettings;
