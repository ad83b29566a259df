//! One attempt to get a batch to the members of its partitions, under one ring.
//!
//! Whoever hears from a member notes it here; whoever coordinates waits until every partition is
//! decided. What comes later than that is noted too, for the hints.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::batch::{NO_PART, RoutedBatch};
use super::error::WriteError;
use super::majority::{Said, Standing, Tally};
use super::routing::{Place, RoutingTable};
use crate::model::{Incarnation, RingArc};

/// A partition of an attempt.
#[derive(Debug)]
struct Part {
    /// Its position in the ring.
    at: usize,
    tally: Tally,
    /// Who failed, and how.
    failed: Vec<(u8, Said)>,
}

#[derive(Debug)]
struct Standings {
    parts: Vec<Part>,
    /// Parts that are still open.
    open: usize,
    /// Nobody waits any more.
    is_over: bool,
}

/// The attempt.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) table: Arc<RoutingTable>,
    /// Which part a partition of the ring is.
    numbers: Vec<u32>,
    ring_positions: Vec<usize>,
    standings: Mutex<Standings>,
    changed: Notify,
}

/// What one member has failed to take.
pub(super) type Missed = (Incarnation, RingArc);

impl Attempt {
    /// An attempt for a batch, whose floats are told their parts.
    ///
    /// # Errors
    /// When the ring has no partition for some of it.
    pub(super) fn new(
        table: Arc<RoutingTable>,
        batch: &mut RoutedBatch,
    ) -> Result<Self, WriteError> {
        let mut numbers = vec![NO_PART; table.partitions().len()];
        let mut ring_positions = Vec::new();
        let mut number_of = |place: Place| {
            let number = table
                .find(place)
                .and_then(|(at, _)| Some((at, numbers.get_mut(at)?)));
            let Some((at, number)) = number else {
                return Err(WriteError::Unavailable {
                    reason: "the ring has no partition for some of the series yet: try again in a moment".to_owned(),
                });
            };
            if *number == NO_PART {
                *number = u32::try_from(ring_positions.len()).unwrap_or(NO_PART);
                ring_positions.push(at);
            }
            Ok(*number)
        };
        for sample in &mut batch.floats {
            sample.part = if RoutedBatch::is_stale(sample.route) {
                NO_PART
            } else {
                number_of(sample.place)?
            };
        }
        for place in batch.other_places() {
            number_of(place)?;
        }
        let part = |at: &usize| {
            Some(Part {
                at: *at,
                tally: table.get(*at)?.tally,
                failed: Vec::new(),
            })
        };
        let parts: Vec<Part> = ring_positions.iter().filter_map(part).collect();
        Ok(Self {
            numbers,
            standings: Mutex::new(Standings {
                open: parts.len(),
                parts,
                is_over: false,
            }),
            ring_positions,
            table,
            changed: Notify::new(),
        })
    }

    /// The positions in the ring of the parts, in their order.
    pub(super) fn ring_positions(&self) -> &[usize] {
        &self.ring_positions
    }

    /// The part in which a place lies.
    #[inline]
    pub(super) fn part_of(&self, place: Place) -> Option<usize> {
        let (at, _) = self.table.find(place)?;
        let number = *self.numbers.get(at)?;
        (number != NO_PART).then_some(number as usize)
    }

    /// Notes what a member says of some parts. `true`: nobody waits any more, and members that
    /// failed are to be given hints by whoever noted it.
    pub(super) fn note(&self, said: impl Iterator<Item = (usize, u8, Said)>) -> bool {
        let mut standings = self.standings.lock();
        let Standings {
            parts,
            open,
            is_over,
        } = &mut *standings;
        for (number, bit, said) in said {
            let Some(part) = parts.get_mut(number) else {
                continue;
            };
            let was_open = part.tally.standing() == Standing::Open;
            part.tally.note(bit, said == Said::Appended);
            if said != Said::Appended {
                part.failed.push((bit, said));
            }
            if was_open && part.tally.standing() != Standing::Open {
                *open = open.saturating_sub(1);
            }
        }
        let is_over = *is_over;
        drop(standings);
        self.changed.notify_one();
        is_over
    }

    /// Waits until every part is decided, or one is short for good.
    pub(super) async fn decided(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_decided() {
                return;
            }
            changed.await;
        }
    }

    fn is_decided(&self) -> bool {
        let standings = self.standings.lock();
        standings.open == 0 || standings.parts.iter().any(Part::is_hopeless)
    }

    /// Ends the wait: the positions in the ring of parts that are not acknowledged, and whether
    /// another attempt may go better. Empty: everything is acknowledged.
    pub(super) fn end(&self) -> (BTreeSet<usize>, bool) {
        let mut standings = self.standings.lock();
        standings.is_over = true;
        let parts = standings.parts.iter();
        let short: Vec<&Part> = parts
            .filter(|part| part.tally.standing() != Standing::Acknowledged)
            .collect();
        let is_hopeless = short.iter().any(|part| part.is_hopeless());
        (short.iter().map(|part| part.at).collect(), !is_hopeless)
    }

    /// What members have failed to take so far.
    pub(super) fn missed(&self) -> Vec<Missed> {
        let standings = self.standings.lock();
        let mut all = Vec::new();
        for part in &standings.parts {
            let Some(partition) = self.table.get(part.at) else {
                continue;
            };
            let members = part.failed.iter().filter(|(_, said)| deserves_hint(*said));
            let members = members.filter_map(|(bit, _)| partition.members.get(usize::from(*bit)));
            all.extend(members.map(|member| (member.incarnation, partition.arc)));
        }
        all
    }

    /// Which partitions are short of what, for people.
    pub(super) fn reason(&self) -> String {
        const SHOWN_MAX: usize = 3;
        let standings = self.standings.lock();
        let parts = standings.parts.iter();
        let short: Vec<&Part> = parts
            .filter(|part| part.tally.standing() != Standing::Acknowledged)
            .collect();
        let mut text = format!(
            "no majority has taken the samples of {} of {} partitions",
            short.len(),
            standings.parts.len()
        );
        for part in short.iter().take(SHOWN_MAX) {
            let Some(partition) = self.table.get(part.at) else {
                continue;
            };
            text.push_str(&format!("; {}", partition.arc));
            for (bit, said) in &part.failed {
                if let Some(member) = partition.members.get(usize::from(*bit)) {
                    text.push_str(&format!(": node {} {said}", member.incarnation));
                }
            }
            if part.failed.is_empty() {
                text.push_str(": nobody has answered in time");
            }
        }
        if short.len() > SHOWN_MAX {
            text.push_str("; and others");
        }
        text.push_str(": try again later");
        text
    }
}

/// Whether a member that said this may have missed something that it should have.
pub(super) const fn deserves_hint(said: Said) -> bool {
    !matches!(said, Said::Appended | Said::WrongEpoch(_) | Said::Garbled)
}

impl Part {
    /// It is short, and nobody who failed may do better soon.
    fn is_hopeless(&self) -> bool {
        self.tally.standing() == Standing::Short
            && !self.failed.iter().any(|(_, said)| said.may_change_soon())
    }
}
