//! Performs seals: the I/O around `protocol.rs`, with this node's store and the control state.
//!
//! One seal at a time, whoever asks: sealing is spread over time, and two at once would only
//! double its memory. Every step is a matter of state, so whatever is interrupted is done again
//! by the next start or the next pass, and nothing has to be remembered about it.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::protocol::{Action, CutAnswer, End, Event, Seal, Target};
use super::schedule::{self, Due, Held, Mode, Why};
use crate::cluster::control::{Control, MemberId, Outcome, SealCommit};
use crate::cluster::error::Error;
use crate::cluster::metrics::{ClusterMetrics, SealResult};
use crate::cluster::settings::SealSettings;
use crate::model::{BlockEntry, Incarnation};
use crate::runtime::{CancelToken, Clock};
use crate::store::{BuildOrder, Catalog, ContentSum, RangeCut, Store};

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
    /// Held while anything is sealed or applied.
    busy: Mutex<()>,
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
    pub fn new(
        store: Arc<Store>,
        control: Arc<dyn Control>,
        clock: Arc<dyn Clock>,
        settings: SealSettings,
        me: Incarnation,
        metrics: ClusterMetrics,
    ) -> Self {
        Self {
            store,
            control,
            clock,
            settings,
            me,
            metrics,
            busy: Mutex::new(()),
        }
    }

    /// Brings the store up to the catalog: what a crash interrupted is finished, and files that
    /// nobody names are removed.
    ///
    /// # Errors
    /// When a block that the catalog names cannot be had, or the disk fails.
    pub fn catch_up(&self) -> Result<(), Error> {
        let _busy = self.busy.lock();
        let state = self.control.state();
        for (arc, partition) in &state.partitions {
            self.store.apply(*arc, &catalog(partition), None)?;
        }
        let named = |id| {
            let mut partitions = state.partitions.values();
            partitions.any(|partition| partition.recent.contains_key(&id))
        };
        self.store.sweep(&named)?;
        Ok(())
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
        let due = schedule::due(&held, &state, &self.settings, now, mode);
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
        if self.store.applied_version(due.arc) < partition.version {
            // A step after an earlier commit has failed: its block first, or the same samples
            // would go into another one.
            self.store.apply(due.arc, &catalog(partition), None)?;
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
            cancel,
            cut: None,
            built: None,
        };
        let (mut seal, first) = Seal::begin(target);
        let mut actions = VecDeque::from(first);
        while let Some(action) = actions.pop_front() {
            match steps.perform(action)? {
                Done::Event(event) => actions.extend(seal.handle(event)),
                Done::End(end) => return steps.finish(end),
            }
        }
        // Somebody has to answer who is not there: on one node that is a ring of other members.
        steps.finish(End::TooFew)
    }
}

/// The catalog of a partition as the store applies it.
fn catalog(partition: &crate::cluster::control::Partition) -> Catalog<'_> {
    Catalog {
        version: partition.version,
        blocks: &partition.recent,
    }
}

enum Done {
    Event(Event),
    End(End),
}

/// One attempt under way: what its steps hand on to each other.
struct Steps<'a> {
    sealer: &'a Sealer,
    target: Target,
    cancel: &'a CancelToken,
    cut: Option<RangeCut>,
    built: Option<BlockEntry>,
}

impl Steps<'_> {
    fn perform(&mut self, action: Action) -> Result<Done, Error> {
        let event = match action {
            Action::Cut(members) => self.cut(&members)?,
            // Nobody else answers on a single node, so nothing can differ.
            Action::Pull(_) => Event::Failed,
            Action::Build => self.build()?,
            Action::Stage(members) => self.staged(&members),
            Action::Commit(commit) => self.commit(*commit)?,
            Action::Apply => self.apply()?,
            Action::End(end) => return Ok(Done::End(end)),
        };
        Ok(Done::Event(event))
    }

    fn cut(&mut self, members: &[MemberId]) -> Result<Event, Error> {
        if !members.contains(&self.target.me) {
            return Ok(Event::PatienceOver);
        }
        let cut = self.sealer.store.cut(self.target.arc, self.target.range)?;
        let answer = if cut.is_empty() {
            CutAnswer::Empty
        } else if members.len() == 1 {
            // There is nobody to compare with: the sum would cost a reading of everything.
            CutAnswer::Content(ContentSum::default())
        } else {
            CutAnswer::Content(self.sealer.store.sum_of(&cut))
        };
        self.cut = Some(cut);
        Ok(Event::Cut(self.target.me, answer))
    }

    fn build(&mut self) -> Result<Event, Error> {
        let Some(cut) = &self.cut else {
            return Ok(Event::Failed);
        };
        let order = BuildOrder {
            arc: self.target.arc,
            range: self.target.range,
            round: self.target.round,
        };
        self.built = self.sealer.store.build(cut, &order, self.cancel)?;
        Ok(Event::Built(self.built.clone()))
    }

    /// The file was synced where it was built; that is the one place there is.
    fn staged(&self, members: &[MemberId]) -> Event {
        if self.built.is_some() && members.contains(&self.target.me) {
            Event::Staged(self.target.me)
        } else {
            Event::PatienceOver
        }
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
        let store = &self.sealer.store;
        store.apply(self.target.arc, &catalog(partition), sealed)?;
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
