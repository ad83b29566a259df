//! Looks at one block after the other, and heals what it finds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::cycle::{Cycle, Located, ROUND};
use super::look::{Look, Looker};
use super::metrics::{ScrubMetrics, Where};
use crate::cluster::blocks::{Archive, Uploader};
use crate::cluster::control::{Control, Partition};
use crate::cluster::error::Error;
use crate::cluster::manifests::{Manifests, listed};
use crate::cluster::moves::Follower;
use crate::cluster::turns::is_first;
use crate::model::{BlockId, Incarnation, RingArc, Uploaded};
use crate::runtime::{CancelToken, Clock, Throttle};
use crate::store::{self, Store};

/// A fifth of what a slow SD card reads, and 2 % of a small core for hashing; 2.4 TB a week.
const BYTES_PER_SECOND: u64 = 4 << 20;
/// Blocks that one turn looks at, so that the other copies get theirs.
const TURN_BLOCKS: usize = 16;
/// What could not be healed, or a bucket that could not be asked, is tried again after so long.
const PAUSE: Duration = Duration::from_secs(5 * 60);

/// What the scrub says of one kind of copies.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ScrubStatus {
    /// Which: `local` or `bucket`.
    pub copies: &'static str,
    /// When its round began, in milliseconds since 1970.
    pub began_ms: i64,
    /// How long a round takes, in seconds.
    pub round_seconds: u64,
    /// Bytes it has looked at in this round.
    pub bytes: u64,
    /// Copies that were found damaged or missing since this process began.
    pub found: u64,
    /// Those of them that were replaced.
    pub healed: u64,
    /// What could not be replaced yet, in words.
    pub unhealed: Vec<String>,
}

/// What a scrubber is made from.
pub(in crate::cluster) struct ScrubberParts {
    pub(in crate::cluster) store: Arc<Store>,
    pub(in crate::cluster) control: Arc<dyn Control>,
    pub(in crate::cluster) follower: Arc<Follower>,
    pub(in crate::cluster) manifests: Arc<Manifests>,
    /// Where there is a bucket.
    pub(in crate::cluster) bucket: Option<(Archive, Arc<Uploader>)>,
    pub(in crate::cluster) clock: Arc<dyn Clock>,
    pub(in crate::cluster) me: Incarnation,
    pub(in crate::cluster) metrics: ScrubMetrics,
}

/// Looks at blocks.
pub(in crate::cluster) struct Scrubber {
    parts: ScrubberParts,
    looker: Arc<Looker>,
    throttle: Throttle,
    sides: Mutex<[Side; 2]>,
}

/// One kind of copies.
struct Side {
    copies: Where,
    cycle: Cycle,
    found: u64,
    healed: u64,
    unhealed: BTreeMap<BlockId, (Located, String)>,
    /// What somebody else has found damaged: looked at first.
    suspected: BTreeMap<BlockId, Located>,
    /// When it goes on after a failure.
    resume: Duration,
}

impl Scrubber {
    pub(in crate::cluster) fn new(parts: ScrubberParts) -> Self {
        let now = parts.clock.now();
        let side = |copies: Where| {
            let note = parts.store.scrub_note(copies.text()).ok().flatten();
            let cycle = note.and_then(|bytes| Cycle::decode(&bytes));
            Side {
                copies,
                cycle: cycle.unwrap_or_else(|| Cycle::begin(now)),
                found: 0,
                healed: 0,
                unhealed: BTreeMap::new(),
                suspected: BTreeMap::new(),
                resume: Duration::ZERO,
            }
        };
        Self {
            sides: Mutex::new(Where::ALL.map(side)),
            throttle: Throttle::new(BYTES_PER_SECOND),
            looker: Arc::new(Looker {
                store: Arc::clone(&parts.store),
                control: Arc::clone(&parts.control),
                manifests: Arc::clone(&parts.manifests),
                archive: parts.bucket.as_ref().map(|(archive, _)| archive.clone()),
            }),
            parts,
        }
    }

    /// What it looks at copies with.
    pub(in crate::cluster) fn looker(&self) -> Arc<Looker> {
        Arc::clone(&self.looker)
    }

    /// Has a copy looked at, and healed, in the next turn: somebody has found it damaged.
    pub(in crate::cluster) fn suspect(&self, copies: Where, located: Located) {
        let mut sides = self.sides.lock();
        if let Some(side) = sides.iter_mut().find(|side| side.copies == copies) {
            side.suspected.insert(located.1.id, located);
        }
    }

    /// What it has found.
    pub(in crate::cluster) fn status(&self) -> Vec<ScrubStatus> {
        let sides = self.sides.lock();
        let sides = sides.iter().filter(|side| self.has(side.copies));
        let of = |side: &Side| ScrubStatus {
            copies: side.copies.text(),
            began_ms: side.cycle.begun.0,
            round_seconds: ROUND.as_secs(),
            bytes: side.cycle.bytes,
            found: side.found,
            healed: side.healed,
            unhealed: side.unhealed.values().map(|(_, why)| why.clone()).collect(),
        };
        sides.map(of).collect()
    }

    /// One turn: what could not be healed before, then what is due. Errors are logged here.
    pub(in crate::cluster) fn round(&self, cancel: &CancelToken) {
        for index in 0..Where::ALL.len() {
            let now = self.parts.clock.elapsed();
            let Some((copies, resume)) = self.with(index, |side| (side.copies, side.resume)) else {
                return;
            };
            if !self.has(copies) || now < resume {
                continue;
            }
            if let Err(error) = self.turn(index, copies, cancel)
                && cancel.check().is_ok()
            {
                tracing::debug!(%error, "the scrub pauses");
                self.pause(index);
            }
            let stands = self.with(index, |side| (side.unhealed.len(), side.cycle.begun.0));
            if let Some((unhealed, began)) = stands {
                self.parts.metrics.stands(copies, unhealed, began);
            }
        }
    }

    fn with<T>(&self, index: usize, visit: impl FnOnce(&mut Side) -> T) -> Option<T> {
        self.sides.lock().get_mut(index).map(visit)
    }

    fn pause(&self, index: usize) {
        let resume = self.parts.clock.elapsed().saturating_add(PAUSE);
        self.with(index, |side| side.resume = resume);
    }

    /// Whether there are copies of a kind.
    pub(in crate::cluster) const fn has(&self, copies: Where) -> bool {
        matches!(copies, Where::Local) || self.parts.bucket.is_some()
    }

    fn turn(&self, index: usize, copies: Where, cancel: &CancelToken) -> Result<(), Error> {
        let again = self.with(index, |side| {
            let unhealed = side.unhealed.iter();
            let unhealed = unhealed.map(|(id, (located, _))| (*id, located.clone()));
            let mut again: BTreeMap<BlockId, Located> = unhealed.collect();
            again.append(&mut side.suspected.clone());
            again
        });
        for (id, located) in again.into_iter().flatten() {
            self.visit(index, copies, &located, cancel)?;
            self.with(index, |side| side.suspected.remove(&id));
        }
        let blocks = self.blocks(copies);
        for _ in 0..TURN_BLOCKS {
            cancel.check().map_err(store::Error::from)?;
            let now = self.parts.clock.now();
            let next = self.with(index, |side| {
                if side.cycle.is_over(now) && side.cycle.after(&blocks).is_none() {
                    side.cycle = Cycle::begin(now);
                }
                side.cycle.next(&blocks, now).cloned()
            });
            let Some(located) = next.flatten() else {
                return Ok(());
            };
            self.visit(index, copies, &located, cancel)?;
            let note = self.with(index, |side| {
                side.cycle.note(&located);
                side.cycle.encode()
            });
            let store = &self.parts.store;
            store.put_scrub_note(copies.text(), &note.unwrap_or_default())?;
        }
        Ok(())
    }

    /// What this node is to look at, each once.
    fn blocks(&self, copies: Where) -> Vec<Located> {
        let found = match copies {
            Where::Local => self.parts.store.blocks(),
            Where::Bucket => self.uploaded(),
        };
        let mut blocks = BTreeMap::new();
        for (arc, entry) in found {
            blocks.entry(entry.id).or_insert((arc, entry));
        }
        blocks.into_values().collect()
    }

    /// What the bucket has of the partitions that this node is to look at.
    fn uploaded(&self) -> Vec<Located> {
        let state = self.parts.control.state();
        let mine = state.partitions.iter();
        let mine =
            mine.filter(|(arc, partition)| is_first(&state, (**arc, partition), self.parts.me));
        let of = |(arc, partition): (&RingArc, &Arc<Partition>)| {
            // One whose manifest is not here yet has its turn later.
            let listed = listed(&self.parts.manifests, *arc, partition).ok();
            let entries = listed.iter().flat_map(|listed| listed.entries());
            let entries = entries.filter(|entry| entry.uploaded != Uploaded::None);
            let located = entries.map(|entry| (*arc, entry.clone()));
            located.collect::<Vec<Located>>()
        };
        mine.flat_map(of).collect()
    }

    /// Looks at one copy, and heals it when it must be.
    fn visit(
        &self,
        index: usize,
        copies: Where,
        located: &Located,
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let (arc, entry) = located;
        let metrics = &self.parts.metrics;
        let look = match copies {
            Where::Local => self.looker.here(entry, &self.throttle, cancel)?,
            Where::Bucket => self.looker.there(*arc, entry, &self.throttle, cancel)?,
        };
        let problem = match look {
            Look::Bad(problem) => problem,
            Look::Elsewhere => String::new(),
            Look::Good(bytes) => {
                metrics.read(copies, bytes);
                String::new()
            }
        };
        if problem.is_empty() {
            self.with(index, |side| side.unhealed.remove(&entry.id));
            return Ok(());
        }
        let known = self.with(index, |side| side.unhealed.contains_key(&entry.id));
        if known != Some(true) {
            tracing::warn!(
                block = %entry.id, partition = %arc, copies = copies.text(), reason = problem,
                "a copy of a block is damaged or missing"
            );
            metrics.found(copies);
            self.with(index, |side| side.found += 1);
        }
        let healed = match copies {
            Where::Local => self.heal_here(located, cancel),
            Where::Bucket => self.heal_there(located, cancel),
        };
        match healed {
            Ok(()) => {
                tracing::info!(
                    block = %entry.id, partition = %arc, copies = copies.text(),
                    "a copy of a block is replaced by a good one"
                );
                metrics.healed(copies);
                self.with(index, |side| {
                    side.healed += 1;
                    side.unhealed.remove(&entry.id);
                });
            }
            Err(error) => {
                cancel.check().map_err(store::Error::from)?;
                let why = format!(
                    "the {} copy of block {} of partition {arc} is damaged ({problem}) and could not be replaced: {error}",
                    copies.text(),
                    entry.id
                );
                self.with(index, |side| {
                    side.unhealed.insert(entry.id, (located.clone(), why))
                });
                self.pause(index);
            }
        }
        Ok(())
    }

    /// A good copy comes from a peer, or from the bucket.
    fn heal_here(&self, (arc, entry): &Located, cancel: &CancelToken) -> Result<(), Error> {
        let store = &self.parts.store;
        store.mark_damaged(entry.id);
        let state = self.parts.control.state();
        // What is known of the upload is in the catalog, not in what was applied.
        let named = self.looker.named(*arc, entry.id);
        let named = named.as_ref().unwrap_or(entry);
        self.parts
            .follower
            .fetch_file(&state, *arc, named, cancel)?;
        Ok(store.replace(entry)?)
    }

    /// The file goes there again, from here or from a peer.
    fn heal_there(&self, (arc, entry): &Located, cancel: &CancelToken) -> Result<(), Error> {
        let Some((_, uploader)) = &self.parts.bucket else {
            return Ok(());
        };
        let store = &self.parts.store;
        let was_here = store.has_file(entry.id)?;
        if !was_here {
            let state = self.parts.control.state();
            self.parts
                .follower
                .fetch_file(&state, *arc, entry, cancel)?;
        }
        let put = uploader.put_again(*arc, entry, cancel);
        if !was_here && !store.damaged().contains(&entry.id) {
            store.unstage(entry.id)?;
        }
        put
    }
}
