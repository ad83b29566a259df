//! A node's own part in moves, one round after the other: follow the catalog, gather heads where
//! that is due, fetch for partitions that are to come, forget what is no longer its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::conductor::Report;
use super::follower::{Follower, role_of};
use super::gather;
use crate::cluster::control::{Control, ControlState, Liveness, MemberId, Partition, Session};
use crate::cluster::data::DataPeers;
use crate::cluster::error::Error;
use crate::cluster::manifests::{Listed, listed, named};
use crate::cluster::quorum::{Role, Sets};
use crate::cluster::write::Gate;
use crate::model::{Epoch, Incarnation, RingArc};
use crate::runtime::{CancelToken, Clock, Rule, holds};
use crate::store::Store;

/// A partition that nobody has asked for in so long is not coming.
const WANTED_FOR: Duration = Duration::from_secs(120);

/// Leftovers are looked for this seldom.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// A staged file that no catalog names for so long belongs to a seal that has failed: its round has
/// passed, or it is begun anew with another file.
const STAGED_FOR_MS: i64 = 60 * 60 * 1000;

/// Moves content to and from this node.
pub(in crate::cluster) struct Mover {
    store: Arc<Store>,
    control: Arc<dyn Control>,
    gate: Arc<Gate>,
    clock: Arc<dyn Clock>,
    follower: Arc<Follower>,
    peers: Arc<DataPeers>,
    me: Incarnation,
    session: Session,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Partitions that may come, and when that was last said.
    wanted: BTreeMap<RingArc, Duration>,
    /// What was gathered, and under which epoch. After a restart it is gathered again.
    gathered: BTreeMap<RingArc, Epoch>,
    /// When leftovers were last swept.
    swept: Duration,
}

/// What a mover is made from.
pub(in crate::cluster) struct MoverParts {
    pub(in crate::cluster) store: Arc<Store>,
    pub(in crate::cluster) control: Arc<dyn Control>,
    pub(in crate::cluster) gate: Arc<Gate>,
    pub(in crate::cluster) clock: Arc<dyn Clock>,
    pub(in crate::cluster) follower: Arc<Follower>,
    pub(in crate::cluster) peers: Arc<DataPeers>,
    pub(in crate::cluster) me: Incarnation,
    /// This start of the node.
    pub(in crate::cluster) session: Session,
}

impl Mover {
    pub(in crate::cluster) fn new(parts: MoverParts) -> Self {
        let MoverParts {
            store,
            control,
            gate,
            clock,
            follower,
            peers,
            me,
            session,
        } = parts;
        Self {
            store,
            control,
            gate,
            clock,
            follower,
            peers,
            me,
            session,
            state: Mutex::default(),
        }
    }

    /// What this node says of a partition; from now on it fetches its blocks.
    pub(in crate::cluster) fn report(&self, arc: RingArc) -> Result<Report, Error> {
        let now = self.clock.elapsed();
        let control = self.control.state();
        let mut own = self.state.lock();
        own.wanted.insert(arc, now);
        let Some(partition) = control.partition(arc) else {
            return Ok(Report::default());
        };
        // Without the manifest nobody knows which older blocks are here.
        let (listed, unknown) = match listed(self.follower.manifests(), arc, partition) {
            Err(Error::NoManifest { .. }) => (
                Listed::of(partition, None),
                partition.history.map_or(0, |history| history.blocks),
            ),
            listed => (listed?, 0),
        };
        let missing = self.store.missing(arc, &listed.catalog())?;
        let missing_blocks = u64::try_from(missing.len()).unwrap_or(u64::MAX);
        Ok(Report {
            epoch: self.gate.epoch_of(arc).unwrap_or_default(),
            gathered: own.gathered.get(&arc) == Some(&partition.epoch),
            version: self.store.applied_version(arc),
            missing_blocks: missing_blocks.saturating_add(unknown.into()),
            missing_bytes: missing.iter().map(|entry| entry.size).sum(),
        })
    }

    /// One round. What fails is logged and tried again in the next.
    pub(in crate::cluster) fn round(&self, cancel: &CancelToken) {
        let state = self.control.state();
        let now = self.clock.elapsed();
        if let Err(error) = self.follower.bring_all_up(&state, cancel) {
            tracing::warn!(%error, "the catalog could not be applied and will be tried again");
        }
        let wanted = self.wanted(now);
        let is_recent = self.is_recent(&state);
        for (arc, partition) in &state.partitions {
            if cancel.check().is_err() {
                return;
            }
            let role = role_of(partition, self.me);
            let done = match role {
                Role::Outside if wanted.contains(arc) => self.follower.fetch(&state, *arc, cancel),
                Role::Outside if !is_recent => Ok(()),
                Role::Outside => self.forget(*arc),
                Role::Joining | Role::Member => self.gather(*arc, &state, partition, cancel),
                Role::Leaving => Ok(()),
            };
            if let Err(error) = done {
                tracing::warn!(
                    partition = %arc, epoch = partition.epoch.0, %error,
                    "a step of a move failed and will be tried again"
                );
            }
        }
        self.forget_old(&state);
        if !is_recent {
            return;
        }
        if let Err(error) = self.sweep(&state, now) {
            tracing::warn!(%error, "leftover files could not be removed and will be tried again");
        }
    }

    /// Whether a control state is at least as new as any that this node acted on before it was
    /// started: it knows of this start. An older one may take a partition for another's that is
    /// this node's, or not name a block that is in the catalog, so nothing is removed on its word.
    fn is_recent(&self, state: &ControlState) -> bool {
        let me = state.members.get(&self.me);
        me.is_some_and(|member| member.session == self.session)
    }

    /// Removes files that were staged for a seal that never came, an hour after, and blocks that a
    /// crash left behind while a partition was forgotten, and manifests that nobody names any more.
    fn sweep(&self, state: &ControlState, now: Duration) -> Result<(), Error> {
        {
            let mut own = self.state.lock();
            if now.saturating_sub(own.swept) < SWEEP_EVERY {
                return Ok(());
            }
            own.swept = now;
        }
        let oldest = self.clock.now().plus_ms(-STAGED_FOR_MS);
        let manifests = self.follower.manifests();
        let histories = state.partitions.values().filter_map(|p| p.history);
        manifests.sweep(&histories.map(|history| history.digest).collect(), now)?;
        let Some(named) = named(manifests, state, self.me)? else {
            return Ok(());
        };
        let is_named = |id| named.contains(id);
        self.store
            .sweep_staged(|info| info.modified > oldest || is_named(info.id))?;
        self.store.sweep_ingested(&is_named)?;
        Ok(())
    }

    fn wanted(&self, now: Duration) -> BTreeSet<RingArc> {
        let mut own = self.state.lock();
        own.wanted
            .retain(|_, last| now.saturating_sub(*last) < WANTED_FOR);
        own.wanted.keys().copied().collect()
    }

    /// Gathers heads from C old members under this epoch, if it is this node's to do.
    fn gather(
        &self,
        arc: RingArc,
        state: &ControlState,
        partition: &Partition,
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let sets = Sets::of(partition);
        let gatherers = sets.gatherers();
        let Some(mine) = gatherers.iter().find(|m| m.incarnation == self.me) else {
            return Ok(());
        };
        let known = |member: MemberId| state.members.get(&member.incarnation);
        let from = sets.sources(
            |member| known(member).is_some_and(|known| known.life > member.life),
            |member| known(member).is_some_and(|known| known.liveness == Liveness::Gone),
        );
        let done = self.state.lock().gathered.get(&arc) == Some(&partition.epoch);
        // Its own appends under the old epoch must be in its head before it counts as a source.
        if done || self.gate.epoch_of(arc) != Some(partition.epoch) {
            return Ok(());
        }
        let sources = gather::Sources {
            arc,
            epoch: partition.epoch,
            from: &from,
            me: *mine,
        };
        if holds(Rule::NewcomersGather) {
            gather::gather(&self.store, &self.peers, &sources, cancel)?;
        }
        if from.remains {
            tracing::warn!(
                partition = %arc, epoch = partition.epoch.0,
                "too many members had lost a part of their memory: what was left of it is united, and acknowledged samples may be missing"
            );
        }
        self.state.lock().gathered.insert(arc, partition.epoch);
        tracing::info!(partition = %arc, epoch = partition.epoch.0, "heads are gathered");
        Ok(())
    }

    /// Forgets what this node holds of a partition in none of whose sets it is. Should it become a
    /// member meanwhile, what it then takes may be forgotten too: this node's rounds follow one
    /// another, so it gathers after this, from members that were sent the same.
    fn forget(&self, arc: RingArc) -> Result<(), Error> {
        // A write that was let in under an older epoch is in the head only when the gate has
        // the new one.
        if self.gate.is_member_of(arc) || !self.store.holds(arc) {
            return Ok(());
        }
        self.store.forget_arc(arc)?;
        tracing::info!(partition = %arc, "what this node held of the partition is forgotten: others have it");
        Ok(())
    }

    /// Gathering counts for one epoch.
    fn forget_old(&self, state: &ControlState) {
        self.state.lock().gathered.retain(|arc, epoch| {
            let partition = state.partition(*arc);
            partition.is_some_and(|partition| partition.epoch == *epoch)
        });
    }
}
