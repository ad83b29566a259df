//! What a person orders: to delete, to take a delete back, to be rid of it now; and the list of what
//! is under way.

use std::sync::Arc;

use crate::cluster::blocks::PackUse;
use crate::cluster::clocks::DeletionClock;
use crate::cluster::control::{
    Command, Control, ControlError, ControlState, MATCHERS_BYTES_MAX, Standing, TOMBSTONE_LEVEL,
    Tombstone, TombstoneId,
};
use crate::cluster::error::Error;
use crate::cluster::opening::World;
use crate::model::{Deletion, Matcher, TenantId, TimeRange, TimestampMs};
use crate::runtime::Chance;
use crate::store::Store;

/// A delete can be undone for so long: whoever has mistyped a matcher finds out on the same day.
pub(super) const UNDO_MS: i64 = 24 * 60 * 60 * 1000;

/// Where samples are deleted. Clones are the same.
#[derive(Clone)]
pub struct Deletes {
    pub(super) control: Arc<dyn Control>,
    pub(super) store: Arc<Store>,
    /// `None` where there is no bucket.
    pub(super) packs: Option<Arc<PackUse>>,
    pub(super) clock: DeletionClock,
    chance: Arc<dyn Chance>,
}

impl std::fmt::Debug for Deletes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Deletes")
    }
}

/// A delete that is under way, for a person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeleteRow {
    /// Its name, by which it is undone.
    pub id: String,
    /// Whose series.
    pub tenant: String,
    /// Which, as a selector.
    pub selector: String,
    /// Of which times.
    pub range: TimeRange,
    /// When it was asked for.
    pub at: TimestampMs,
    /// Until when it can be undone.
    pub undo_until: TimestampMs,
    /// Whether it cannot be undone any more, because its samples are being removed.
    pub begun: bool,
    /// Of how many partitions nobody holds any of it.
    pub partitions_done: usize,
    /// How many partitions there are.
    pub partitions: usize,
}

impl DeleteRow {
    fn of(standing: &Standing, state: &ControlState) -> Self {
        let Standing {
            tombstone,
            begun,
            arcs,
        } = standing;
        let matchers = tombstone.deletion.matchers.iter();
        let matchers: Vec<String> = matchers.map(Matcher::to_string).collect();
        Self {
            id: tombstone.id.to_string(),
            tenant: tombstone.deletion.tenant.as_str().to_owned(),
            selector: format!("{{{}}}", matchers.join(",")),
            range: tombstone.deletion.range,
            at: tombstone.at,
            undo_until: tombstone.at.plus_ms(UNDO_MS),
            begun: *begun,
            partitions_done: arcs.values().filter(|removal| removal.settled).count(),
            partitions: state.partitions.len(),
        }
    }
}

/// All deletes of a state, the oldest first.
pub(in crate::cluster) fn rows(state: &ControlState) -> Vec<DeleteRow> {
    let standing = state.tombstones.values();
    let mut rows: Vec<DeleteRow> = standing.map(|one| DeleteRow::of(one, state)).collect();
    rows.sort_by(|one, other| (one.at, &one.id).cmp(&(other.at, &other.id)));
    rows
}

impl Deletes {
    pub(in crate::cluster) fn new(
        control: &Arc<dyn Control>,
        store: &Arc<Store>,
        packs: Option<Arc<PackUse>>,
        clock: DeletionClock,
        world: &World,
    ) -> Self {
        Self {
            control: Arc::clone(control),
            store: Arc::clone(store),
            packs,
            clock,
            chance: Arc::clone(&world.chance),
        }
    }

    /// Hides the samples of the series that match, from `range`'s start to its end or to now,
    /// whichever is earlier. It is in force here when this returns, and on other nodes a moment later.
    /// `None`: the range has not begun yet, and there is nothing to delete.
    ///
    /// # Errors
    /// When it is too long, an older program is in the cluster, too many are under way, or the
    /// control group cannot decide.
    pub fn delete(
        &self,
        tenant: &TenantId,
        matchers: Vec<Matcher>,
        range: TimeRange,
    ) -> Result<Option<DeleteRow>, Error> {
        let at = self.clock.clock.now();
        let range = TimeRange::new(range.start, range.end.min(at));
        if range.is_empty() {
            return Ok(None);
        }
        let bytes: usize = matchers
            .iter()
            .map(|m| m.name().len() + m.value().len())
            .sum();
        if bytes > MATCHERS_BYTES_MAX {
            return Err(Error::Setting(format!(
                "the matchers are {bytes} bytes long (bound {MATCHERS_BYTES_MAX}): delete with several selectors"
            )));
        }
        let state = self.control.state();
        let level = state.feature_level;
        if level < TOMBSTONE_LEVEL {
            return Err(Error::Setting(format!(
                "deletes need feature level {TOMBSTONE_LEVEL} and the cluster is at {level}: upgrade all nodes first"
            )));
        }
        let tombstone = Tombstone {
            id: TombstoneId(self.chance.next_u128()),
            deletion: Deletion {
                tenant: tenant.clone(),
                matchers,
                range,
            },
            at,
        };
        let standing = Standing::new(tombstone, false);
        let row = DeleteRow::of(&standing, &state);
        self.propose(&Command::Tombstone(standing.tombstone))?;
        tracing::info!(delete = %row.id, selector = %row.selector, start = range.start.0, end = range.end.0,
            "samples are deleted: hidden from now on, and removed when the delete cannot be undone any more");
        Ok(Some(row))
    }

    /// Shows again what a delete of a tenant hides.
    ///
    /// # Errors
    /// When there is none of that name, it cannot be undone any more, or the control group cannot
    /// decide.
    pub fn undo(&self, tenant: &TenantId, id: &str) -> Result<(), Error> {
        let state = self.control.state();
        let mut own = state.tombstones.values().map(|one| &one.tombstone);
        let found = own.find(|one| one.id.to_string() == id && one.deletion.tenant == *tenant);
        let Some(found) = found else {
            return Err(Error::Setting(format!(
                "there is no delete {id}: it has ended, or was undone"
            )));
        };
        self.propose(&Command::TombstoneUndone(found.id))?;
        tracing::info!(delete = id, "a delete was undone");
        Ok(())
    }

    /// Begins to remove what a tenant has deleted, without waiting for the day in which it can be
    /// undone; says of how many deletes. Samples that are in no block yet go when they are sealed.
    ///
    /// # Errors
    /// When the control group cannot decide.
    pub fn clean(&self, tenant: &TenantId) -> Result<usize, Error> {
        let state = self.control.state();
        let own = state.tombstones.values();
        let own = own.filter(|one| !one.begun && one.tombstone.deletion.tenant == *tenant);
        let mut begun = 0;
        for one in own {
            self.propose(&Command::TombstoneBegun(one.tombstone.id))?;
            begun += 1;
        }
        Ok(begun)
    }

    /// The deletes of a tenant that are under way, the oldest first.
    #[must_use]
    pub fn list(&self, tenant: &TenantId) -> Vec<DeleteRow> {
        let mut rows = rows(&self.control.state());
        rows.retain(|row| row.tenant == tenant.as_str());
        rows
    }

    pub(super) fn propose(&self, command: &Command) -> Result<(), Error> {
        let outcome = self.control.propose(command)?;
        outcome.into_result().map_err(|refusal| {
            Error::Control(ControlError::Refused {
                command: command.name(),
                refusal,
            })
        })
    }
}
