//! From a delete that can be undone to one of which nothing is left: the leader begins it when its
//! day is over, blocks are rewritten (`merging`), and every member says when it holds nothing of it.

use std::sync::Arc;

use super::order::{Deletes, UNDO_MS};
use crate::cluster::blocks::PackUse;
use crate::cluster::control::{Command, ControlState, MemberId, Standing, TombstoneDone};
use crate::cluster::error::Error;
use crate::runtime::CancelToken;

/// A hint is kept for two windows at most, and its sender's clock may be a minute off: what is hinted
/// comes back before anybody says that nothing is left.
const HINTS_MS: i64 = (4 * 60 + 30) * 60 * 1000;

impl Deletes {
    /// Begins what is due, and says of what has begun whether this node holds anything of it.
    pub(in crate::cluster) fn pass(&self, cancel: &CancelToken) {
        let state = self.control.state();
        if state.tombstones.is_empty() {
            return;
        }
        if let Err(error) = self.begin_due(&state) {
            tracing::warn!(%error, "deletes that are due are not begun: it will be tried again");
        }
        for standing in state.tombstones.values().filter(|one| one.begun) {
            if cancel.check().is_err() {
                return;
            }
            if let Err(error) = self.report(&state, standing, cancel) {
                let id = standing.tombstone.id;
                tracing::warn!(
                    delete = %id, %error,
                    "whether anything is left of a delete cannot be said: it will be tried again"
                );
            }
        }
    }

    fn begin_due(&self, state: &ControlState) -> Result<(), Error> {
        let due = |one: &&Standing, now| !one.begun && one.tombstone.at.plus_ms(UNDO_MS) <= now;
        let own = self.clock.clock.now();
        if !state.tombstones.values().any(|one| due(&one, own)) || !self.control.is_leader() {
            return Ok(());
        }
        // Only when something would begin, others are asked whether it is time.
        let Some(confirmed) = self.control.confirmed() else {
            return Ok(());
        };
        let now = self.clock.now(&confirmed.voters)?;
        let standing = confirmed.state.tombstones.values();
        for one in standing.filter(|one| due(one, now)) {
            self.propose(&Command::TombstoneBegun(one.tombstone.id))?;
        }
        Ok(())
    }

    /// Says that nothing of a delete is here, if that is so.
    fn report(
        &self,
        state: &ControlState,
        standing: &Standing,
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let tombstone = &standing.tombstone;
        let among_others = self.clock.peers.is_some();
        if among_others && self.clock.clock.now() < tombstone.at.plus_ms(HINTS_MS) {
            return Ok(());
        }
        let mut by = None;
        for (arc, partition) in &state.partitions {
            let removal = standing.arcs.get(arc);
            let joins = partition.moving.and_then(|moving| moving.join);
            let mut members = partition.members.iter().copied().chain(joins);
            let Some(me) = members.find(|member: &MemberId| member.incarnation == self.clock.me)
            else {
                continue;
            };
            if removal.is_some_and(|one| one.settled || one.clean.contains(&me)) {
                continue;
            }
            let range = tombstone.deletion.range;
            let in_packs = |packs: &Arc<PackUse>| packs.has_dead(state, *arc, range, cancel);
            // What is in the catalog and not applied here is not looked at. A block that was rewritten stays in
            // the bucket until those that share its object have left it (`merging`).
            if self.store.applied_version(*arc) < partition.version
                || self.store.holds_any_of(*arc, &tombstone.deletion, cancel)?
                || self.packs.as_ref().map_or(Ok(false), in_packs)?
            {
                return Ok(());
            }
            by = Some(me);
        }
        let Some(by) = by else {
            return Ok(());
        };
        self.propose(&Command::TombstoneDone(TombstoneDone {
            id: tombstone.id,
            by,
            seen: state.applied,
        }))?;
        tracing::info!(delete = %tombstone.id, "nothing of a delete is left on this node");
        Ok(())
    }
}
