//! Bounds of replicated writes. Whoever runs a node sets none of them; tests and benches do.

use std::time::Duration;

/// How long and how much a write may wait for other nodes.
#[derive(Clone, Debug)]
pub struct WriteSettings {
    /// A request that is not acknowledged by then is answered with 503: below what senders wait
    /// (Prometheus' `remote_timeout` is 30 s).
    pub patience: Duration,
    /// A stream on which nothing is answered for so long is given up.
    pub answer_patience: Duration,
    /// The most that a connection may take to be made.
    pub connect_patience: Duration,
    /// Bytes of samples that wait for one peer; what comes beyond goes without it.
    pub peer_bytes_max: usize,
    /// Bytes of all samples that wait for peers; what comes beyond is refused with 503.
    pub bytes_max: usize,
    /// Bytes of what is kept for one peer that is away.
    pub hint_bytes_max: usize,
    /// The same for all peers together.
    pub hints_bytes_max: usize,
    /// What is kept for longer is not delivered any more: two windows.
    pub hint_age_max: Duration,
    /// Series that this node may have routes for.
    pub routes_max: usize,
    /// Requests that are decoded and appended for peers at a time.
    pub appending: usize,
    /// Requests of one stream that wait for the disk.
    pub stream_requests_max: usize,
    /// How long a replica waits to hear of the ring under which it is written to.
    pub ring_patience: Duration,
}

impl WriteSettings {
    /// What suits a node that may keep so much for peers that are away: a third for each of them.
    #[must_use]
    pub fn within(hints_bytes: u64) -> Self {
        let hints_bytes_max = usize::try_from(hints_bytes).unwrap_or(usize::MAX);
        Self {
            hint_bytes_max: hints_bytes_max / 3,
            hints_bytes_max,
            ..Self::default()
        }
    }
}

impl Default for WriteSettings {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(10),
            answer_patience: Duration::from_secs(15),
            connect_patience: Duration::from_secs(3),
            peer_bytes_max: 16 << 20,
            bytes_max: 96 << 20,
            hint_bytes_max: 16 << 20,
            hints_bytes_max: 48 << 20,
            hint_age_max: Duration::from_secs(4 * 60 * 60),
            routes_max: 4 << 20,
            appending: crate::runtime::cores().max(2),
            stream_requests_max: 32,
            ring_patience: Duration::from_millis(500),
        }
    }
}
