//! Performs seals: the I/O around `protocol.rs`, with this node's store and the control state.
//!
//! One seal at a time, whoever asks: sealing is spread over time, and two at once would only
//! double its memory. Every step is a matter of state, so whatever is interrupted is done again
//! by the next start or the next pass, and nothing has to be remembered about it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use super::protocol::{Action, CutAnswer, End, Event, Seal, Target};
use super::schedule::{self, Due, Held, Mode, Why};
use crate::cluster::control::{Control, MemberId, Outcome, SealCommit};
use crate::cluster::data::{CutReply, CutRequest, DataPeers, StageRequest};
use crate::cluster::error::Error;
use crate::cluster::manifests::named;
use crate::cluster::metrics::{ClusterMetrics, SealResult};
use crate::cluster::moves::Follower;
use crate::cluster::settings::SealSettings;
use crate::cluster::version::pages_of;
use crate::codec::page::Density;
use crate::model::{BlockEntry, Incarnation};
use crate::runtime::{CancelToken, Clock};
use crate::store::{self, BuildOrder, DigestTree, RangeCut, Store};

/// A refused commit begins again with the new state; whoever loses this often has a bug.
const ATTEMPTS_MAX: usize = 4;

/// Seals this node's partitions.
pub struct Sealer {
    store: Arc<Store>,
    control: Arc<dyn Control>,
    clock: Arc<dyn Clock>,
    settings: SealSettings,
    me: Incarnation,
    metrics: ClusterMetrics,
    follower: Arc<Follower>,
    /// `None` on a node that has no peers.
    peers: Option<Arc<DataPeers>>,
    busy: Busy,
}

/// Held while anything is sealed, and by whoever else changes what a seal relies on: which blocks
/// are applied here.
pub(in crate::cluster) type Busy = Arc<Mutex<()>>;

/// What a sealer is made from.
pub(in crate::cluster) struct SealerParts {
    pub(in crate::cluster) store: Arc<Store>,
    pub(in crate::cluster) control: Arc<dyn Control>,
    pub(in crate::cluster) clock: Arc<dyn Clock>,
    pub(in crate::cluster) settings: SealSettings,
    pub(in crate::cluster) me: Incarnation,
    pub(in crate::cluster) metrics: ClusterMetrics,
    pub(in crate::cluster) follower: Arc<Follower>,
    pub(in crate::cluster) peers: Option<Arc<DataPeers>>,
    pub(in crate::cluster) busy: Busy,
}

/// What a pass did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pass {
    /// Blocks that entered the catalog.
    pub sealed: usize,
    /// Ranges of which nothing was left to seal.
    pub nothing: usize,
    /// Ranges that will be tried again.
    pub failed: usize,
}

impl Sealer {
    /// A sealer for the partitions of one member.
    #[must_use]
    pub(in crate::cluster) fn new(parts: SealerParts) -> Self {
        let SealerParts {
            store,
            control,
            clock,
            settings,
            me,
            metrics,
            follower,
            peers,
            busy,
        } = parts;
        Self {
            store,
            control,
            clock,
            settings,
            me,
            metrics,
            follower,
            peers,
            busy,
        }
    }

    /// Brings the store up to the catalog: what a crash interrupted is finished, and files that
    /// nobody names are removed.
    ///
    /// # Errors
    /// When a block that the catalog names cannot be had, or the disk fails.
    pub(in crate::cluster) fn catch_up(&self, cancel: &CancelToken) -> Result<(), Error> {
        let _busy = self.busy.lock();
        let state = self.control.state();
        self.follower.apply_all(&state, cancel)?;
        if self.peers.is_some() || !self.store.has_unapplied_files()? {
            // Among others a file that is staged here may be named a moment later by whoever seals.
            return Ok(());
        }
        if let Some(named) = named(self.follower.manifests(), &state, self.me)? {
            self.store.sweep(&|id| named.contains(id))?;
        }
        Ok(())
    }

    /// Fetches what is missing of older history, which a start does not look at. Among others it is done over and over
    /// anyway.
    ///
    /// # Errors
    /// As [`Sealer::catch_up`].
    pub(in crate::cluster) fn complete(&self, cancel: &CancelToken) -> Result<(), Error> {
        if self.peers.is_some() {
            return Ok(());
        }
        let _busy = self.busy.lock();
        self.follower.bring_all_up(&self.control.state(), cancel)
    }

    /// Seals what is due by time, size and memory.
    ///
    /// # Errors
    /// When the store cannot say what it holds; a failed seal is logged, counted and tried again.
    pub fn pass(&self, cancel: &CancelToken) -> Result<Pass, Error> {
        let mode = match self.store.memory_excess() {
            0 => Mode::Usual,
            excess => Mode::Relieve(excess),
        };
        self.run(mode, cancel)
    }

    /// Seals everything that the head holds, open windows too.
    ///
    /// # Errors
    /// As [`Sealer::pass`].
    pub fn flush(&self, cancel: &CancelToken) -> Result<Pass, Error> {
        self.run(Mode::Everything, cancel)
    }

    fn run(&self, mode: Mode, cancel: &CancelToken) -> Result<Pass, Error> {
        let held: Vec<Held> = self
            .store
            .held()
            .into_iter()
            .map(|held| Held {
                arc: held.arc,
                window: held.window,
                bytes: held.bytes,
                since: held.since,
            })
            .collect();
        let now = self.clock.now();
        let state = self.control.state();
        let mut due = schedule::due(&held, &state, &self.settings, now, mode);
        if mode == Mode::Usual {
            due.retain(|due| schedule::is_my_turn(due, &state, self.me, now, &self.settings));
        }
        self.metrics.due(due.len());
        let mut pass = Pass::default();
        for due in due {
            if cancel.check().is_err() {
                break;
            }
            let _busy = self.busy.lock();
            let begun = self.clock.elapsed();
            let end = self.seal(&due, cancel);
            if end.is_err() && cancel.check().is_err() {
                break;
            }
            let took = self.clock.elapsed().saturating_sub(begun);
            self.note(&due, &end, took, &mut pass);
        }
        Ok(pass)
    }

    fn note(
        &self,
        due: &Due,
        end: &Result<End, Error>,
        took: std::time::Duration,
        pass: &mut Pass,
    ) {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let result = match end {
            Ok(End::Sealed) => SealResult::Sealed,
            Ok(End::Nothing | End::Expired) => SealResult::Nothing,
            Ok(End::TooFew | End::Again | End::Failed) | Err(_) => SealResult::Failed,
        };
        match result {
            SealResult::Sealed => pass.sealed += 1,
            SealResult::Nothing => pass.nothing += 1,
            SealResult::Failed => pass.failed += 1,
        }
        self.metrics.sealed(result, took);
        match end {
            Err(error) => tracing::warn!(
                partition = %due.arc, start = due.range.start.0, %error,
                "a seal failed and will be tried again"
            ),
            Ok(end) => tracing::debug!(
                partition = %due.arc, start = due.range.start.0, why = ?due.why, ?end, took_ms,
                "seal"
            ),
        }
    }

    fn seal(&self, due: &Due, cancel: &CancelToken) -> Result<End, Error> {
        if due.why == Why::Expired {
            let cut = self.store.cut(due.arc, due.range)?;
            self.store.forget(cut)?;
            return Ok(End::Expired);
        }
        for _ in 0..ATTEMPTS_MAX {
            match self.attempt(due, cancel)? {
                End::Again => {}
                end => return Ok(end),
            }
        }
        Ok(End::Again)
    }

    fn attempt(&self, due: &Due, cancel: &CancelToken) -> Result<End, Error> {
        let state = self.control.state();
        let Some(partition) = state.partition(due.arc) else {
            return Ok(End::Again);
        };
        let _mine = self.follower.leave_to_seal(due.arc);
        if self.store.applied_version(due.arc) < partition.version {
            // Another's block, or one of an earlier seal of which a later step has failed: it
            // comes first, or the same samples would go into another one.
            self.follower.bring_up(&state, due.arc, cancel)?;
        }
        let Some(me) = partition.members.iter().find(|m| m.incarnation == self.me) else {
            return Ok(End::Again);
        };
        let target = Target {
            arc: due.arc,
            epoch: partition.epoch,
            range: due.range,
            round: partition.next_round(due.range),
            sets: partition.sets(),
            me: *me,
        };
        let mut steps = Steps {
            sealer: self,
            target: target.clone(),
            pages: pages_of(due.range, state.feature_level, self.clock.now()),
            cancel,
            cut: None,
            cuts: BTreeMap::new(),
            built: None,
        };
        let (mut seal, first) = Seal::begin(target);
        let mut actions = VecDeque::from(first);
        while let Some(action) = actions.pop_front() {
            match steps.perform(action)? {
                Done::Events(events) => {
                    for event in events {
                        actions.extend(seal.handle(event));
                    }
                }
                Done::End(end) => return steps.finish(end),
            }
        }
        // Somebody has to answer who is not there: on one node that is a ring of other members.
        steps.finish(End::TooFew)
    }
}

enum Done {
    Events(Vec<Event>),
    End(End),
}

/// One attempt under way: what its steps hand on to each other.
struct Steps<'a> {
    sealer: &'a Sealer,
    target: Target,
    pages: Density,
    cancel: &'a CancelToken,
    cut: Option<RangeCut>,
    /// Others' cuts, to pull from.
    cuts: BTreeMap<MemberId, CutReply>,
    built: Option<BlockEntry>,
}

impl Steps<'_> {
    fn perform(&mut self, action: Action) -> Result<Done, Error> {
        self.cancel.check().map_err(store::Error::from)?;
        let event = match action {
            Action::Cut(members) => return self.cut_all(&members).map(Done::Events),
            Action::Pull(members) => self.pull(&members)?,
            Action::Build => self.build()?,
            Action::Stage(members) => return Ok(Done::Events(self.stage(&members))),
            Action::Commit(commit) => self.commit(*commit)?,
            Action::Apply => self.apply()?,
            Action::End(end) => return Ok(Done::End(end)),
        };
        Ok(Done::Events(vec![event]))
    }

    /// All others at once, and this node.
    fn cut_all(&mut self, members: &[MemberId]) -> Result<Vec<Event>, Error> {
        let mut events = Vec::new();
        if members.contains(&self.target.me) {
            events.push(self.cut_here(members.len() > 1)?);
        }
        let others = self.others(members);
        if let (Some(peers), false) = (&self.sealer.peers, others.is_empty()) {
            let order = CutRequest {
                arc: self.target.arc,
                epoch: self.target.epoch,
                range: Some(self.target.range),
                round: self.target.round,
                remains: false,
            };
            for (member, reply) in peers.cut(&others, &order) {
                match reply {
                    Ok(reply) => {
                        events.push(Event::Cut(member, answer(reply.tree.clone())));
                        self.cuts.insert(member, reply);
                    }
                    Err(error) => tracing::debug!(
                        partition = %self.target.arc, %error, "a member did not cut"
                    ),
                }
            }
        }
        events.push(Event::PatienceOver);
        Ok(events)
    }

    fn others(&self, members: &[MemberId]) -> Vec<MemberId> {
        let others = members.iter().copied();
        others.filter(|member| *member != self.target.me).collect()
    }

    fn cut_here(&mut self, compare: bool) -> Result<Event, Error> {
        let cut = self.sealer.store.cut(self.target.arc, self.target.range)?;
        let answer = match (cut.is_empty(), compare) {
            (true, _) => CutAnswer::Empty,
            // There is nobody to compare with: digests would cost a reading of everything.
            (false, false) => CutAnswer::Content(DigestTree::default()),
            (false, true) => answer(cut.tree()),
        };
        self.cut = Some(cut);
        Ok(Event::Cut(self.target.me, answer))
    }

    /// Takes into this head what others have, and cuts again: the new cut holds the union.
    fn pull(&mut self, members: &[MemberId]) -> Result<Event, Error> {
        let (Some(cut), Some(peers)) = (&self.cut, &self.sealer.peers) else {
            return Ok(Event::Failed);
        };
        let mine = cut.tree();
        for member in members {
            let Some(theirs) = self.cuts.get(member) else {
                continue;
            };
            let Some(token) = theirs.token else {
                continue;
            };
            let (arc, epoch) = (self.target.arc, self.target.epoch);
            let differing = mine.differing(&theirs.tree);
            let content = peers.pull_cut(*member, arc, epoch, token, differing)?;
            self.sealer.store.absorb(content)?;
        }
        self.cut_here(true)?;
        Ok(Event::Pulled)
    }

    fn build(&mut self) -> Result<Event, Error> {
        let Some(cut) = &self.cut else {
            return Ok(Event::Failed);
        };
        let order = BuildOrder {
            arc: self.target.arc,
            range: self.target.range,
            round: self.target.round,
            pages: self.pages,
        };
        self.built = self.sealer.store.build(cut, &order, self.cancel)?;
        Ok(Event::Built(self.built.clone()))
    }

    /// Here the file was synced where it was built; others fetch it.
    fn stage(&self, members: &[MemberId]) -> Vec<Event> {
        let mut events = Vec::new();
        let Some(entry) = &self.built else {
            return vec![Event::Failed];
        };
        if members.contains(&self.target.me) {
            events.push(Event::Staged(self.target.me));
        }
        let others = self.others(members);
        if let (Some(peers), false) = (&self.sealer.peers, others.is_empty()) {
            let order = |member: MemberId| {
                let cut = self.cuts.get(&member);
                let order = StageRequest {
                    arc: self.target.arc,
                    epoch: self.target.epoch,
                    entry: entry.clone(),
                    // What was in it is in the file; a repeated seal cuts anew.
                    release: cut.and_then(|cut| cut.token).into_iter().collect(),
                };
                (member, order)
            };
            let orders: Vec<_> = others.into_iter().map(order).collect();
            for (member, staged) in peers.stage(&orders) {
                match staged {
                    Ok(()) => events.push(Event::Staged(member)),
                    Err(error) => tracing::debug!(
                        partition = %self.target.arc, block = %entry.id, %error,
                        "a member did not stage a block"
                    ),
                }
            }
        }
        events.push(Event::PatienceOver);
        events
    }

    fn commit(&mut self, commit: SealCommit) -> Result<Event, Error> {
        self.sealer.store.reach("commit")?;
        let command = crate::cluster::control::Command::SealCommit(commit);
        let outcome = self.sealer.control.propose(&command)?;
        self.sealer.store.reach("committed")?;
        Ok(match outcome {
            Outcome::Applied => Event::Committed,
            Outcome::Refused(refusal) => Event::Refused(refusal),
        })
    }

    fn apply(&mut self) -> Result<Event, Error> {
        let state = self.sealer.control.state();
        let Some(partition) = state.partition(self.target.arc) else {
            return Ok(Event::Failed);
        };
        let sealed = self
            .cut
            .take()
            .zip(self.built.as_ref().map(|entry| entry.id));
        // Somebody may have merged blocks meanwhile, and this node have missed the file.
        let (arc, follower) = (self.target.arc, &self.sealer.follower);
        follower.fetch(&state, arc, self.cancel)?;
        let listed = follower.listed(&state, arc, partition, self.cancel)?;
        self.sealer.store.apply(arc, &listed.catalog(), sealed)?;
        if let Some(entry) = &self.built {
            self.sealer.metrics.block(entry);
        }
        Ok(Event::Applied)
    }

    /// What the head holds although nobody needs it any more is given up; a file that no catalog
    /// will name is removed.
    fn finish(self, end: End) -> Result<End, Error> {
        let store = &self.sealer.store;
        if let (Some(cut), End::Nothing | End::Expired) = (self.cut, end) {
            store.forget(cut)?;
        }
        if let (Some(entry), false) = (self.built, end == End::Sealed) {
            store.unstage(entry.id)?;
        }
        Ok(end)
    }
}

/// What a cut's digests say.
fn answer(tree: DigestTree) -> CutAnswer {
    if tree.is_empty() {
        CutAnswer::Empty
    } else {
        CutAnswer::Content(tree)
    }
}
