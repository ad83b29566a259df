//! What has no samples, over the cluster: series, names, values, metadata, exemplars.
//!
//! A majority of every partition's members answers with all that it holds, head and blocks, and
//! the answers are united: whoever acknowledged a sample is among them. No versions are compared,
//! because each answer is complete in itself.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::answers::{take_exemplars, take_family};
use super::batch::take_batch;
use super::core::{Core, lacking};
use super::leaves::Leaves;
use super::link::{Opened, Parts};
use super::messages::{Asked, NamesKind, NamesRequest, State, wire};
use super::metrics::Completion;
use super::protocol::PartitionRead;
use super::view::{Names, member_of};
use crate::cluster::control::{ControlState, MemberId};
use crate::cluster::peer::Method;
use crate::cluster::quorum::Sets;
use crate::model::{Exemplar, Incarnation, LabelSet, Metadata, RingArc};
use crate::runtime::Reservation;
use crate::source::{FamilyMetadata, ReadContext, Selection, SeriesExemplars, SourceError};

/// The newest few of a family's metadata that are shown, as the store does.
const METADATA_SHOWN: usize = 8;
/// What an entry is charged for besides its text.
const ENTRY_BYTES: usize = 64;

/// The union of answers.
enum United {
    Series(BTreeSet<LabelSet>),
    Texts(BTreeSet<String>),
    Metadata(BTreeMap<String, Vec<Metadata>>),
    Exemplars(BTreeMap<LabelSet, Vec<Exemplar>>),
}

/// One such question to the cluster.
pub(super) struct Gathering<'a> {
    core: &'a Core,
    context: &'a ReadContext,
    request: NamesRequest,
    united: United,
    held: Reservation,
    trouble: BTreeMap<Incarnation, String>,
}

impl<'a> Gathering<'a> {
    pub(super) fn new(
        core: &'a Core,
        kind: NamesKind,
        selection: &Selection,
        limit: usize,
        context: &'a ReadContext,
    ) -> Result<Self, SourceError> {
        let united = match &kind {
            NamesKind::Series => United::Series(BTreeSet::new()),
            NamesKind::LabelNames | NamesKind::LabelValues(_) => United::Texts(BTreeSet::new()),
            NamesKind::Metadata(_) => United::Metadata(BTreeMap::new()),
            NamesKind::Exemplars => United::Exemplars(BTreeMap::new()),
            // `counting.rs` asks that: numbers are not united.
            NamesKind::LabelPairs => United::Texts(BTreeSet::new()),
        };
        Ok(Self {
            core,
            context,
            request: NamesRequest {
                kind,
                selection: selection.clone(),
                partitions: Vec::new(),
                limit,
            },
            united,
            held: context.budget.reserve(0, 0)?,
            trouble: BTreeMap::new(),
        })
    }

    pub(super) fn run(mut self) -> Result<Names, SourceError> {
        let rounds_max = self.core.settings.rounds_max;
        for number in 0..rounds_max {
            let ring = self.core.holder.control.state();
            if ring.partitions.is_empty() {
                break;
            }
            let partitions = ring.partitions.iter();
            let mut reads: BTreeMap<RingArc, PartitionRead> = partitions
                .map(|(arc, found)| (*arc, PartitionRead::new(found.epoch, Sets::of(found))))
                .collect();
            self.trouble.clear();
            self.ask(number, &ring, &mut reads)?;
            let short = reads.iter().filter(|(_, read)| !read.has_majority());
            let short: BTreeSet<RingArc> = short.map(|(arc, _)| *arc).collect();
            if short.is_empty() {
                return Ok(self.united.finish(self.request.limit));
            }
            if let Some(partial) = self.context.partial.as_ref().filter(|_| number > 0) {
                self.core.metrics.partitions(Completion::Short, short.len());
                let error = self.core.short(&ring, &reads, &short, &self.trouble);
                partial.lacks(lacking(&error));
                return Ok(self.united.finish(self.request.limit));
            }
            if number + 1 == rounds_max {
                self.core.metrics.partitions(Completion::Short, short.len());
                return Err(self.core.short(&ring, &reads, &short, &self.trouble));
            }
            self.core.metrics.partitions(Completion::Again, short.len());
            self.core.rest(number, &reads, self.context)?;
        }
        Err(SourceError::Unavailable(
            "this node knows no ring yet: try again in a moment".to_owned(),
        ))
    }

    /// Asks a majority of each partition's members; everyone when somebody failed before.
    fn ask(
        &mut self,
        number: u32,
        ring: &ControlState,
        reads: &mut BTreeMap<RingArc, PartitionRead>,
    ) -> Result<(), SourceError> {
        let me = member_of(ring, self.core.holder.me);
        let mut asks: BTreeMap<MemberId, Vec<Asked>> = BTreeMap::new();
        for (arc, read) in reads.iter() {
            let first = self.core.asked_first(ring, (*arc, read), number, &asks);
            for member in first {
                asks.entry(member).or_default().push(Asked {
                    arc: *arc,
                    epoch: read.epoch(),
                    leaves: Leaves::new(),
                });
            }
        }
        let own = asks.remove(&me);
        let mut bodies: Vec<(Incarnation, Bytes)> = Vec::new();
        for (member, partitions) in asks {
            let request = NamesRequest {
                partitions,
                ..self.request.clone()
            };
            bodies.push((member.incarnation, request.encode()));
        }
        let (link, silence) = (&self.core.link, self.core.settings.silence_max);
        let mut opening = link.open(bodies, Method::Names, None, silence);
        if let Some(partitions) = own {
            self.own(partitions, reads)?;
        }
        while let Some((peer, opened)) = opening.next(&self.context.cancel)? {
            let taken = match opened {
                Ok(opened) => self.take(peer, opened, reads),
                Err(error) => Err(SourceError::Unavailable(error.to_string())),
            };
            match taken {
                Err(SourceError::Unavailable(what)) => {
                    self.core.book.failed(peer, self.core.clock.elapsed());
                    self.trouble.insert(peer, what);
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// This node's own answer.
    fn own(
        &mut self,
        partitions: Vec<Asked>,
        reads: &mut BTreeMap<RingArc, PartitionRead>,
    ) -> Result<(), SourceError> {
        let request = NamesRequest {
            partitions,
            ..self.request.clone()
        };
        let (state, found) = self.core.holder.names(&request, self.context)?;
        let bytes = self.united.add(found);
        self.held.grow(bytes, 0)?;
        counts(&state, reads);
        Ok(())
    }

    fn take(
        &mut self,
        peer: Incarnation,
        opened: Opened,
        reads: &mut BTreeMap<RingArc, PartitionRead>,
    ) -> Result<(), SourceError> {
        let silence = self.core.settings.silence_max;
        let mut parts = Parts::new(&self.core.link, peer, opened.messages, silence);
        while let Some(part) = parts.next(&self.context.cancel)? {
            let found = self.part(&part, &parts)?;
            let bytes = self.united.add(found);
            self.held.grow(bytes, 0)?;
        }
        // It counts only now, when all of it has come.
        self.core.book.gave_data(peer);
        counts(&opened.state, reads);
        Ok(())
    }

    fn part(&self, part: &wire::Part, parts: &Parts) -> Result<Names, SourceError> {
        Ok(match &self.united {
            United::Series(_) => {
                let batch = part.batch.clone().unwrap_or_default();
                let pieces = take_batch(&batch).map_err(|error| parts.unreadable(&error))?;
                Names::Series(
                    pieces
                        .into_iter()
                        .filter_map(|piece| piece.labels)
                        .collect(),
                )
            }
            United::Texts(_) => Names::Texts(part.texts.clone()),
            United::Metadata(_) => {
                Names::Metadata(part.families.iter().cloned().map(take_family).collect())
            }
            United::Exemplars(_) => {
                let series = part.exemplars.iter().map(take_exemplars);
                let series = series.collect::<Result<_, _>>();
                Names::Exemplars(series.map_err(|error| parts.unreadable(&error))?)
            }
        })
    }
}

/// Counts an answer for the partitions that it is one for.
fn counts(state: &State, reads: &mut BTreeMap<RingArc, PartitionRead>) {
    for (arc, answer) in &state.partitions {
        if let Some(read) = reads.get_mut(arc) {
            let answer = answer.clone().under(read.epoch());
            read.answered(state.member, answer);
        }
    }
}

impl United {
    /// Adds an answer; returns how many bytes are held for it more.
    fn add(&mut self, found: Names) -> u64 {
        let bytes: usize = match (self, found) {
            (Self::Series(all), Names::Series(found)) => {
                let new = |labels: LabelSet| {
                    let bytes = labels.text_len() + ENTRY_BYTES;
                    if all.insert(labels) { bytes } else { 0 }
                };
                found.into_iter().map(new).sum()
            }
            (Self::Texts(all), Names::Texts(found)) => {
                let new = |text: String| {
                    let bytes = text.len() + ENTRY_BYTES;
                    if all.insert(text) { bytes } else { 0 }
                };
                found.into_iter().map(new).sum()
            }
            (Self::Metadata(all), Names::Metadata(found)) => {
                let family = |(family, list): FamilyMetadata| {
                    add_metadata(all.entry(family).or_default(), list)
                };
                found.into_iter().map(family).sum()
            }
            (Self::Exemplars(all), Names::Exemplars(found)) => {
                let series = |(labels, list): SeriesExemplars| {
                    add_exemplars(all.entry(labels).or_default(), list)
                };
                found.into_iter().map(series).sum()
            }
            // What came was read as what was asked for.
            _ => 0,
        };
        bytes as u64
    }

    fn finish(self, limit: usize) -> Names {
        let limit = if limit == 0 { usize::MAX } else { limit };
        match self {
            Self::Series(all) => Names::Series(all.into_iter().take(limit).collect()),
            Self::Texts(all) => Names::Texts(all.into_iter().take(limit).collect()),
            Self::Metadata(all) => Names::Metadata(all.into_iter().collect()),
            Self::Exemplars(all) => {
                let sorted = all.into_iter().map(|(labels, mut list)| {
                    list.sort_by_key(|one| one.timestamp);
                    (labels, list)
                });
                Names::Exemplars(sorted.collect())
            }
        }
    }
}

/// The newest few, as the first to answer has them, then what others have beyond.
fn add_metadata(known: &mut Vec<Metadata>, list: Vec<Metadata>) -> usize {
    let mut bytes = 0;
    for one in list {
        if known.len() < METADATA_SHOWN && !known.contains(&one) {
            bytes += one.help.len() + one.unit.len() + ENTRY_BYTES;
            known.push(one);
        }
    }
    bytes
}

fn add_exemplars(known: &mut Vec<Exemplar>, list: Vec<Exemplar>) -> usize {
    let mut bytes = 0;
    for one in list {
        if !known.contains(&one) {
            bytes += one.labels.text_len() + ENTRY_BYTES;
            known.push(one);
        }
    }
    bytes
}
