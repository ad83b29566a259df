//! `memory_limit`, shared out: how much head, caches and queries may take.
//!
//! The shares are not reservations: what one part does not need, the system has for its page cache.

use crate::config::Settings;
use crate::runtime::{ByteSize, memory_total};

/// The head's share, in hundredths: when unsealed samples take more, they are sealed early.
/// Buffers of requests and the code itself come on top.
const HEAD_PERCENT: u64 = 45;
/// The share of the registry of series, in hundredths: labels and index of what is active. When
/// it takes more, new series are refused, known ones are not.
const REGISTRY_PERCENT: u64 = 20;
/// The share of the engine's cache of block files, in hundredths.
const CACHE_PERCENT: u64 = 6;
/// The share of decoded parts of blocks that queries have in common, in hundredths.
const DECODED_PERCENT: u64 = 3;
/// The share of answers that are kept, in hundredths.
const RESULTS_PERCENT: u64 = 2;
/// The share of indexes of blocks that are only in the bucket, in hundredths.
const INDEXES_PERCENT: u64 = 2;
/// The most that one query may take, in hundredths, whatever `query.max_memory` says.
const QUERY_PERCENT: u64 = 50;
/// The most that all queries together may take: what one alone may take, two share.
const QUERIES_PERCENT: u64 = 50;
/// What reads of peers may hold here, all together, in hundredths.
const PEER_READS_PERCENT: u64 = 15;
/// What is kept for peers that are away, in hundredths.
const HINTS_PERCENT: u64 = 5;
/// Spellings of series that ingest remembers, in hundredths.
const SPELLINGS_PERCENT: u64 = 12;
/// Below these a node does not work well, however small the machine.
const HEAD_BYTES_MIN: u64 = 32 << 20;
const REGISTRY_BYTES_MIN: u64 = 32 << 20;
const CACHE_BYTES_MIN: u64 = 4 << 20;
const DECODED_BYTES_MIN: u64 = 2 << 20;
const INDEXES_BYTES_MIN: u64 = 1 << 20;
const RESULTS_BYTES_MIN: u64 = 1 << 20;
const QUERY_BYTES_MIN: u64 = 32 << 20;
const PEER_READS_BYTES_MIN: u64 = 32 << 20;
const HINTS_BYTES_MIN: u64 = 4 << 20;
const SPELLINGS_BYTES_MIN: u64 = 4 << 20;
/// Four million of them, more than a node holds series.
const SPELLINGS_BYTES_MAX: u64 = 152_000_000;
/// Some minutes of a peer's samples; what a longer absence misses, repair brings.
const HINTS_BYTES_MAX: u64 = 256 << 20;
/// More cache than this gains little: what is read again is in the system's page cache.
const CACHE_BYTES_MAX: u64 = 256 << 20;
/// What a dashboard's queries have in common over a day of 5,000 series fits several times.
const DECODED_BYTES_MAX: u64 = 32 << 20;
/// Some hundred panels of a day have a place.
const RESULTS_BYTES_MAX: u64 = 128 << 20;
/// Those of some thousand blocks; of others the end is read again, from the disk's cache.
const INDEXES_BYTES_MAX: u64 = 128 << 20;

/// How memory is shared out, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shares {
    /// All of it.
    pub limit: u64,
    /// Unsealed samples.
    pub head: u64,
    /// Series and their labels.
    pub registry: u64,
    /// The engine's cache.
    pub cache: u64,
    /// Decoded parts of blocks.
    pub decoded: u64,
    /// Indexes of blocks in the bucket.
    pub indexes: u64,
    /// Answers that are kept.
    pub results: u64,
    /// One query.
    pub query: u64,
    /// All queries together.
    pub queries: u64,
    /// Reads of peers.
    pub peer_reads: u64,
    /// Samples for peers that are away.
    pub hints: u64,
    /// Spellings of series.
    pub spellings: u64,
}

impl Shares {
    /// The shares that these settings give on this machine.
    pub(super) fn of(settings: &Settings) -> Self {
        let limit = settings.main.memory_limit.bytes(memory_total());
        Self::within(limit, settings.query.max_memory)
    }

    fn within(limit: u64, query_max: ByteSize) -> Self {
        let share = |percent: u64| limit / 100 * percent;
        Self {
            limit,
            head: share(HEAD_PERCENT).max(HEAD_BYTES_MIN),
            registry: share(REGISTRY_PERCENT).max(REGISTRY_BYTES_MIN),
            cache: share(CACHE_PERCENT).clamp(CACHE_BYTES_MIN, CACHE_BYTES_MAX),
            decoded: share(DECODED_PERCENT).clamp(DECODED_BYTES_MIN, DECODED_BYTES_MAX),
            indexes: share(INDEXES_PERCENT).clamp(INDEXES_BYTES_MIN, INDEXES_BYTES_MAX),
            results: share(RESULTS_PERCENT).clamp(RESULTS_BYTES_MIN, RESULTS_BYTES_MAX),
            query: share(QUERY_PERCENT).max(QUERY_BYTES_MIN).min(query_max.0),
            queries: share(QUERIES_PERCENT).max(QUERY_BYTES_MIN),
            peer_reads: share(PEER_READS_PERCENT).max(PEER_READS_BYTES_MIN),
            hints: share(HINTS_PERCENT).clamp(HINTS_BYTES_MIN, HINTS_BYTES_MAX),
            spellings: share(SPELLINGS_PERCENT).clamp(SPELLINGS_BYTES_MIN, SPELLINGS_BYTES_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_board_and_a_large_server_both_get_sensible_shares() {
        let board = Shares::within(1 << 30, ByteSize::mib(512));
        assert_eq!(board.head >> 20, 460);
        assert_eq!(board.registry >> 20, 204);
        assert_eq!(board.cache >> 20, 61);
        assert_eq!(board.decoded >> 20, 30);
        assert_eq!((board.query >> 20, board.queries >> 20), (511, 511));
        let tiny = Shares::within(32 << 20, ByteSize::mib(512));
        assert_eq!(
            (tiny.head, tiny.cache, tiny.query),
            (32 << 20, 4 << 20, 32 << 20)
        );
        let server = Shares::within(64 << 30, ByteSize::mib(512));
        assert_eq!((server.cache, server.query), (256 << 20, 512 << 20));
        assert_eq!((tiny.decoded, server.decoded), (2 << 20, 32 << 20));
        assert_eq!(
            (tiny.indexes, board.indexes >> 20, server.indexes),
            (1 << 20, 20, 128 << 20)
        );
        assert_eq!(
            (tiny.results, board.results >> 20, server.results),
            (1 << 20, 20, 128 << 20)
        );
        assert_eq!(
            (tiny.spellings, board.spellings >> 20, server.spellings),
            (4 << 20, 122, 152_000_000)
        );
        let mib = |shares: Shares| (shares.peer_reads >> 20, shares.hints >> 20);
        assert_eq!(
            [mib(tiny), mib(board), mib(server)],
            [(32, 4), (153, 51), (9830, 256)]
        );
    }
}
