//! History in foreign formats: read from files of Prometheus, VictoriaMetrics and OpenMetrics, and
//! written as such.
//!
//! A format is a [`History`] when it is read and a [`Sink`] when it is written. Both work piece by
//! piece in bounded memory. Nothing here knows a node, a store or a network: the commands `import`
//! and `export` join one end to a node.

mod error;
mod history;
mod lines;
mod openmetrics;
mod openmetrics_out;
mod remote_read;
mod remote_write;
mod sink;
mod tsdb;
mod victoria;

pub use error::Error;
pub use history::{History, Item, Piece, Position};
pub use openmetrics::{OpenMetricsHistory, parse_openmetrics};
pub use openmetrics_out::OpenMetricsSink;
pub use remote_read::{Frames, parse_frame, read_request};
pub use remote_write::{REQUEST_SAMPLES, Request};
pub use sink::{Left, Sink};
pub use tsdb::{
    BlockHistory, BlockPlace, BlockSink, Wanted, find_blocks, parse_index, parse_tombstones,
};
pub use victoria::{VictoriaHistory, VictoriaSink, parse_line};
