//! One select over the cluster: asks members what they hold, takes the data of each partition
//! from one view, and fetches from other heads what that view may lack; anew for the partitions
//! where a member failed, a block was committed or the ring has changed meanwhile.
//!
//! Which answers count and what is complete is decided in `protocol.rs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::core::{Core, lacking};
use super::leaves::{Leaves, count};
use super::link::{Opened, Parts, RemoteSeries};
use super::merge::{Beyond, Merged};
use super::messages::{Asked, SelectRequest, StateRequest};
use super::metrics::Completion;
use super::protocol::{HeldHere, PartitionRead};
use super::resume::{Again, Resuming};
use super::round::{Asks, Group, Round, judge, unfit};
use super::view::member_of;
use crate::cluster::control::MemberId;
use crate::cluster::peer::Method;
use crate::model::{Incarnation, RingArc};
use crate::source::{Moments, ReadContext, Selection, SeriesStream, Source, SourceError};

/// A select that is being put together.
pub(super) struct Assembly<'a> {
    core: &'a Arc<Core>,
    selection: &'a Selection,
    /// Only the newest samples at these moments are looked at.
    newest: Option<Moments>,
    context: &'a ReadContext,
    streams: VecDeque<Box<dyn SeriesStream>>,
    beyond: Beyond,
    /// What was wrong with whom in the last round.
    trouble: BTreeMap<Incarnation, String>,
    /// How often a stream that breaks off may go on elsewhere.
    resumes_left: u32,
}

/// A stream that breaks off goes on elsewhere so often: more nodes do not die in one query.
const RESUMES_MAX: u32 = 2;

impl<'a> Assembly<'a> {
    pub(super) fn new(
        core: &'a Arc<Core>,
        selection: &'a Selection,
        context: &'a ReadContext,
    ) -> Self {
        Self {
            core,
            selection,
            newest: None,
            context,
            streams: VecDeque::new(),
            beyond: Beyond::default(),
            trouble: BTreeMap::new(),
            resumes_left: RESUMES_MAX,
        }
    }

    /// For a reader who looks only at the newest samples at some moments.
    pub(super) fn newest(mut self, moments: Option<Moments>) -> Self {
        self.newest = moments;
        self
    }

    /// All partitions, or some.
    pub(super) fn run(
        mut self,
        mut left: Option<BTreeSet<RingArc>>,
    ) -> Result<Box<dyn SeriesStream>, SourceError> {
        for number in 0..self.core.settings.rounds_max {
            let ring = self.core.holder.control.state();
            let mut round = Round::new(number, ring, left.as_ref())?;
            self.trouble.clear();
            self.ask(&mut round)?;
            self.make_do(&mut round);
            self.refine(&mut round)?;
            let again = self.collect(&mut round)?;
            if again.is_empty() {
                return Ok(Box::new(Merged::new(self.streams, self.beyond)));
            }
            let metrics = &self.core.metrics;
            if number + 1 == self.core.settings.rounds_max {
                metrics.partitions(Completion::Short, again.len());
                let core = self.core;
                let short = core.short(&round.ring, &round.reads, &again, &self.trouble);
                let Some(partial) = &self.context.partial else {
                    return Err(short);
                };
                partial.lacks(lacking(&short));
                return Ok(Box::new(Merged::new(self.streams, self.beyond)));
            }
            metrics.partitions(Completion::Again, again.len());
            self.core.rest(number, &round.reads, self.context)?;
            left = Some(again);
        }
        Err(SourceError::Unavailable("no read was attempted".to_owned()))
    }

    /// Asks members what they hold, until enough have answered of every partition: as many as are
    /// needed, and the others when one of these fails or takes its time.
    fn ask(&mut self, round: &mut Round) -> Result<(), SourceError> {
        let core = self.core;
        let mut asked = round.asked_first(core);
        let own = asked.get(&member_of(&round.ring, core.holder.me)).cloned();
        let (silence, hedge) = (core.settings.silence_max, core.settings.state_hedge_after);
        let asks = self.state_requests(&asked, true);
        let mut asking = core
            .link
            .open(asks, Method::ReadState, Some(hedge), silence);
        if let Some(own) = own {
            let mut viewed = core.holder.view(&own)?;
            viewed.sum_up(&own, true, self.selection, &core.summing(self.context))?;
            round.answered(&viewed.state);
            round.local = Some(viewed);
        }
        let (mut is_enough, mut is_wide) = (false, false);
        let mut answered = BTreeSet::new();
        loop {
            if !is_enough && round.reads.values().all(PartitionRead::has_majority) {
                is_enough = true;
                // Where something went wrong before, whoever else answers is a choice more.
                asking.hurry(match round.number {
                    0 => Duration::ZERO,
                    number => core.settings.hedge_after.saturating_mul(1 << number.min(6)),
                });
            }
            let is_late = match asking.next(&self.context.cancel)? {
                Some((peer, answer)) => {
                    answered.insert(peer);
                    match answer {
                        Ok(said) => {
                            round.answered(&said.state);
                            false
                        }
                        Err(error) => {
                            self.is_wrong(peer, &error);
                            true
                        }
                    }
                }
                None if is_wide || is_enough => break,
                None => true,
            };
            if is_late && !is_wide && !is_enough {
                is_wide = true;
                let more = round.asked_besides(core, &asked);
                let asks = self.state_requests(&more, true);
                core.link
                    .open_more(&mut asking, asks, Method::ReadState, None, silence);
                for (member, partitions) in more {
                    asked.entry(member).or_default().extend(partitions);
                }
            }
        }
        if is_wide {
            let silent = asked.keys().map(|member| member.incarnation);
            for peer in silent.filter(|peer| *peer != core.holder.me && !answered.contains(peer)) {
                core.metrics.silent();
                core.book.failed(peer, core.clock.elapsed());
            }
        }
        Ok(())
    }

    /// Where an answer may be partial and a second attempt found no majority, whoever has answered
    /// will do.
    fn make_do(&mut self, round: &mut Round) {
        let Some(partial) = self.context.partial.as_ref().filter(|_| round.number > 0) else {
            return;
        };
        let short = round.reads.iter().filter(|(_, read)| !read.has_majority());
        let short: BTreeSet<RingArc> = short.map(|(arc, _)| *arc).collect();
        if short.is_empty() {
            return;
        }
        let core = self.core;
        let error = core.short(&round.ring, &round.reads, &short, &self.trouble);
        core.metrics.partitions(Completion::Short, short.len());
        partial.lacks(lacking(&error));
        round.make_do();
    }

    /// What peers are asked for their states; this node is none.
    fn state_requests(&self, asks: &Asks, encoded: bool) -> Vec<(Incarnation, Bytes)> {
        let mut by_peer: BTreeMap<Incarnation, Vec<Asked>> = BTreeMap::new();
        let me = self.core.holder.me;
        for (member, partitions) in asks.iter().filter(|(member, _)| member.incarnation != me) {
            // Two lives of one node are asked once.
            let known = by_peer.entry(member.incarnation).or_default();
            for one in partitions {
                if !known.iter().any(|other| other.arc == one.arc) {
                    known.push(one.clone());
                }
            }
        }
        let request = |(peer, partitions)| {
            let request = StateRequest {
                partitions,
                selection: self.selection.clone(),
                encoded,
            };
            (peer, request.encode())
        };
        by_peer.into_iter().map(request).collect()
    }

    /// Asks those that are compared for sums of samples, where the sums over encoded series differ.
    fn refine(&mut self, round: &mut Round) -> Result<(), SourceError> {
        let core = self.core;
        let asks = round.refine(core);
        if asks.is_empty() {
            return Ok(());
        }
        core.metrics.refined(asks.values().map(Vec::len).sum());
        let own = asks.get(&member_of(&round.ring, core.holder.me));
        let requests = self.state_requests(&asks, false);
        let silence = core.settings.silence_max;
        let mut asking = core.link.open(requests, Method::ReadState, None, silence);
        if let (Some(own), Some(mut local)) = (own, round.local.take()) {
            local.sum_up(own, false, self.selection, &core.summing(self.context))?;
            round.answered(&local.state);
            round.local = Some(local);
        }
        while let Some((peer, answer)) = asking.next(&self.context.cancel)? {
            match answer {
                Ok(said) => round.answered(&said.state),
                Err(error) => self.is_wrong(peer, &error),
            }
        }
        Ok(())
    }

    fn is_wrong(&mut self, peer: Incarnation, what: &dyn std::fmt::Display) {
        self.core.book.failed(peer, self.core.clock.elapsed());
        self.trouble.insert(peer, what.to_string());
    }

    /// Opens the data and fetches what they lack. Returns the partitions to be read again.
    fn collect(&mut self, round: &mut Round) -> Result<BTreeSet<RingArc>, SourceError> {
        let (groups, mut again) = round.groups(self.core);
        let groups = self.open(round, groups, &mut again)?;
        let groups = judge(round, groups, &mut again);
        let failed = self.fetch(round, &groups)?;
        if self.newest.is_some() && self.beyond.has_histograms() {
            // They say something about their neighbours, of which these views left some out.
            self.newest = None;
            again.extend(groups.into_iter().flat_map(|group| group.data.into_keys()));
            return Ok(again);
        }
        for group in groups {
            if group.data.keys().any(|arc| failed.contains(arc)) {
                again.extend(group.data.into_keys());
                continue;
            }
            again.extend(self.settle(round, group)?);
        }
        Ok(again)
    }

    /// Opens the streams of data of all peers at once.
    fn open(
        &mut self,
        round: &Round,
        groups: Vec<Group>,
        again: &mut BTreeSet<RingArc>,
    ) -> Result<Vec<Group>, SourceError> {
        let (mut ready, mut waiting) = (Vec::new(), BTreeMap::new());
        for mut group in groups {
            match &round.local {
                Some(local) if group.from == local.state.member => {
                    if group.saw(round, &local.state) {
                        ready.push(group);
                    } else {
                        again.extend(group.choices.into_keys());
                    }
                }
                _ => {
                    waiting.insert(group.from.incarnation, group);
                }
            }
        }
        let asks = waiting.iter().map(|(peer, group)| {
            let partitions = group.choices.keys().map(|arc| round.asked(*arc)).collect();
            (*peer, self.request(partitions, false))
        });
        let asks: Vec<(Incarnation, Bytes)> = asks.collect();
        let mut opening = self.open_streams(round, asks);
        while let Some((peer, opened)) = opening.next(&self.context.cancel)? {
            let Some(mut group) = waiting.remove(&peer) else {
                continue;
            };
            match opened {
                Ok(opened) if opened.state.member == group.from => {
                    self.core.book.gave_data(peer);
                    if group.saw(round, &opened.state) {
                        group.opened = Some(opened);
                        ready.push(group);
                        continue;
                    }
                }
                Ok(_) => self.is_wrong(peer, &"it says that it is another"),
                Err(error) => self.is_wrong(peer, &error),
            }
            again.extend(group.choices.into_keys());
        }
        // Who is silent is left for another.
        for (peer, group) in waiting {
            self.core.metrics.silent();
            self.is_wrong(peer, &"it was silent when it was asked for data");
            again.extend(group.choices.into_keys());
        }
        Ok(ready)
    }

    fn request(&self, partitions: Vec<Asked>, heads_only: bool) -> Bytes {
        let request = SelectRequest {
            selection: self.selection.clone(),
            partitions,
            heads_only,
            partial: self.context.partial.is_some(),
            newest: self.newest.filter(|_| !heads_only),
        };
        request.encode()
    }

    fn open_streams(&self, round: &Round, asks: Vec<(Incarnation, Bytes)>) -> super::link::Asking {
        let settings = &self.core.settings;
        let patience = settings
            .hedge_after
            .saturating_mul(1 << round.number.min(6));
        let link = &self.core.link;
        link.open(asks, Method::Select, Some(patience), settings.silence_max)
    }

    /// Fetches from other heads what the views may lack. Returns the partitions for which that
    /// did not go well.
    fn fetch(&mut self, round: &Round, groups: &[Group]) -> Result<BTreeSet<RingArc>, SourceError> {
        let mut failed = BTreeSet::new();
        let mut wanted: BTreeMap<MemberId, BTreeMap<RingArc, Leaves>> = BTreeMap::new();
        let mut data: BTreeMap<RingArc, &HeldHere> = BTreeMap::new();
        for group in groups {
            data.extend(group.data.iter().map(|(arc, held)| (*arc, held)));
            for (member, leaves) in &group.fetch {
                let arcs = wanted.entry(*member).or_default();
                arcs.extend(leaves.iter().map(|(arc, leaves)| (*arc, leaves.clone())));
            }
        }
        let leaves = wanted.values().flat_map(BTreeMap::values);
        self.core.metrics.leaves(leaves.map(count).sum());
        if let Some(local) = &round.local
            && let Some(leaves) = wanted.remove(&local.state.member)
        {
            // Its version is the one that was judged: it is the same view.
            let mut stream = local.select_leaves(&leaves, self.selection, self.context)?;
            self.beyond.take(stream.as_mut(), self.context)?;
        }
        let asks = wanted.iter().map(|(member, arcs)| {
            let asked = arcs.iter().map(|(arc, leaves)| Asked {
                leaves: leaves.clone(),
                ..round.asked(*arc)
            });
            (member.incarnation, self.request(asked.collect(), true))
        });
        let asks: Vec<(Incarnation, Bytes)> = asks.collect();
        let mut silent: BTreeMap<Incarnation, MemberId> = BTreeMap::new();
        silent.extend(wanted.keys().map(|member| (member.incarnation, *member)));
        let mut opening = self.open_streams(round, asks);
        while let Some((peer, opened)) = opening.next(&self.context.cancel)? {
            let Some(member) = silent.remove(&peer) else {
                continue;
            };
            let arcs = wanted.get(&member).map(|arcs| arcs.keys().copied());
            let arcs: Vec<RingArc> = arcs.into_iter().flatten().collect();
            let taken = match opened {
                Ok(opened) => {
                    failed.extend(unfit(round, &opened.state, member, &arcs, &data));
                    self.take(peer, opened)
                }
                Err(error) => Err(SourceError::Unavailable(error.to_string())),
            };
            match taken {
                Err(SourceError::Unavailable(error)) => {
                    self.is_wrong(peer, &error);
                    failed.extend(arcs);
                }
                other => other?,
            }
        }
        for (peer, member) in silent {
            self.core.metrics.silent();
            self.is_wrong(peer, &"it was silent when it was asked for its head");
            failed.extend(wanted.get(&member).into_iter().flat_map(BTreeMap::keys));
        }
        Ok(failed)
    }

    /// Takes all that a peer's head sends. What came before it breaks off is real content, too.
    fn take(&mut self, peer: Incarnation, opened: Opened) -> Result<(), SourceError> {
        let mut stream = self.remote(peer, opened);
        self.beyond.take(&mut stream, self.context)
    }

    fn remote(&self, peer: Incarnation, opened: Opened) -> RemoteSeries {
        let core = self.core;
        let silence = core.settings.silence_max;
        let parts = Parts::new(&core.link, peer, opened.messages, silence);
        RemoteSeries::new(parts, self.context.clone(), core.metrics.clone())
    }

    /// A member's series, which go on elsewhere if it breaks off or its data are damaged.
    fn resuming(
        &self,
        peer: Incarnation,
        stream: Box<dyn SeriesStream>,
        arcs: BTreeSet<RingArc>,
    ) -> Result<Box<dyn SeriesStream>, SourceError> {
        let Some(resumes_left) = self.resumes_left.checked_sub(1) else {
            return Ok(stream);
        };
        let core = Arc::clone(self.core);
        let (selection, context) = (self.selection.clone(), self.context.clone());
        let newest = self.newest;
        let again: Again = Box::new(move |reason, arcs| {
            tracing::warn!(
                peer = %peer,
                error = reason,
                "a member could not send all of its series: the rest is read elsewhere"
            );
            core.metrics.partitions(Completion::Again, arcs.len());
            core.book.failed(peer, core.clock.elapsed());
            let mut rest = Assembly::new(&core, &selection, &context).newest(newest);
            rest.resumes_left = resumes_left;
            rest.run(Some(arcs.clone()))
        });
        let tenant = &self.selection.tenant;
        let stream = Resuming::new(stream, arcs, again, tenant, self.context)?;
        Ok(Box::new(stream))
    }

    /// The group's data are complete. Returns its partitions if they cannot be read after all.
    fn settle(&mut self, round: &Round, group: Group) -> Result<Vec<RingArc>, SourceError> {
        let arcs: Vec<RingArc> = group.data.keys().copied().collect();
        let fetched = group.fetch.values().flat_map(BTreeMap::keys);
        let fetched: BTreeSet<RingArc> = fetched.copied().collect();
        let peer = group.from.incarnation;
        let stream: Box<dyn SeriesStream> = match (group.opened, &round.local) {
            (Some(opened), _) => Box::new(self.remote(peer, opened)),
            (None, Some(local)) => {
                let pinned = local.pinned.only(&arcs);
                let stream = match self.newest {
                    Some(moments) => pinned.select_newest(self.selection, moments, self.context),
                    None => pinned.select(self.selection, self.context),
                };
                match stream {
                    Err(error @ (SourceError::Corrupt(_) | SourceError::Unavailable(_))) => {
                        // This node's blocks are damaged or not to be had: the others have them.
                        self.is_wrong(peer, &error);
                        return Ok(arcs);
                    }
                    stream => stream?,
                }
            }
            // Only this node's own groups have no stream.
            (None, None) => return Ok(Vec::new()),
        };
        let stream = self.resuming(peer, stream, arcs.iter().copied().collect())?;
        let metrics = &self.core.metrics;
        metrics.partitions(Completion::Merged, fetched.len());
        metrics.partitions(Completion::OneView, arcs.len() - fetched.len());
        self.streams.push_back(stream);
        Ok(Vec::new())
    }
}
