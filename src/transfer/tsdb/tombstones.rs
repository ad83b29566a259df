//! A block's `tombstones` file: what was deleted of which series, until Prometheus rewrites the
//! block.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::Error;
use super::index::damaged;
use crate::codec::crc32c;
use crate::codec::varint::{take_i64, take_u64};
use crate::model::{Samples, TimeRange, TimestampMs};

const MAGIC: u32 = 0x0130_BA30;

/// Deleted ranges by series, both ends included.
#[derive(Default)]
pub(super) struct Tombstones(BTreeMap<u64, Vec<TimeRange>>);

impl Tombstones {
    /// Reads the file; none of it is none deleted.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        match std::fs::read(path) {
            Ok(bytes) => Self::decode(&bytes)
                .ok_or_else(|| damaged(path, 0, "the tombstones cannot be read")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Error::reading(path)(error)),
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let (covered, sum) = rest.split_last_chunk::<4>()?;
        let (version, mut stones) = covered.split_first()?;
        let right = u32::from_be_bytes(*magic) == MAGIC && *version == 1;
        // The checksum covers what is behind the version.
        if !right || crc32c(0, stones) != u32::from_be_bytes(*sum) {
            return None;
        }
        let mut all = Self::default();
        while !stones.is_empty() {
            let series = take_u64(&mut stones).ok()?;
            let start = TimestampMs(take_i64(&mut stones).ok()?);
            let end = TimestampMs(take_i64(&mut stones).ok()?);
            let ranges = all.0.entry(series).or_default();
            ranges.push(TimeRange::new(start, end));
        }
        Some(all)
    }

    /// Takes out of a series' samples what was deleted.
    pub(super) fn apply(&self, series: u64, samples: Samples) -> Samples {
        let Some(ranges) = self.0.get(&series) else {
            return samples;
        };
        let mut left = Samples::default();
        for (at, value, start) in samples.iter() {
            if !ranges.iter().any(|range| range.contains(at)) {
                left.push(at, value, start);
            }
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Value;

    #[test]
    fn what_was_deleted_is_left_out_at_both_ends() {
        let mut body = Vec::new();
        for (series, start, end) in [
            (7_u64, 10_i64, 20_i64),
            (7, 40, 40),
            (9, i64::MIN, i64::MAX),
        ] {
            crate::codec::varint::put_u64(&mut body, series);
            crate::codec::varint::put_i64(&mut body, start);
            crate::codec::varint::put_i64(&mut body, end);
        }
        let sum = crc32c(0, &body).to_be_bytes();
        let bytes = [&MAGIC.to_be_bytes()[..], &[1], &body, &sum].concat();
        let stones = Tombstones::decode(&bytes).unwrap();
        let mut samples = Samples::default();
        for at in [9, 10, 20, 21, 40] {
            samples.push(TimestampMs(at), Value::Float(1.0), TimestampMs(0));
        }
        assert_eq!(stones.apply(7, samples.clone()).timestamps, [9, 21]);
        assert_eq!(stones.apply(8, samples.clone()).len(), 5);
        assert!(stones.apply(9, samples).is_empty());
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Tombstones::decode(&damaged).is_none(), "byte {at}");
        }
    }
}
