//! The content hash: what a sample is worth in the order-independent sums that say whether two
//! places hold the same samples. `docs/format.md` ("Content hash") has the definition byte by
//! byte and the test vectors, because versions must agree on it.
//!
//! It does not say what a block file's bytes are: that is the file's BLAKE3 digest.

use xxhash_rust::xxh3::xxh3_128_with_secret;

use crate::model::{Fingerprint, Fold, Metadata, Samples, TenantId, TimestampMs, Value};

/// Hashes samples under the secret of one cluster, so that nobody outside can construct two
/// contents of one sum.
#[derive(Clone)]
pub struct ContentHasher {
    secret: [u8; 192],
}

impl std::fmt::Debug for ContentHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ContentHasher")
    }
}

/// The type byte of a float, stale marker included.
const KIND_FLOAT: u8 = 0;
/// The type byte of a histogram.
const KIND_HISTOGRAM: u8 = 1;
/// The first byte of metadata.
const KIND_METADATA: u8 = 2;
/// The first bytes of what only reads compare and no format keeps: a series' chunk with the times of
/// its rows, those times, a series that was decoded.
const KIND_CHUNK: u8 = 3;
const KIND_TIMES: u8 = 4;
const KIND_SHOWN: u8 = 5;
/// The type byte of a fold.
const KIND_FOLD: u8 = 6;

impl ContentHasher {
    /// The hasher of a cluster: its secret is the first 192 bytes that BLAKE3 puts out for the
    /// sixteen big-endian bytes of the cluster id.
    #[must_use]
    pub fn new(cluster_id: u128) -> Self {
        let mut secret = [0; 192];
        let mut hash = blake3::Hasher::new();
        hash.update(&cluster_id.to_be_bytes());
        hash.finalize_xof().fill(&mut secret);
        Self { secret }
    }

    /// The hash of one sample: fingerprint, timestamp, type and canonical value, and the start
    /// timestamp where there is one (not 0).
    #[must_use]
    pub fn sample(
        &self,
        fingerprint: Fingerprint,
        at: TimestampMs,
        value: &Value,
        start: TimestampMs,
    ) -> u128 {
        match value {
            Value::Float(value) => self.float(fingerprint, at, *value, start),
            Value::Histogram(_) => {
                let mut bytes = Vec::with_capacity(256);
                bytes.extend_from_slice(&fingerprint.0.to_be_bytes());
                bytes.extend_from_slice(&at.0.to_be_bytes());
                bytes.push(KIND_HISTOGRAM);
                value.canonical(&mut bytes);
                if start.0 != 0 {
                    bytes.extend_from_slice(&start.0.to_be_bytes());
                }
                xxh3_128_with_secret(&bytes, &self.secret)
            }
        }
    }

    /// The hash of a float sample, without an allocation.
    #[must_use]
    pub fn float(
        &self,
        fingerprint: Fingerprint,
        at: TimestampMs,
        value: f64,
        start: TimestampMs,
    ) -> u128 {
        let mut bytes = [0; 41];
        let (head, tail) = bytes.split_at_mut(16);
        head.copy_from_slice(&fingerprint.0.to_be_bytes());
        let (time, tail) = tail.split_at_mut(8);
        time.copy_from_slice(&at.0.to_be_bytes());
        let (kind, tail) = tail.split_at_mut(1);
        kind.fill(KIND_FLOAT);
        let (bits, tail) = tail.split_at_mut(8);
        bits.copy_from_slice(&value.to_bits().to_be_bytes());
        tail.copy_from_slice(&start.0.to_be_bytes());
        let used = if start.0 == 0 { 33 } else { 41 };
        xxh3_128_with_secret(bytes.get(..used).unwrap_or_default(), &self.secret)
    }

    /// The hash of a fold, of the sample of a time, beside that sample's own.
    fn fold(&self, fingerprint: Fingerprint, at: TimestampMs, fold: &Fold) -> u128 {
        let mut bytes = Vec::with_capacity(80);
        bytes.extend_from_slice(&fingerprint.0.to_be_bytes());
        bytes.extend_from_slice(&at.0.to_be_bytes());
        bytes.push(KIND_FOLD);
        fold.canonical(&mut bytes);
        xxh3_128_with_secret(&bytes, &self.secret)
    }

    /// The hash of one metadata of a family, for a sum of its own: the lengths keep its texts apart.
    #[must_use]
    pub fn metadata(&self, tenant: &TenantId, family: &str, metadata: &Metadata) -> u128 {
        let texts = [tenant.as_str(), family, &metadata.help, &metadata.unit];
        let mut bytes = vec![KIND_METADATA, metadata.kind as u8];
        for text in texts {
            bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        xxh3_128_with_secret(&bytes, &self.secret)
    }

    /// The hash of a series as it stands encoded: its chunk, and the hash of its rows' times.
    pub(super) fn encoded(&self, fingerprint: Fingerprint, times: u128, chunk: &[u8]) -> u128 {
        let mut bytes = Vec::with_capacity(chunk.len() + 33);
        bytes.push(KIND_CHUNK);
        bytes.extend_from_slice(&fingerprint.0.to_be_bytes());
        bytes.extend_from_slice(&times.to_be_bytes());
        bytes.extend_from_slice(chunk);
        xxh3_128_with_secret(&bytes, &self.secret)
    }

    /// The hash of the times of rows.
    pub(super) fn times(&self, offsets: &[u8]) -> u128 {
        let mut bytes = Vec::with_capacity(offsets.len() + 1);
        bytes.push(KIND_TIMES);
        bytes.extend_from_slice(offsets);
        xxh3_128_with_secret(&bytes, &self.secret)
    }

    /// The hash of a series by the sum of its samples' hashes.
    pub(super) fn shown(&self, fingerprint: Fingerprint, sum: ContentSum) -> u128 {
        let mut bytes = vec![KIND_SHOWN];
        bytes.extend_from_slice(&fingerprint.0.to_be_bytes());
        bytes.extend_from_slice(&sum.0.to_be_bytes());
        xxh3_128_with_secret(&bytes, &self.secret)
    }

    /// The sum of the hashes of one series' samples.
    #[must_use]
    pub fn samples(&self, fingerprint: Fingerprint, samples: &Samples) -> ContentSum {
        let mut sum = ContentSum::default();
        for (at, value, start) in samples.iter() {
            sum.add(self.sample(fingerprint, at, &value, start));
        }
        for (row, fold) in &samples.folds {
            let at = samples.timestamps.get(*row as usize).copied();
            sum.add(self.fold(fingerprint, TimestampMs(at.unwrap_or(0)), fold));
        }
        sum
    }
}

/// A sum of content hashes mod 2^128. Equal contents have equal sums, in whatever order they came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ContentSum(pub u128);

impl ContentSum {
    /// Adds a hash, or another sum's number.
    pub const fn add(&mut self, hash: u128) {
        self.0 = self.0.wrapping_add(hash);
    }

    /// Takes a hash, or another sum's number, out again.
    pub const fn subtract(&mut self, hash: u128) {
        self.0 = self.0.wrapping_sub(hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_do_not_depend_on_the_order_and_can_be_taken_back() {
        let hasher = ContentHasher::new(7);
        let hash = |at: i64| hasher.float(Fingerprint(1), TimestampMs(at), 2.0, TimestampMs(0));
        let (mut one, mut other) = (ContentSum::default(), ContentSum::default());
        for at in [1, 2, 3] {
            one.add(hash(at));
        }
        for at in [3, 4, 1, 2] {
            other.add(hash(at));
        }
        other.subtract(hash(4));
        assert_eq!(one, other);
    }

    #[test]
    fn another_cluster_has_other_hashes() {
        let hash =
            |id| ContentHasher::new(id).float(Fingerprint(1), TimestampMs(1), 1.0, TimestampMs(0));
        assert_ne!(hash(1), hash(2));
    }
}
