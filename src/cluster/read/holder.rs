//! What a node holds, as reads need it: a store, pinned under the epochs of its ring.

use std::collections::BTreeMap;

use super::leaves::Leaves;
use super::messages::{Asked, NamesKind, NamesRequest, PartitionAnswer, State};
use super::protocol::HeldHere;
use crate::cluster::control::{Control, ControlState, MemberId};
use crate::cluster::quorum::{Role, Sets};
use crate::model::{Epoch, Incarnation, LabelSet, RingArc, TimeRange};
use crate::source::{
    FamilyMetadata, ReadContext, Selection, SeriesExemplars, SeriesStream, Source, SourceError,
};

/// A place that can be pinned: this node's store, and in tests its double.
pub trait Holder: Send + Sync + 'static {
    /// One view of some partitions, blocks and head together. It stays as it is for as long as it
    /// is held, but for what is appended to the head meanwhile, which may show.
    ///
    /// # Errors
    /// As [`SourceError`] says.
    fn pin(&self, arcs: &[RingArc], range: TimeRange) -> Result<Box<dyn Pinned>, SourceError>;

    /// All that is held here, for what has no samples.
    fn names(&self) -> &dyn Source;
}

/// A pinned view.
pub trait Pinned: Send + Sync {
    /// What is held of a partition: the version of its blocks, and its head's sums in a range.
    ///
    /// # Errors
    /// As [`SourceError`] says.
    fn holding(&self, arc: RingArc, range: TimeRange) -> Result<HeldHere, SourceError>;

    /// The version of a partition's blocks alone.
    fn version(&self, arc: RingArc) -> u64;

    /// The series of some partitions that match, with their samples.
    ///
    /// # Errors
    /// As [`SourceError`] says.
    fn select(
        &self,
        arcs: &[RingArc],
        selection: &Selection,
        context: &ReadContext,
    ) -> Result<Box<dyn SeriesStream>, SourceError>;

    /// The same of what the head holds in some leaves.
    ///
    /// # Errors
    /// As [`SourceError`] says.
    fn select_heads(
        &self,
        leaves: &BTreeMap<RingArc, Leaves>,
        selection: &Selection,
        context: &ReadContext,
    ) -> Result<Box<dyn SeriesStream>, SourceError>;
}

/// Whether states carry the sums of heads, or only versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Say {
    /// Versions alone.
    Versions,
    /// Versions and sums.
    Sums,
}

/// Changes of the ring while a view is taken; more in a row is not what a ring does.
const ATTEMPTS_MAX: usize = 16;

/// The newest windows of a partition of which each leaf is said: two days. Of those before, where
/// mostly nothing is held any more, one sum.
const DETAILED_WINDOWS: usize = 24;

/// A view, and what is to be said of it.
pub(super) struct Viewed {
    pub(super) state: State,
    pub(super) pinned: Box<dyn Pinned>,
}

/// What this node is in the ring: its incarnation with the life that the control state knows.
pub(super) fn myself(state: &ControlState, me: Incarnation) -> MemberId {
    MemberId {
        incarnation: me,
        life: state.members.get(&me).map_or(0, |member| member.life),
    }
}

/// A node's own epoch of a partition; 0 when there is no such partition.
fn epoch_of(state: &ControlState, arc: RingArc) -> Epoch {
    state.partition(arc).map_or(Epoch(0), |found| found.epoch)
}

/// The partitions for which the epoch that was asked under is not yet known here.
pub(super) fn is_behind(state: &ControlState, asked: &[Asked]) -> bool {
    let mut asked = asked.iter();
    asked.any(|one| epoch_of(state, one.arc) < one.epoch)
}

/// Takes one view of the partitions whose epoch is the one asked under, and says what it holds;
/// of the others the epoch that they have here. The epochs are those of the moment of the view:
/// they were the same before and after it.
pub(super) fn view_under(
    control: &dyn Control,
    holder: &dyn Holder,
    me: Incarnation,
    asked: &[Asked],
    range: TimeRange,
    say: Say,
) -> Result<Viewed, SourceError> {
    for _ in 0..ATTEMPTS_MAX {
        let state = control.state();
        let is_current = |one: &&Asked| epoch_of(&state, one.arc) == one.epoch;
        let arcs: Vec<RingArc> = asked.iter().filter(is_current).map(|one| one.arc).collect();
        let pinned = holder.pin(&arcs, range)?;
        let after = control.state();
        let mut same = arcs.iter();
        if !same.all(|arc| epoch_of(&after, *arc) == epoch_of(&state, *arc)) {
            continue;
        }
        let member = myself(&state, me);
        let mut partitions = BTreeMap::new();
        for one in asked {
            let mut answer = PartitionAnswer {
                epoch: epoch_of(&state, one.arc),
                holding: HeldHere::default(),
                sets: 0,
            };
            if answer.epoch == one.epoch {
                answer.sets = state.partition(one.arc).map_or(0, |partition| {
                    match Sets::of(partition).role(member) {
                        Role::Outside => 0,
                        Role::Leaving => 1,
                        Role::Joining => 2,
                        Role::Member => 3,
                    }
                });
                answer.holding = match say {
                    Say::Sums => {
                        let mut held = pinned.holding(one.arc, range)?;
                        held.heads.flatten_older(DETAILED_WINDOWS);
                        held
                    }
                    Say::Versions => HeldHere {
                        version: pinned.version(one.arc),
                        ..HeldHere::default()
                    },
                };
            }
            partitions.insert(one.arc, answer);
        }
        return Ok(Viewed {
            state: State {
                member,
                applied: state.applied,
                partitions,
            },
            pinned,
        });
    }
    Err(SourceError::Unavailable(
        "the ring changes faster than it can be read: try again".to_owned(),
    ))
}

/// What has no samples.
pub(super) enum Names {
    Series(Vec<LabelSet>),
    /// Label names or values.
    Texts(Vec<String>),
    Metadata(Vec<FamilyMetadata>),
    Exemplars(Vec<SeriesExemplars>),
}

/// What is held here of names, and the partitions for which that is an answer: those whose epoch
/// was the asked one before and after the reading.
pub(super) fn names_under(
    control: &dyn Control,
    holder: &dyn Holder,
    me: Incarnation,
    request: &NamesRequest,
    context: &ReadContext,
) -> Result<(State, Names), SourceError> {
    let NamesRequest {
        kind,
        selection,
        partitions,
        limit,
    } = request;
    let before = view_under(
        control,
        holder,
        me,
        partitions,
        selection.range,
        Say::Versions,
    )?;
    let source = holder.names();
    let found = match kind {
        NamesKind::Series => Names::Series(source.series(selection, *limit, context)?),
        NamesKind::LabelNames => Names::Texts(source.label_names(selection, *limit, context)?),
        NamesKind::LabelValues(name) => {
            Names::Texts(source.label_values(name, selection, *limit, context)?)
        }
        NamesKind::Metadata(family) => {
            let family = family.as_deref();
            Names::Metadata(source.metadata(&selection.tenant, family, context)?)
        }
        NamesKind::Exemplars => Names::Exemplars(source.exemplars(selection, context)?),
    };
    let after = view_under(
        control,
        holder,
        me,
        partitions,
        selection.range,
        Say::Versions,
    )?;
    let mut state = after.state;
    for one in partitions.iter().filter(|one| !before.state.answers(one)) {
        if let Some(answer) = before.state.partitions.get(&one.arc) {
            state.partitions.insert(one.arc, answer.clone());
        }
    }
    Ok((state, found))
}
