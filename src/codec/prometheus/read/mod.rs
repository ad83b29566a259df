//! Chunks read: those of a block that is imported, and those that a server of remote read sends.

mod floats;
mod histograms;
mod layout;
mod varbit;

use std::sync::Arc;

use super::super::Error;
use crate::model::{Histogram, Samples, TimestampMs, Value};

/// Adds the samples of a chunk. Chunks may overlap; a chunk itself is in order.
///
/// # Errors
/// For an unknown encoding, and for data that no writer writes.
pub fn read_chunk(encoding: u8, data: &[u8], samples: &mut Samples) -> Result<(), Error> {
    let mut chunk = Samples::default();
    let mut late = false;
    let mut push = |at: i64, value: Value| {
        if chunk.timestamps.last().is_some_and(|last| *last >= at) {
            late = true;
        } else {
            chunk.push(TimestampMs(at), value, TimestampMs(0));
        }
    };
    match encoding {
        1 => floats::read(data, |at, value| push(at, Value::Float(value)))?,
        2 | 3 => histograms::read(data, encoding == 3, |at, histogram: Arc<Histogram>| {
            push(at, Value::Histogram(histogram));
        })?,
        id => {
            let what = "a chunk of Prometheus";
            return Err(Error::UnknownEncoding { what, id });
        }
    }
    if late {
        return Err(Error::Invalid {
            what: "a chunk whose samples are not in order",
            value: 0,
        });
    }
    samples.merge(&chunk);
    Ok(())
}
