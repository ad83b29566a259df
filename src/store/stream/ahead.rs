//! What the next reads need of blocks that are elsewhere, planned in groups and fetched ahead of them.

use std::sync::Arc;

use super::{Stream, reopen};
use crate::source::SourceError;
use crate::store::block::Ordinal;
use crate::store::tier::{Failures, Held, Pending};

/// What is fetched at a time of blocks that are elsewhere, about; of streams that several threads read, each.
pub(super) const AHEAD_BYTES: u64 = 4 << 20;
pub(super) const AHEAD_BYTES_APART: u64 = 1 << 20;
/// Batches that are planned at most, however little they need.
const AHEAD_BATCHES: usize = 64;

/// What some reads of parts elsewhere need, on its way or here.
pub(super) struct Group {
    /// Reads that are still to be made.
    left: usize,
    pending: Option<Pending>,
    held: Option<Held>,
    failures: Failures,
}

impl Stream {
    /// Before the next part that is elsewhere is read: waits for what it needs, and lets what comes
    /// after it be fetched meanwhile. Gives the blocks that cannot be read, and why.
    pub(super) fn fetch_ahead(&mut self) -> Result<&mut Failures, SourceError> {
        if self.groups.front().is_some_and(|group| group.left == 0) {
            self.groups.pop_front();
        }
        if self.groups.is_empty() {
            self.plan_group()?;
        }
        let pending = self
            .groups
            .front_mut()
            .and_then(|group| group.pending.take());
        if let Some(pending) = pending {
            let (held, failures) = self.reading.finish(pending)?;
            if let Some(group) = self.groups.front_mut() {
                group.held = Some(held);
                group.failures = failures;
            }
            self.plan_group()?;
        } else if self.groups.len() < 2 {
            self.plan_group()?;
        }
        let lost = || SourceError::Unavailable("a read was not planned".to_owned());
        let group = self.groups.front_mut().ok_or_else(lost)?;
        group.left = group.left.saturating_sub(1);
        Ok(&mut group.failures)
    }

    /// Plans the next reads of parts elsewhere, and begins to fetch what they need.
    fn plan_group(&mut self) -> Result<(), SourceError> {
        let mut left = 0;
        while self.reading.wanted_bytes() < self.ahead_bytes {
            let (at, part) = self.planned;
            if at >= self.batches.len() && (at >= AHEAD_BATCHES || !self.add_batch()) {
                break;
            }
            let Some(batch) = self.batches.get(at).map(Arc::clone) else {
                break;
            };
            let Some((number, places)) = batch.parts.get(part) else {
                self.planned = (at + 1, 0);
                continue;
            };
            self.planned = (at, part + 1);
            left += usize::from(self.plan_part(*number, places));
        }
        if left > 0 {
            let pending = self.reading.start()?;
            self.groups.push_back(Group {
                left,
                pending,
                held: None,
                failures: Failures::new(),
            });
        }
        Ok(())
    }

    /// Notes what a part needs. `false`: it is here.
    fn plan_part(&mut self, number: u32, places: &[(Ordinal, usize)]) -> bool {
        let Some(part) = self.parts.get_mut(number as usize) else {
            return false;
        };
        if part.seen.block.is_here() {
            return false;
        }
        let ordinals: Vec<Ordinal> = places.iter().map(|(ordinal, _)| *ordinal).collect();
        let (reading, tenant) = (&self.reading, &self.tenant);
        // What is not known yet is fetched when it is read.
        let _ = reading.planning(|| match &mut part.reader {
            Some(data) => data.will_read(&ordinals),
            None => reopen(&part.seen, reading, tenant)?.will_read(&ordinals),
        });
        true
    }
}
