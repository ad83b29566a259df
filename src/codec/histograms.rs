//! Native histograms by themselves, as the log holds them. Columns of them are part of a page.

use super::Error;
use super::histogram;
use crate::model::Histogram;

/// Appends one histogram, decodable by itself; all its bits come back.
pub fn encode_one(histogram: &Histogram, out: &mut Vec<u8>) {
    histogram::encode_one(histogram, out);
}

/// Takes one histogram from the front of bytes.
///
/// # Errors
/// When the bytes are not what [`encode_one`] writes.
pub fn decode_one(input: &mut &[u8]) -> Result<Histogram, Error> {
    histogram::decode_one(input)
}

#[cfg(test)]
mod tests;
