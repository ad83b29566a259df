//! How many series have which labels, over the cluster: heads of all partitions, each partition's
//! series counted by one of its members.
//!
//! Numbers for a person who wonders where all the series come from: what only the others of a
//! partition have heard of by now is not among them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::core::{Core, lacking};
use super::link::{Opened, Parts};
use super::messages::{NamesKind, NamesRequest, State, wire};
use super::metrics::Completion;
use super::round::{Asks, Round};
use super::view::{Names, member_of};
use crate::cluster::peer::Method;
use crate::model::{Incarnation, RingArc, TenantId, TimeRange};
use crate::runtime::Reservation;
use crate::source::{LabelPairs, ReadContext, Selection, SourceError};

/// What a pair is charged for besides its texts.
const PAIR_BYTES: u64 = 96;

/// One such question.
pub(super) struct Counting<'a> {
    core: &'a Core,
    context: &'a ReadContext,
    selection: Selection,
    found: LabelPairs,
    held: Reservation,
    trouble: BTreeMap<Incarnation, String>,
}

impl<'a> Counting<'a> {
    pub(super) fn new(
        core: &'a Core,
        tenant: &TenantId,
        context: &'a ReadContext,
    ) -> Result<Self, SourceError> {
        Ok(Self {
            core,
            context,
            selection: Selection {
                tenant: tenant.clone(),
                matchers: Vec::new(),
                range: TimeRange::ALL,
            },
            found: LabelPairs::default(),
            held: context.budget.reserve(0, 0)?,
            trouble: BTreeMap::new(),
        })
    }

    pub(super) fn run(mut self) -> Result<LabelPairs, SourceError> {
        let mut left: Option<BTreeSet<RingArc>> = None;
        for number in 0..self.core.settings.rounds_max {
            let ring = self.core.holder.control.state();
            let round = Round::new(number, ring, left.as_ref())?;
            self.trouble.clear();
            let mut short: BTreeSet<RingArc> = round.reads.keys().copied().collect();
            for arc in self.ask(&round)? {
                short.remove(&arc);
            }
            if short.is_empty() {
                return Ok(self.found);
            }
            if number + 1 == self.core.settings.rounds_max {
                let (core, ring) = (self.core, &round.ring);
                core.metrics.partitions(Completion::Short, short.len());
                let error = core.short(ring, &round.reads, &short, &self.trouble);
                let Some(partial) = &self.context.partial else {
                    return Err(error);
                };
                partial.lacks(lacking(&error));
                return Ok(self.found);
            }
            self.core.rest(number, &round.reads, self.context)?;
            left = Some(short);
        }
        Ok(self.found)
    }

    /// Asks one member of each partition, and returns the partitions whose series were counted.
    fn ask(&mut self, round: &Round) -> Result<Vec<RingArc>, SourceError> {
        let core = self.core;
        let mut asks = Asks::new();
        for arc in round.reads.keys() {
            if let Some(member) = round.best(core, *arc, &asks) {
                asks.entry(member).or_default().push(round.asked(*arc));
            }
        }
        let me = member_of(&round.ring, core.holder.me);
        let mut counted = Vec::new();
        let mut bodies = Vec::new();
        for (member, partitions) in asks {
            let request = NamesRequest {
                kind: NamesKind::LabelPairs,
                selection: self.selection.clone(),
                partitions,
                limit: 0,
            };
            if member == me {
                let (state, found) = core.holder.names(&request, self.context)?;
                if let Names::LabelPairs(found) = found {
                    counted.extend(self.add(round, &state, found)?);
                }
            } else {
                bodies.push((member.incarnation, request.encode()));
            }
        }
        let silence = core.settings.silence_max;
        let mut opening = core.link.open(bodies, Method::Names, None, silence);
        while let Some((peer, opened)) = opening.next(&self.context.cancel)? {
            let taken = match opened {
                Ok(opened) => self.take(peer, opened, round),
                Err(error) => Err(SourceError::Unavailable(error.to_string())),
            };
            match taken {
                Err(SourceError::Unavailable(what)) => {
                    core.book.failed(peer, core.clock.elapsed());
                    self.trouble.insert(peer, what);
                }
                other => counted.extend(other?),
            }
        }
        Ok(counted)
    }

    /// Takes a peer's answer once all of it has come.
    fn take(
        &mut self,
        peer: Incarnation,
        opened: Opened,
        round: &Round,
    ) -> Result<Vec<RingArc>, SourceError> {
        let silence = self.core.settings.silence_max;
        let mut parts = Parts::new(&self.core.link, peer, opened.messages, silence);
        let mut found = LabelPairs::default();
        while let Some(part) = parts.next(&self.context.cancel)? {
            for wire::LabelPair {
                name,
                value,
                series,
            } in part.pairs
            {
                found.add(&Arc::from(name), &Arc::from(value), series);
            }
            found.series = part.end.map_or(found.series, |end| end.count);
        }
        self.add(round, &opened.state, found)
    }

    /// Adds the numbers of an answer, if it speaks of all that it was asked for: they cannot be told
    /// apart by partition.
    fn add(
        &mut self,
        round: &Round,
        state: &State,
        found: LabelPairs,
    ) -> Result<Vec<RingArc>, SourceError> {
        let arcs: Vec<RingArc> = state.partitions.keys().copied().collect();
        if !arcs.iter().all(|arc| state.answers(&round.asked(*arc))) {
            return Ok(Vec::new());
        }
        self.found.series += found.series;
        for ((name, value), series) in found.pairs {
            let known = self.found.pairs.len();
            let text = (name.len() + value.len()) as u64;
            self.found.add(&name, &value, series);
            if self.found.pairs.len() > known {
                self.held.grow(PAIR_BYTES + text, 0)?;
            }
        }
        Ok(arcs)
    }
}
