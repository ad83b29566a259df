//! `cairn import` and `cairn export`: history from and to other programs.

mod export;
mod import;
mod link;
mod position;

pub(super) use export::Export;
pub(super) use import::Import;

use clap::{Args, ValueEnum};

use super::time;
use crate::model::{Matcher, TimeRange, TimestampMs};
use crate::query::syntax;
use crate::runtime::{Clock, SystemClock};
use crate::transfer::Wanted;

/// A foreign format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    /// Blocks of Prometheus' TSDB: a data directory, a snapshot, or one block.
    Prometheus,
    /// JSON lines of /api/v1/export and /api/v1/import.
    Victoriametrics,
    /// OpenMetrics text with timestamps, as promtool tsdb dump-openmetrics writes it.
    Openmetrics,
}

/// What of the history is moved.
#[derive(Args, Debug)]
struct Selection {
    /// Only series that this selector matches.
    #[arg(long = "match", value_name = "SELECTOR")]
    selector: Option<String>,
    /// Only samples from this time on: now-30d, Unix seconds or RFC 3339.
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// Only samples up to this time.
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
}

impl Selection {
    fn wanted(&self) -> Result<Wanted, String> {
        let now = SystemClock::new().now();
        let at = |text: &Option<String>, otherwise: TimestampMs| match text {
            Some(text) => time::parse(text, now),
            None => Ok(otherwise),
        };
        let range = TimeRange::new(
            at(&self.start, TimestampMs::MIN)?,
            at(&self.end, TimestampMs::MAX)?,
        );
        if range.is_empty() {
            return Err("--start lies after --end".to_owned());
        }
        let matchers: Vec<Matcher> = match &self.selector {
            None => Vec::new(),
            Some(text) => {
                syntax::parse_selector(text).map_err(|error| format!("--match {text}: {error}"))?
            }
        };
        Ok(Wanted { range, matchers })
    }
}
