//! What a peer that is away has missed: a courtesy. Bounded, in memory, lost with the process;
//! nothing relies on it, and a peer that was away for longer is mended by digests.
//!
//! What is kept for a peer is a stream of its own, in order from its first definition on, so it
//! says of itself which series it means. It is delivered on a connection of its own, under the
//! epochs of that time, and kept until all of it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::attempt::Attempt;
use super::batch::RoutedBatch;
use super::frame::{Columns, Encoder, LabelsOf, Named, Purpose, Request};
use super::metrics::WriteMetrics;
use super::routing::RoutingTable;
use super::send::{Wanted, encode};
use super::settings::WriteSettings;
use crate::model::{Incarnation, RingArc};

/// So often a delivery begins anew before everything is let go.
const DELIVERIES_MAX: u32 = 20;

/// One request that was missed.
#[derive(Clone, Debug)]
struct Hint {
    columns: Columns,
    arcs: Vec<RingArc>,
    at: Duration,
}

#[derive(Debug, Default)]
struct Kept {
    encoder: Encoder,
    hints: Vec<Hint>,
    bytes: usize,
    /// Requests that have been delivered of those.
    done: usize,
    deliveries: u32,
}

/// What is kept for one peer.
#[derive(Debug)]
pub(super) struct Hints {
    kept: Mutex<Kept>,
    /// Bytes for all peers.
    total: Arc<AtomicUsize>,
    settings: WriteSettings,
    metrics: WriteMetrics,
}

impl Hints {
    pub(super) fn new(
        total: Arc<AtomicUsize>,
        settings: WriteSettings,
        metrics: WriteMetrics,
    ) -> Self {
        Self {
            kept: Mutex::default(),
            total,
            settings,
            metrics,
        }
    }

    /// Keeps the parts of a batch that lie in `arcs`, unless that would be too much.
    pub(super) fn keep(
        &self,
        batch: &RoutedBatch,
        (attempt, arcs): (&Arc<Attempt>, &[RingArc]),
        now: Duration,
        labels: LabelsOf<'_>,
    ) {
        let mut kept = self.kept.lock();
        let full = kept.bytes >= self.settings.hint_bytes_max
            || self.total.load(Ordering::Relaxed) >= self.settings.hints_bytes_max;
        if full {
            self.metrics.hint("dropped", 1);
            return;
        }
        let is_wanted = |at: &usize| {
            let partition = attempt.table.get(*at);
            partition.is_some_and(|partition| arcs.contains(&partition.arc))
        };
        let numbers = (0..).zip(attempt.ring_positions());
        let numbers = numbers.filter(|(_, at)| is_wanted(at)).map(|(n, _)| n);
        let wanted = Wanted::new(attempt, numbers);
        let before = kept.encoder.size().1;
        kept.encoder.begin(0);
        let sent = encode(&mut kept.encoder, batch, attempt, &wanted, labels);
        let columns = kept.encoder.finish();
        if sent.items == 0 {
            self.metrics.hint("dropped", 1);
            return;
        }
        let bytes = columns.len() + size_of::<Hint>() + kept.encoder.size().1 - before;
        kept.bytes += bytes;
        self.total.fetch_add(bytes, Ordering::Relaxed);
        kept.hints.push(Hint {
            columns,
            arcs: arcs.to_vec(),
            at: now,
        });
        self.metrics.hint("queued", 1);
        self.show(&kept);
    }

    fn show(&self, _: &Kept) {
        let total = self.total.load(Ordering::Relaxed);
        self.metrics
            .hinted_bytes
            .set(i64::try_from(total).unwrap_or(i64::MAX));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.lock().hints.is_empty()
    }

    /// Begins a delivery from the first request on; `false`: there is nothing.
    pub(super) fn begin(&self) -> bool {
        let mut kept = self.kept.lock();
        if kept.deliveries >= DELIVERIES_MAX {
            self.let_go(&mut kept, "dropped");
        }
        kept.deliveries += 1;
        kept.done = 0;
        !kept.hints.is_empty()
    }

    /// The next request of the delivery, with what of it `peer` is still a member of; too old
    /// ones without partitions, for their definitions. `None`: all is delivered, and let go.
    pub(super) fn next(
        &self,
        peer: Incarnation,
        table: &RoutingTable,
        now: Duration,
    ) -> Option<Request> {
        let mut kept = self.kept.lock();
        let Some(hint) = kept.hints.get(kept.done).cloned() else {
            self.let_go(&mut kept, "delivered");
            return None;
        };
        let is_old = now.saturating_sub(hint.at) > self.settings.hint_age_max;
        let meets = |arc: RingArc| hint.arcs.iter().any(|other| overlap(*other, arc));
        let partitions = table.partitions().iter();
        let partitions = partitions.filter(|partition| {
            !is_old && meets(partition.arc) && partition.bit_of(peer).is_some()
        });
        Some(Request {
            number: kept.done as u64,
            purpose: Purpose::HINT,
            partitions: partitions
                .map(|partition| Named {
                    arc: partition.arc,
                    epoch: partition.epoch,
                })
                .collect(),
            columns: hint.columns,
        })
    }

    /// The request that was given last is delivered.
    pub(super) fn delivered(&self) {
        self.kept.lock().done += 1;
    }

    /// Lets everything go.
    fn let_go(&self, kept: &mut Kept, result: &'static str) {
        self.metrics.hint(result, kept.hints.len() as u64);
        self.total.fetch_sub(kept.bytes, Ordering::Relaxed);
        *kept = Kept::default();
        self.show(kept);
    }
}

impl Drop for Hints {
    fn drop(&mut self) {
        let bytes = self.kept.get_mut().bytes;
        self.total.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Whether two arcs have a place in common: one contains the other.
fn overlap(one: RingArc, other: RingArc) -> bool {
    let depth = u32::from(one.depth().min(other.depth()));
    let differing = one.prefix() ^ other.prefix();
    depth == 0 || differing.leading_zeros() >= depth
}
