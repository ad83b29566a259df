//! The lives of a data directory: how often it has lost a part of what it had acknowledged.
//!
//! With `log.sync` at `interval` or `os` an acknowledgement does not wait for the disk. A crash of the
//! process loses nothing, because the system has what was written; a crash of the machine may.
//! Nothing on the disk says what is missing, so such a start is suspected as a whole: it is a new
//! life, and a member is an incarnation in one life (the replication protocol's section 3). What
//! the life before had acknowledged counts no more; the ring moves its places to the new one, which
//! gathers from the others what it lacks.
//!
//! The suspicion is a record that is there while the node runs in such a mode, and says under which
//! start of the system: one that is found under the same start, or not at all, means that nothing was
//! lost. With `log.sync` at `fsync` there is none, and nothing is written.
//!
//! In every mode a log may be set back by hands: an old copy of it, under a data directory that went
//! on. What peers remember of it shows that, once it was read; then a mark is left, and the next
//! start begins a new life ([`Life::check_log`]).
//!
//! Keys in [`Space::Meta`]: `life/set-back` (8 bytes: the position that a peer remembers), `life/number` (4 bytes, most significant first), `life/open` (the
//! system's boot id, as text; empty where the system has none, and then every unclean stop counts).

use std::sync::Arc;
use std::time::Duration;

use super::error::Error;
use crate::runtime::{Rule, holds};
use crate::store::{self, Batch, Durability, Engine, Space, Store, SyncMode, WriteLogSettings};

const NUMBER_KEY: &[u8] = b"life/number";
const OPEN_KEY: &[u8] = b"life/open";
const SET_BACK_KEY: &[u8] = b"life/set-back";

/// Linux writes what is older than 30 s, and looks every 5 s (vm.dirty_*_centisecs).
const SYSTEM_WRITES_WITHIN: Duration = Duration::from_secs(35);

/// This data directory's life.
pub(super) struct Life {
    engine: Arc<dyn Engine>,
    number: u32,
    /// What the record says while the node runs; `None`: acknowledged samples are on the disk.
    open: Option<Vec<u8>>,
    lost: bool,
}

impl Life {
    /// Reads which life this is, and begins a new one when the last may have lost something.
    ///
    /// # Errors
    /// When the engine fails or the number is damaged.
    pub(super) fn open(
        engine: Arc<dyn Engine>,
        sync: SyncMode,
        boot: Option<&str>,
    ) -> Result<Self, Error> {
        let mut number = match engine.get(Space::Meta, NUMBER_KEY)? {
            None => 0,
            Some(bytes) => {
                let bytes: [u8; 4] = bytes.as_slice().try_into().map_err(|_| {
                    store::Error::corrupt("the record life/number", "it is not 4 bytes long")
                })?;
                u32::from_be_bytes(bytes)
            }
        };
        let found = engine.get(Space::Meta, OPEN_KEY)?;
        let boot = boot.unwrap_or_default().as_bytes();
        let stopped = found.is_some_and(|before| boot.is_empty() || before != boot)
            && holds(Rule::LostMemoryIsAnotherLife);
        let set_back = engine.get(Space::Meta, SET_BACK_KEY)?.is_some();
        let lost = stopped || set_back;
        if lost {
            number = number.saturating_add(1);
            let mut batch = Batch::new();
            batch.put(Space::Meta, NUMBER_KEY, &number.to_be_bytes());
            // The next start of the same life must not begin another one.
            batch.delete(Space::Meta, OPEN_KEY);
            batch.delete(Space::Meta, SET_BACK_KEY);
            engine.write(batch, Durability::Synced)?;
            let reason = if set_back {
                "its log is shorter than others remember it"
            } else {
                "the machine stopped while acknowledged samples were not on its disk yet"
            };
            tracing::warn!(
                life = number,
                reason,
                "this node counts as a new member until it has gathered from others what it lacks"
            );
        }
        Ok(Self {
            engine,
            number,
            open: (sync != SyncMode::Fsync).then(|| boot.to_vec()),
            lost,
        })
    }

    /// Which life this is; the first is 0.
    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    /// How much of what was acknowledged this start may have lost; of a log that was set back nobody
    /// knows, and it counts as what the system had not written.
    pub(super) fn possible_loss(&self, log: &WriteLogSettings) -> Duration {
        match log.sync {
            _ if !self.lost => Duration::ZERO,
            SyncMode::Interval => log.sync_interval,
            SyncMode::Fsync | SyncMode::Os => SYSTEM_WRITES_WITHIN,
        }
    }

    /// From here on samples may be acknowledged.
    ///
    /// # Errors
    /// When the engine fails.
    pub(super) fn begin(&self) -> Result<(), Error> {
        let mut batch = Batch::new();
        match &self.open {
            Some(boot) => batch.put(Space::Meta, OPEN_KEY, boot),
            None if self.engine.get(Space::Meta, OPEN_KEY)?.is_none() => return Ok(()),
            None => batch.delete(Space::Meta, OPEN_KEY),
        };
        Ok(self.engine.write(batch, Durability::Synced)?)
    }

    /// Compares where the log of samples ends, now that it was read, with what peers remember of it.
    /// Where it is shorter, acknowledged samples are missing: it goes on behind that position, and
    /// the next start is a new life, unless this one is.
    ///
    /// # Errors
    /// When this start must end for that; when store or engine fail.
    pub(super) fn check_log(&self, store: &Store, remembered: u64) -> Result<(), Error> {
        let ends = store.durable_position();
        if ends >= remembered || !holds(Rule::LogsAreNotSetBack) {
            return Ok(());
        }
        if !self.lost {
            let mut batch = Batch::new();
            batch.put(Space::Meta, SET_BACK_KEY, &remembered.to_be_bytes());
            self.engine.write(batch, Durability::Synced)?;
        }
        store.jump_log(remembered)?;
        if self.lost {
            return Ok(());
        }
        Err(Error::Ended(format!(
            "the log of samples ends at record {ends}, and peers remember it up to {remembered}: an old copy of it is in its place, and acknowledged samples are missing here; start this node again, and it gathers from the others what it lacks"
        )))
    }

    /// All that was acknowledged is on the disk, and nothing will be any more.
    ///
    /// # Errors
    /// When the engine fails.
    pub(super) fn end(&self) -> Result<(), Error> {
        if self.open.is_none() {
            return Ok(());
        }
        let mut batch = Batch::new();
        batch.delete(Space::Meta, OPEN_KEY);
        Ok(self.engine.write(batch, Durability::Synced)?)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::store::MemoryEngine;

    fn open(disk: &Arc<MemoryEngine>, sync: SyncMode, boot: Option<&str>) -> Life {
        let engine: Arc<dyn Engine> = disk.clone();
        let life = Life::open(engine, sync, boot).unwrap();
        life.begin().unwrap();
        life
    }

    /// Would catch a member that counts though it lost what it had acknowledged, and one that
    /// must gather everything anew though it lost nothing.
    #[test]
    fn only_a_machine_that_stopped_in_a_weaker_mode_makes_a_new_life() {
        use SyncMode::{Fsync, Interval, Os};
        // Mode, boot before and after, a clean stop between them, the life after.
        let cases = [
            (Fsync, Some("a"), Some("b"), false, 0),
            (Interval, Some("a"), Some("a"), false, 0),
            (Interval, Some("a"), Some("b"), false, 1),
            (Interval, Some("a"), Some("b"), true, 0),
            (Os, Some("a"), Some("b"), false, 1),
            (Os, None, None, false, 1),
            (Os, None, None, true, 0),
        ];
        for (mode, before, after, clean, want) in cases {
            let disk = Arc::new(MemoryEngine::new(Path::new("unused")));
            let first = open(&disk, mode, before);
            if clean {
                first.end().unwrap();
            }
            disk.crash(0);
            let second = open(&disk, mode, after);
            let case = (mode, before, after, clean);
            assert_eq!(second.number(), want, "{case:?}");
            assert_eq!(second.lost, want == 1, "{case:?}");
        }
    }

    #[test]
    fn a_life_is_begun_once_and_another_mode_ends_the_suspicion() {
        let disk = Arc::new(MemoryEngine::new(Path::new("unused")));
        open(&disk, SyncMode::Interval, Some("a"));
        let engine: Arc<dyn Engine> = disk.clone();
        // It crashes before it takes part, twice.
        for want in [1, 1] {
            let life = Life::open(Arc::clone(&engine), SyncMode::Interval, Some("b")).unwrap();
            assert_eq!(life.number(), want);
            disk.crash(0);
        }
        open(&disk, SyncMode::Interval, Some("b"));
        open(&disk, SyncMode::Fsync, Some("b"));
        assert_eq!(open(&disk, SyncMode::Fsync, Some("c")).number(), 1);
    }
}
