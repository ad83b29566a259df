//! Carries out an order: looks at every copy that the catalog says this node holds, and at the
//! objects of the partitions of which it is the first live member.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::metrics::VerifyMetrics;
use super::orders::Orders;
use super::report::{Order, VerifyFault};
use crate::cluster::control::{Control, ControlState, MemberId, Partition};
use crate::cluster::error::Error;
use crate::cluster::manifests::{Manifests, listed};
use crate::cluster::scrub::{Look, Scrubber, Where};
use crate::cluster::turns::is_first;
use crate::model::{BlockEntry, BlockId, Incarnation, RingArc, Uploaded};
use crate::runtime::{CancelToken, Clock, Throttle, pause};
use crate::store::Store;

/// What a node has not applied yet is waited for, looked at so often.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// So often at most, two minutes: then it is said. Applying a block takes seconds.
const LOOKS_MAX: u32 = 240;
/// The bucket's client tries every request again by itself; this is for what lasts longer.
const ATTEMPTS: u32 = 3;

/// What a verifier is made from.
pub(in crate::cluster) struct VerifierParts {
    pub(in crate::cluster) orders: Arc<Orders>,
    pub(in crate::cluster) scrubber: Arc<Scrubber>,
    pub(in crate::cluster) store: Arc<Store>,
    pub(in crate::cluster) control: Arc<dyn Control>,
    pub(in crate::cluster) manifests: Arc<Manifests>,
    pub(in crate::cluster) clock: Arc<dyn Clock>,
    pub(in crate::cluster) me: Incarnation,
    pub(in crate::cluster) metrics: VerifyMetrics,
}

/// Carries out orders.
pub(in crate::cluster) struct Verifier(VerifierParts);

/// Nobody wants it any more, or the node ends.
struct CalledOff;

/// One order under way.
struct Run<'a> {
    parts: &'a VerifierParts,
    order: Order,
    throttle: Throttle,
    cancel: &'a CancelToken,
    /// Halves of a split share blocks: each is looked at once.
    seen_here: BTreeSet<BlockId>,
    seen_there: BTreeSet<BlockId>,
    /// The bucket could not be asked; that was said.
    bucket_away: bool,
}

impl Verifier {
    pub(in crate::cluster) const fn new(parts: VerifierParts) -> Self {
        Self(parts)
    }

    /// Carries out the order that waits, if one does.
    pub(in crate::cluster) fn round(&self, cancel: &CancelToken) {
        let parts = &self.0;
        let Some(order) = parts.orders.take() else {
            return;
        };
        let mut run = Run {
            parts,
            order,
            throttle: Throttle::new(order.bytes_per_second),
            cancel,
            seen_here: BTreeSet::new(),
            seen_there: BTreeSet::new(),
            bucket_away: false,
        };
        let done = run.all().is_ok();
        let faults = parts.orders.end(order.number, done);
        if let Some(faults) = faults.filter(|_| done) {
            parts.metrics.ended(faults, parts.clock.now());
            tracing::info!(faults, "the copies of this node's blocks are verified");
        }
    }
}

impl Run<'_> {
    fn all(&mut self) -> Result<(), CalledOff> {
        let parts = self.parts;
        let mut looks = 0;
        while parts.control.state().applied < self.order.applied && looks < LOOKS_MAX {
            self.wait()?;
            looks += 1;
        }
        let state = parts.control.state();
        let bytes = self.bytes_of(&state);
        let has_bucket = parts.scrubber.has(Where::Bucket);
        self.note(|report| (report.bytes_all, report.has_bucket) = (bytes, has_bucket));
        let mine: Vec<RingArc> = self.mine(&state).map(|(arc, _)| arc).collect();
        for arc in mine {
            self.partition(arc)?;
        }
        Ok(())
    }

    /// Goes on only while it is wanted.
    fn check(&self) -> Result<(), CalledOff> {
        self.cancel.check().map_err(|_| CalledOff)?;
        let wanted = self.parts.orders.is_wanted(self.order.number);
        if wanted { Ok(()) } else { Err(CalledOff) }
    }

    fn wait(&self) -> Result<(), CalledOff> {
        self.check()?;
        pause(LOOK_EVERY);
        Ok(())
    }

    fn note(&self, note: impl FnOnce(&mut super::VerifyReport)) {
        self.parts.orders.note(self.order.number, note);
    }

    fn fault(
        &self,
        arc: RingArc,
        block: Option<&BlockEntry>,
        copies: Where,
        problem: impl Into<String>,
    ) {
        let fault = VerifyFault {
            arc,
            block: block.map(|entry| (entry.id, entry.range)),
            in_bucket: copies == Where::Bucket,
            problem: problem.into(),
        };
        self.parts.orders.fault(self.order.number, fault);
    }

    /// The partitions that this node holds, as who it is now.
    fn mine<'s>(
        &self,
        state: &'s ControlState,
    ) -> impl Iterator<Item = (RingArc, &'s Partition)> + use<'s> {
        let incarnation = self.parts.me;
        let life = state.members.get(&incarnation).map_or(0, |me| me.life);
        let me = MemberId { incarnation, life };
        let partitions = state.partitions.iter();
        let mine = partitions.filter(move |(_, partition)| partition.members.contains(&me));
        mine.map(|(arc, partition)| (*arc, partition.as_ref()))
    }

    /// How much there is to look at.
    fn bytes_of(&self, state: &ControlState) -> u64 {
        let parts = self.parts;
        let (mut here, mut there) = (BTreeSet::new(), BTreeSet::new());
        let mut bytes = 0u64;
        for (arc, partition) in self.mine(state) {
            let Ok(listed) = listed(&parts.manifests, arc, partition) else {
                continue;
            };
            let first = self.looks_there(state, (arc, partition));
            for entry in listed.entries() {
                let there = first && entry.uploaded != Uploaded::None && there.insert(entry.id);
                let here = here.insert(entry.id) && parts.store.keeps(entry.id);
                let copies = u64::from(here) + u64::from(there);
                bytes = bytes.saturating_add(entry.size.saturating_mul(copies));
            }
        }
        bytes
    }

    fn looks_there(&self, state: &ControlState, partition: (RingArc, &Partition)) -> bool {
        let has_bucket = self.parts.scrubber.has(Where::Bucket);
        has_bucket && is_first(state, partition, self.parts.me)
    }

    /// A partition as it is when its turn comes. One that has moved away or was split meanwhile is
    /// not covered, which whoever ordered sees.
    fn partition(&mut self, arc: RingArc) -> Result<(), CalledOff> {
        let parts = self.parts;
        let state = self.wait_until_applied(arc)?;
        let Some((_, partition)) = self.mine(&state).find(|(one, _)| *one == arc) else {
            return Ok(());
        };
        if !parts.store.has_applied(arc, partition.version) {
            let problem = format!(
                "its catalog is applied here up to version {} of {}",
                parts.store.applied_version(arc),
                partition.version
            );
            self.fault(arc, None, Where::Local, problem);
        }
        let listed = match listed(&parts.manifests, arc, partition) {
            Ok(listed) => listed,
            Err(error) => {
                self.fault(arc, None, Where::Local, error.to_string());
                return Ok(());
            }
        };
        let there = self.looks_there(&state, (arc, partition));
        for entry in listed.entries() {
            self.check()?;
            if self.seen_here.insert(entry.id) {
                self.here(arc, entry)?;
            }
            if there && self.seen_there.insert(entry.id) {
                self.there(arc, entry)?;
            }
        }
        let objects = there && !self.bucket_away;
        self.note(|report| report.covered.push((arc, objects)));
        Ok(())
    }

    fn wait_until_applied(&self, arc: RingArc) -> Result<Arc<ControlState>, CalledOff> {
        let parts = self.parts;
        let mut looks = 0;
        loop {
            self.check()?;
            let state = parts.control.state();
            let version = state.partition(arc).map(|partition| partition.version);
            let is_applied = version.is_none_or(|version| parts.store.has_applied(arc, version));
            if is_applied || looks >= LOOKS_MAX {
                return Ok(state);
            }
            looks += 1;
            self.wait()?;
        }
    }

    /// The copy on this node's disk.
    fn here(&mut self, arc: RingArc, entry: &BlockEntry) -> Result<(), CalledOff> {
        let parts = self.parts;
        let looker = parts.scrubber.looker();
        match looker.here(entry, &self.throttle, self.cancel) {
            Ok(Look::Good(bytes)) => {
                parts.metrics.read(bytes);
                self.note(|report| {
                    (report.bytes, report.blocks) = (report.bytes + bytes, report.blocks + 1)
                });
            }
            Ok(Look::Elsewhere) => self.elsewhere(arc, entry),
            Ok(Look::Bad(problem)) => {
                self.note(|report| report.bytes += entry.size);
                self.fault(arc, Some(entry), Where::Local, problem);
                parts.scrubber.suspect(Where::Local, (arc, entry.clone()));
            }
            Err(error) => self.failed(arc, entry, Where::Local, &error)?,
        }
        Ok(())
    }

    /// One that is not on this disk: it has left the catalog meanwhile, or this disk for the bucket,
    /// or it is missing.
    fn elsewhere(&self, arc: RingArc, entry: &BlockEntry) {
        let parts = self.parts;
        let named = parts.scrubber.looker().named(arc, entry.id);
        let Some(named) = named else {
            return;
        };
        if !parts.store.has_applied_block(arc, entry.id) {
            self.fault(arc, Some(entry), Where::Local, "it is not here");
        } else if named.uploaded == Uploaded::None {
            let problem = "it has left this disk, and the bucket is not known to have it";
            self.fault(arc, Some(entry), Where::Local, problem);
        } else {
            self.note(|report| report.elsewhere += 1);
        }
    }

    /// The copy in the bucket.
    fn there(&mut self, arc: RingArc, entry: &BlockEntry) -> Result<(), CalledOff> {
        let parts = self.parts;
        if entry.uploaded == Uploaded::None {
            self.note(|report| report.waiting += 1);
            return Ok(());
        }
        if self.bucket_away {
            return Ok(());
        }
        match self.look_there(arc, entry)? {
            Ok(Look::Good(bytes)) => {
                parts.metrics.read(bytes);
                self.note(|report| {
                    (report.bytes, report.objects) = (report.bytes + bytes, report.objects + 1)
                });
            }
            Ok(Look::Elsewhere) => {}
            Ok(Look::Bad(problem)) => {
                self.note(|report| report.bytes += entry.size);
                self.fault(arc, Some(entry), Where::Bucket, problem);
                parts.scrubber.suspect(Where::Bucket, (arc, entry.clone()));
            }
            Err(error) => {
                // It is the bucket, and not this object: all others would wait for nothing.
                self.bucket_away = true;
                self.failed(arc, entry, Where::Bucket, &error)?;
            }
        }
        Ok(())
    }

    /// A bucket that fails now and then is asked again.
    fn look_there(
        &self,
        arc: RingArc,
        entry: &BlockEntry,
    ) -> Result<Result<Look, Error>, CalledOff> {
        let looker = self.parts.scrubber.looker();
        let mut attempts = 1;
        loop {
            let look = looker.there(arc, entry, &self.throttle, self.cancel);
            if look.is_ok() || attempts >= ATTEMPTS {
                return Ok(look);
            }
            attempts += 1;
            self.wait()?;
        }
    }

    /// A copy that could not be looked at is not proven.
    fn failed(
        &self,
        arc: RingArc,
        entry: &BlockEntry,
        copies: Where,
        error: &Error,
    ) -> Result<(), CalledOff> {
        self.check()?;
        let problem = format!("it could not be looked at: {error}");
        self.fault(arc, Some(entry), copies, problem);
        Ok(())
    }
}
