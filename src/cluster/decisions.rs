//! What a person decides of the cluster: to empty a node, to give one up, to divide the ring more
//! finely than it would be, to go on with what is left of partitions that have lost too much.
//!
//! Each refuses what an ordinary way could still do, and what would lose data without saying so.
//! Nothing here is done by itself: the leader replaces nodes (`moves`), it never gives data up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::control::{
    Command, Control, ControlError, ControlState, Drain, HistoryLeft, Liveness, Manifest, MemberId,
    Partition, Recovered, Split, can_be_spared,
};
use super::data::DataPeers;
use super::error::Error;
use super::moves::Follower;
use super::peer::Blocking;
use super::self_report::ask_for_missing;
use super::version::SPLITS_FROM;
use crate::model::{BlockEntry, BlockId, Digest, Epoch, Incarnation, RingArc, Uploaded};
use crate::runtime::CancelToken;
use crate::store::{Catalog, Store};

/// Carries decisions out, on any node.
pub(super) struct Decisions<'a> {
    pub(super) control: &'a Arc<dyn Control>,
    pub(super) store: &'a Store,
    pub(super) follower: &'a Follower,
    pub(super) me: Incarnation,
    /// `None` on a node that is alone.
    pub(super) peers: Option<&'a Blocking>,
    /// The same, for manifests.
    pub(super) data: Option<&'a DataPeers>,
}

/// What recovering the ring gives up.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Loss {
    /// Partitions that go on with fewer members than could be trusted with all that was
    /// acknowledged.
    pub partitions: Vec<LossRow>,
    /// Nodes that are given up with them, by name; they never come back as who they were.
    pub nodes: Vec<String>,
    /// Whether it has been done.
    pub done: bool,
}

/// One partition that has lost too many members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LossRow {
    /// Which.
    pub arc: RingArc,
    /// Who held it.
    pub members: Vec<String>,
    /// Who goes on with it.
    pub left: Vec<String>,
    /// Whether any of them held it before; otherwise all of it is lost.
    pub empty: bool,
    /// Sealed blocks that nobody has any more.
    pub lost_blocks: usize,
}

/// A partition that an ordinary move cannot heal.
struct Hopeless {
    arc: RingArc,
    left: Vec<MemberId>,
    lost: BTreeSet<Incarnation>,
    gone: Gone,
}

/// Blocks of a partition that nobody has any more.
#[derive(Default)]
struct Gone {
    /// Those that the state lists.
    recent: Vec<BlockId>,
    /// How many there are with those of the manifest.
    count: usize,
    /// The manifest until now, and what is left of it, where that is less.
    manifest: Option<(Digest, Manifest)>,
}

impl Decisions<'_> {
    /// The one node of a name or incarnation that is not gone.
    fn named(&self, state: &ControlState, node: &str) -> Result<Incarnation, Error> {
        let there = state.members.iter();
        let there = there.filter(|(_, member)| member.liveness != Liveness::Gone);
        let named: Vec<Incarnation> = there
            .filter(|(who, member)| member.name == node || who.to_string() == node)
            .map(|(who, _)| *who)
            .collect();
        match named.as_slice() {
            [one] => Ok(*one),
            [] => Err(Error::Setting(format!("no node is called {node}"))),
            several => Err(Error::Setting(format!(
                "{} nodes are called {node}: name one by its incarnation (`cairn ring --json`)",
                several.len()
            ))),
        }
    }

    fn propose(&self, command: &Command) -> Result<(), Error> {
        let outcome = self.control.propose(command)?;
        outcome.into_result().map_err(|refusal| {
            Error::Control(ControlError::Refused {
                command: command.name(),
                refusal,
            })
        })
    }

    /// Marks a node to be emptied or no longer.
    pub(super) fn drain(&self, node: &str, drain: bool) -> Result<(), Error> {
        let incarnation = self.named(&self.control.state(), node)?;
        self.propose(&Command::Drain(Drain { incarnation, drain }))
    }

    /// Gives a node up for ever that is switched off, and of which nothing is needed any more.
    pub(super) fn forget(&self, node: &str) -> Result<(), Error> {
        let state = self.control.state();
        let incarnation = self.named(&state, node)?;
        let live = state.members.get(&incarnation);
        if live.is_some_and(|member| member.liveness == Liveness::Live) {
            return Err(Error::Setting(format!(
                "{node} is live: empty it with `cairn drain {node}`, switch it off, and forget it when `cairn ring` shows it as down"
            )));
        }
        if !can_be_spared(&state, incarnation) {
            return Err(Error::Setting(format!(
                "{node} is needed: partitions that it holds have too few other live members, and samples that it acknowledged may be nowhere else. Bring it or another of them back; if their disks are gone for good: `cairn ring recover`"
            )));
        }
        tracing::warn!(peer = node, "a person gives a node up for ever");
        self.propose(&Command::NodeGone(incarnation))
    }

    /// Begins to divide the ring more finely, and says with which partition. The leader goes on with
    /// the others, one after the other, until the ring is even again; it never becomes coarser.
    pub(super) fn split(&self) -> Result<RingArc, Error> {
        if self.peers.is_none() {
            return Err(Error::Setting(
                "a node that is alone gains nothing by more partitions".to_owned(),
            ));
        }
        let state = self.control.state();
        if state.feature_level < SPLITS_FROM {
            return Err(Error::Setting(format!(
                "the cluster is at feature level {} and splits come with {SPLITS_FROM}: upgrade the nodes that `cairn ring` shows with an older version",
                state.feature_level
            )));
        }
        let still = state.partitions.iter().filter(|(_, p)| p.moving.is_none());
        let coarsest = still.min_by_key(|(arc, _)| (arc.depth(), arc.prefix()));
        let Some((arc, partition)) = coarsest else {
            return Err(Error::Setting(
                "every partition is being moved: wait until `cairn ring` shows no moves".to_owned(),
            ));
        };
        tracing::warn!(partition = %arc, "a person divides the ring more finely");
        self.propose(&Command::Split(Split {
            arc: *arc,
            epoch: partition.epoch,
        }))?;
        Ok(*arc)
    }

    /// Lets partitions that have lost too many members go on with those that are left: what only
    /// the others had acknowledged is lost. Without `accept` only says what that would be.
    pub(super) fn recover(&self, accept: bool) -> Result<Loss, Error> {
        if self.control.leader().is_none() {
            // Who is down is for the leader to see.
            return Err(Error::Setting("the control group has no leader, so nobody knows what is lost: bring a majority of its voters back, or see `cairn recover control --help`".to_owned()));
        }
        let state = self.control.state();
        let hopeless = self.hopeless(&state)?;
        let lost: BTreeSet<Incarnation> =
            hopeless.iter().flat_map(|one| &one.lost).copied().collect();
        let mut loss = describe(&state, &hopeless, &lost);
        if !accept || hopeless.is_empty() {
            return Ok(loss);
        }
        for who in lost {
            tracing::warn!(peer = %who, "a person gives a node up for ever, and what only it held");
            self.propose(&Command::NodeGone(who))?;
        }
        for one in hopeless {
            let state = self.control.state();
            let Some(partition) = state.partition(one.arc) else {
                continue;
            };
            tracing::warn!(
                partition = %one.arc, epoch = partition.epoch.0, blocks = one.gone.count,
                "a partition goes on with what is left of it: acknowledged samples may be lost"
            );
            let history = match &one.gone.manifest {
                Some((base, left)) => Some(self.leave(partition.epoch, *base, left, &one.left)?),
                None => None,
            };
            self.propose(&Command::Recovered(Recovered {
                arc: one.arc,
                epoch: partition.epoch,
                members: one.left,
                lost_blocks: one.gone.recent,
                history,
            }))?;
        }
        loss.done = true;
        Ok(loss)
    }

    fn hopeless(&self, state: &ControlState) -> Result<Vec<Hopeless>, Error> {
        let live = |member: &MemberId| {
            let known = state.members.get(&member.incarnation);
            known.is_some_and(|m| m.liveness == Liveness::Live && m.life == member.life)
        };
        let mut found = Vec::new();
        let mut more: BTreeMap<MemberId, usize> = BTreeMap::new();
        for (arc, partition) in &state.partitions {
            let size = partition.members.len();
            let mut left: Vec<MemberId> = partition.members.iter().copied().filter(live).collect();
            if left.len() >= size.saturating_sub(size / 2) {
                continue;
            }
            // One that lives on in a later life is no node to be given up.
            let is_there = |who: &Incarnation| {
                let known = state.members.get(who);
                known.is_some_and(|member| member.liveness == Liveness::Live)
            };
            let members = partition.members.iter().map(|member| member.incarnation);
            let lost = members.filter(|who| !is_there(who)).collect();
            // Whoever was just joining has a part of it: better than nothing, and all are asked
            // where there are no more than two.
            let joins = partition.moving.and_then(|moving| moving.join);
            left.extend(joins.filter(|join| left.len() < 2 && live(join)));
            let gone = self.gone(state, *arc, partition, &left)?;
            if left.is_empty() {
                left.extend(idlest(state, &mut more));
            }
            found.push(Hopeless {
                arc: *arc,
                left,
                lost,
                gone,
            });
        }
        Ok(found)
    }

    /// The blocks of a partition as far as anybody knows them, and how many more there were.
    ///
    /// Without the manifest that is what a member has applied: real samples are always safe to keep.
    fn known(
        &self,
        state: &ControlState,
        arc: RingArc,
        partition: &Partition,
        left: &[MemberId],
    ) -> Result<(BTreeMap<BlockId, BlockEntry>, usize), Error> {
        let listed = self
            .follower
            .listed(state, arc, partition, &CancelToken::new());
        let error = match listed {
            Ok(listed) => {
                self.hand_on(arc, partition, left);
                return Ok((listed.blocks().clone(), 0));
            }
            Err(error @ Error::NoManifest { .. }) => error,
            Err(error) => return Err(error),
        };
        let mut known = partition.recent.clone();
        if left.iter().any(|member| member.incarnation == self.me) {
            for entry in self.store.applied_blocks(arc) {
                let kept = entry.range.end >= partition.expired_before;
                if kept && !known.contains_key(&entry.id) {
                    known.insert(entry.id, entry);
                }
            }
        } else if !left.is_empty() {
            return Err(Error::Setting(format!(
                "{error}; or run this on a node that is left of the partition: it knows the blocks that it has"
            )));
        }
        let older = known.len().saturating_sub(partition.recent.len());
        let listed = partition.history.map_or(0, |history| history.blocks);
        let listed = usize::try_from(listed).unwrap_or(usize::MAX);
        Ok((known, listed.saturating_sub(older)))
    }

    /// Gives the manifest to those who are left, so that each can say which blocks it lacks. Who
    /// does not take it will not say, which ends the recovery with its reason.
    fn hand_on(&self, arc: RingArc, partition: &Partition, left: &[MemberId]) {
        let (Some(data), Some(history)) = (self.data, partition.history) else {
            return;
        };
        let others = left.iter().copied();
        let others: Vec<MemberId> = others.filter(|m| m.incarnation != self.me).collect();
        for (member, kept) in data.stage_manifest(&others, arc, partition.epoch, history.digest) {
            if let Err(error) = kept {
                tracing::warn!(
                    peer = %member.incarnation, partition = %arc, %error,
                    "a member did not keep a manifest"
                );
            }
        }
    }

    /// Blocks that the catalog names and none of some members has. Who does not answer ends it: it
    /// may have what the others lack.
    fn gone(
        &self,
        state: &ControlState,
        arc: RingArc,
        partition: &Partition,
        left: &[MemberId],
    ) -> Result<Gone, Error> {
        let (known, unknown) = self.known(state, arc, partition, left)?;
        let mut missing: BTreeSet<BlockId> = known.keys().copied().collect();
        for member in left {
            let lacks: BTreeSet<BlockId> = if member.incarnation == self.me {
                let catalog = Catalog {
                    version: partition.version,
                    blocks: &known,
                };
                let lacks = self.store.missing(arc, &catalog)?;
                lacks.iter().map(|entry| entry.id).collect()
            } else if unknown > 0 {
                continue;
            } else {
                let asked = self
                    .peers
                    .map(|p| ask_for_missing(p, member.incarnation, arc));
                asked.transpose()?.unwrap_or_default()
            };
            missing = &missing & &lacks;
        }
        let in_bucket = |id: &BlockId| {
            let entry = known.get(id);
            entry.is_some_and(|entry| entry.uploaded != Uploaded::None)
        };
        missing.retain(|id| !in_bucket(id));
        let is_recent = |id: &BlockId| partition.recent.contains_key(id);
        let (recent, older): (Vec<BlockId>, Vec<BlockId>) =
            missing.iter().copied().partition(is_recent);
        let manifest = partition
            .history
            .filter(|_| unknown > 0 || !older.is_empty());
        let manifest = manifest.map(|history| {
            let mut blocks = known;
            blocks.retain(|id, _| !is_recent(id) && !missing.contains(id));
            (history.digest, Manifest { arc, blocks })
        });
        Ok(Gone {
            count: missing.len().saturating_add(unknown),
            recent,
            manifest,
        })
    }

    /// Has what is left of a manifest durably on a majority of those who go on.
    fn leave(
        &self,
        epoch: Epoch,
        base: Digest,
        left: &Manifest,
        members: &[MemberId],
    ) -> Result<HistoryLeft, Error> {
        if left.blocks.is_empty() {
            return Ok(HistoryLeft { base, left: None });
        }
        let bytes = left.encode();
        let history = left.history(&bytes);
        self.follower.manifests().put(history.digest, &bytes)?;
        let (mine, others): (Vec<MemberId>, Vec<MemberId>) = members
            .iter()
            .copied()
            .partition(|member| member.incarnation == self.me);
        let mut on = mine.len();
        if let (Some(data), false) = (self.data, others.is_empty()) {
            let kept = data.stage_manifest(&others, left.arc, epoch, history.digest);
            on += kept.iter().filter(|(_, kept)| kept.is_ok()).count();
        }
        if on <= members.len() / 2 {
            return Err(Error::TooFew(format!(
                "what is left of the manifest of partition {} is on {on} of {} members: try again",
                left.arc,
                members.len()
            )));
        }
        Ok(HistoryLeft {
            base,
            left: Some(history),
        })
    }
}

/// The live node that holds least, those counted that it was given just now.
fn idlest(state: &ControlState, more: &mut BTreeMap<MemberId, usize>) -> Option<MemberId> {
    let live = state.members.iter();
    let live = live.filter(|(_, member)| member.liveness == Liveness::Live && !member.draining);
    let idlest = live
        .map(|(incarnation, member)| MemberId {
            incarnation: *incarnation,
            life: member.life,
        })
        .min_by_key(|id| {
            let partitions = state.partitions.values();
            let held = partitions.filter(|p| p.members.contains(id)).count();
            held + more.get(id).copied().unwrap_or(0)
        })?;
    *more.entry(idlest).or_default() += 1;
    Some(idlest)
}

fn describe(state: &ControlState, hopeless: &[Hopeless], lost: &BTreeSet<Incarnation>) -> Loss {
    let name = |who: Incarnation| match state.members.get(&who) {
        Some(member) if !member.name.is_empty() => member.name.clone(),
        _ => who.to_string(),
    };
    let partitions = hopeless.iter().filter_map(|one| {
        let partition = state.partition(one.arc)?;
        let members = &partition.members;
        Some(LossRow {
            arc: one.arc,
            members: members.iter().map(|m| name(m.incarnation)).collect(),
            left: one.left.iter().map(|m| name(m.incarnation)).collect(),
            empty: !one.left.iter().any(|m| members.contains(m)),
            lost_blocks: one.gone.count,
        })
    });
    Loss {
        partitions: partitions.collect(),
        nodes: lost.iter().map(|who| name(*who)).collect(),
        done: false,
    }
}
