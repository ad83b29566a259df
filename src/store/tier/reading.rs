//! What one read has fetched, and what it wants next.
//!
//! A read is planned by trying it: while it is *planning*, a part that is not here is noted and
//! the attempt ends; [`Reading::start`] then fetches all that was noted, and the read is tried
//! again. Where nobody plans, a part that is not here is fetched at once, alone.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::check::Check;
use super::ranges::join;
use super::remote::{Fetching, Piece, RemoteBlock};
use super::whole::Tier;
use crate::model::BlockId;
use crate::runtime::{Budget, CancelToken, Reservation};
use crate::source::ReadContext;
use crate::store::error::Error;

/// Where a part begins in its block's file, and its bytes.
type Part = (u64, u64);
type Key = (BlockId, Part);

/// Why reads of some blocks failed.
pub(in crate::store) type Failures = BTreeMap<BlockId, Error>;

struct Want {
    tier: Arc<Tier>,
    block: Arc<RemoteBlock>,
    check: Check,
}

#[derive(Default)]
struct State {
    planning: bool,
    wanted: BTreeMap<Key, Want>,
    held: HashMap<Key, Arc<[u8]>>,
    /// What was fetched and nobody has taken yet.
    untaken: HashSet<Key>,
}

/// The remote side of one read. Clones are made of the `Arc` around it.
pub(in crate::store) struct Reading {
    cancel: CancelToken,
    /// `None` where nobody asked a query: seals and merges.
    budget: Option<Budget>,
    state: Mutex<State>,
}

/// Parts that stay in memory as long as this lives.
pub(in crate::store) struct Held {
    reading: Arc<Reading>,
    keys: Vec<Key>,
    _charged: Option<Reservation>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.reading.state.lock();
        for key in &self.keys {
            state.held.remove(key);
        }
    }
}

/// Parts that lie in one range that is fetched.
struct Run {
    block: Arc<RemoteBlock>,
    from: u64,
    parts: Vec<(Part, Check)>,
}

/// Parts on their way.
pub(in crate::store) struct Pending {
    tier: Arc<Tier>,
    fetching: Box<dyn Fetching>,
    runs: Vec<Run>,
    charged: Option<Reservation>,
}

/// What has come of them.
#[derive(Default)]
struct Arrived {
    good: Vec<(Key, Arc<[u8]>)>,
    bad: Vec<(Arc<RemoteBlock>, Part, Check, String)>,
    failures: Failures,
}

impl Reading {
    /// For a query.
    pub(in crate::store) fn of(context: &ReadContext) -> Arc<Self> {
        Self::new(context.cancel.clone(), Some(context.budget.clone()))
    }

    /// For work that no query waits for.
    pub(in crate::store) fn background() -> Arc<Self> {
        Self::new(CancelToken::new(), None)
    }

    fn new(cancel: CancelToken, budget: Option<Budget>) -> Arc<Self> {
        Arc::new(Self {
            cancel,
            budget,
            state: Mutex::default(),
        })
    }

    /// Tries something on what is here, and notes what is not.
    pub(in crate::store) fn planning<T>(&self, work: impl FnOnce() -> T) -> T {
        self.state.lock().planning = true;
        let result = work();
        self.state.lock().planning = false;
        result
    }

    /// How much has been noted since the last start.
    pub(super) fn wanted(&self) -> usize {
        self.state.lock().wanted.len()
    }

    /// The bytes of it.
    pub(in crate::store) fn wanted_bytes(&self) -> u64 {
        let state = self.state.lock();
        let parts = state.wanted.keys();
        parts.fold(0, |sum, (_, part)| sum.saturating_add(part.1))
    }

    /// Notes a part that will be read, if it is not here and somebody plans.
    pub(super) fn want(
        &self,
        tier: &Arc<Tier>,
        block: &Arc<RemoteBlock>,
        part: Part,
        check: Check,
    ) {
        let key = (block.entry.id, part);
        let mut state = self.state.lock();
        if !state.planning || state.held.contains_key(&key) || tier.cache.has(key.0, part) {
            return;
        }
        let want = Want {
            tier: Arc::clone(tier),
            block: Arc::clone(block),
            check,
        };
        state.wanted.insert(key, want);
    }

    /// A part: from memory, from the cache, or fetched.
    pub(super) fn part(
        self: &Arc<Self>,
        tier: &Arc<Tier>,
        block: &Arc<RemoteBlock>,
        part: Part,
        check: Check,
    ) -> Result<Arc<[u8]>, Error> {
        let id = block.entry.id;
        let held = self.state.lock().held.get(&(id, part)).cloned();
        if let Some(held) = held {
            self.took(tier, (id, part), check);
            return Ok(held);
        }
        if let Some(bytes) = tier.cache.get(id, part) {
            match check.content(&bytes, &block.entry) {
                Ok(content) => {
                    self.took(tier, (id, part), check);
                    return Ok(content.into());
                }
                Err(_) => tier.metrics.damaged(),
            }
        }
        let planning = {
            let mut state = self.state.lock();
            let want = Want {
                tier: Arc::clone(tier),
                block: Arc::clone(block),
                check,
            };
            state.wanted.insert((id, part), want);
            state.planning
        };
        if planning {
            let what = tier.remote.describe(block);
            return Err(Error::Unavailable(format!("{what} is on its way")));
        }
        let lost = || Error::Bug(format!("a part of block {id} was fetched and is not here"));
        let pending = self.start()?.ok_or_else(lost)?;
        let (held, mut failures) = self.finish(pending)?;
        if let Some(error) = failures.remove(&id) {
            return Err(error);
        }
        let found = self.state.lock().held.get(&(id, part)).cloned();
        drop(held);
        self.took(tier, (id, part), check);
        found.ok_or_else(lost)
    }

    /// Counts what was fetched when it is first taken; the end of a file is no column.
    fn took(&self, tier: &Tier, key: Key, check: Check) {
        if matches!(check, Check::Block) && self.state.lock().untaken.remove(&key) {
            tier.metrics.used(key.1.1);
        }
    }

    /// Begins to fetch all that was noted. `None`: that is nothing.
    pub(in crate::store) fn start(&self) -> Result<Option<Pending>, Error> {
        let wanted = std::mem::take(&mut self.state.lock().wanted);
        let Some(tier) = wanted.values().next().map(|want| Arc::clone(&want.tier)) else {
            return Ok(None);
        };
        let mut by_block: BTreeMap<BlockId, Vec<(Part, Want)>> = BTreeMap::new();
        for ((id, part), want) in wanted {
            by_block.entry(id).or_default().push((part, want));
        }
        let mut runs = Vec::new();
        let mut pieces = Vec::new();
        for wants in by_block.values() {
            let each = wants.iter();
            let ranges: Vec<_> = each.map(|((at, len), _)| *at..at + len).collect();
            for run in join(&ranges) {
                let of = wants.get(run.of.clone()).unwrap_or_default();
                let Some((_, first)) = of.first() else {
                    continue;
                };
                pieces.push(Piece {
                    block: Arc::clone(&first.block),
                    range: run.range.clone(),
                });
                runs.push(Run {
                    block: Arc::clone(&first.block),
                    from: run.range.start,
                    parts: of.iter().map(|(part, want)| (*part, want.check)).collect(),
                });
            }
        }
        let bytes = pieces
            .iter()
            .map(|piece| piece.range.end - piece.range.start);
        let bytes: u64 = bytes.sum();
        let budget = self.budget.as_ref();
        let charged = budget.map(|budget| budget.reserve(bytes, 0)).transpose()?;
        Ok(Some(Pending {
            fetching: tier.remote.fetch(pieces, &self.cancel),
            tier,
            runs,
            charged,
        }))
    }

    /// Waits for what is on its way. What of it cannot be had fails the reads of its blocks.
    pub(in crate::store) fn finish(
        self: &Arc<Self>,
        mut pending: Pending,
    ) -> Result<(Held, Failures), Error> {
        let mut arrived = Arrived::default();
        self.receive(&mut pending, &mut arrived)?;
        // Once more: it may have been changed on its way, and not where it lies.
        let again = std::mem::take(&mut arrived.bad);
        if !again.is_empty() {
            let tier = Arc::clone(&pending.tier);
            let mut pending = second_attempt(tier, again, &self.cancel);
            self.receive(&mut pending, &mut arrived)?;
        }
        for (block, part, _, problem) in arrived.bad {
            let name = pending.tier.remote.describe(&block);
            let what = format!("{name} at offset {}, {} bytes,", part.0, part.1);
            let failure = Error::corrupt(what, problem);
            arrived.failures.entry(block.entry.id).or_insert(failure);
        }
        let keys: Vec<Key> = arrived.good.iter().map(|(key, _)| *key).collect();
        {
            let mut state = self.state.lock();
            state.untaken.extend(&keys);
            state.held.extend(arrived.good);
        }
        let held = Held {
            reading: Arc::clone(self),
            keys,
            _charged: pending.charged,
        };
        Ok((held, arrived.failures))
    }

    fn receive(&self, pending: &mut Pending, arrived: &mut Arrived) -> Result<(), Error> {
        while let Some((at, outcome)) = pending.fetching.next() {
            self.cancel.check()?;
            let Some(run) = pending.runs.get(at) else {
                outcome?;
                continue;
            };
            match outcome {
                Ok(bytes) => {
                    pending.tier.metrics.fetched(bytes.len() as u64);
                    if let Some(budget) = &self.budget {
                        budget.count_fetched(bytes.len() as u64);
                    }
                    take_apart(&pending.tier, run, &bytes, arrived);
                }
                Err(error @ (Error::Cancelled(_) | Error::Budget(_))) => return Err(error),
                Err(error) => {
                    let failures = arrived.failures.entry(run.block.entry.id);
                    failures.or_insert(error);
                }
            }
        }
        self.cancel.check()?;
        Ok(())
    }
}

/// Compares the parts of a range with their checksums, and keeps those that are whole.
fn take_apart(tier: &Tier, run: &Run, bytes: &Bytes, arrived: &mut Arrived) {
    let entry = &run.block.entry;
    let mut whole: Vec<(u64, &[u8])> = Vec::with_capacity(run.parts.len());
    for (part, check) in &run.parts {
        let from = part.0.checked_sub(run.from);
        let slice = from.and_then(|from| {
            let from = usize::try_from(from).ok()?;
            bytes.get(from..from.checked_add(usize::try_from(part.1).ok()?)?)
        });
        let content = slice.ok_or_else(|| "it is shorter than it should be".to_owned());
        let content = content.and_then(|slice| Ok((slice, check.content(slice, entry)?)));
        match content {
            Ok((slice, content)) => {
                whole.push((part.0, slice));
                arrived.good.push(((entry.id, *part), content.into()));
            }
            Err(problem) => {
                tier.metrics.damaged();
                let block = Arc::clone(&run.block);
                arrived.bad.push((block, *part, *check, problem));
            }
        }
    }
    tier.cache.put(entry.id, &whole);
}

/// Each part by itself.
fn second_attempt(
    tier: Arc<Tier>,
    bad: Vec<(Arc<RemoteBlock>, Part, Check, String)>,
    cancel: &CancelToken,
) -> Pending {
    let mut runs = Vec::with_capacity(bad.len());
    let mut pieces = Vec::with_capacity(bad.len());
    for (block, part, check, _) in bad {
        pieces.push(Piece {
            block: Arc::clone(&block),
            range: part.0..part.0 + part.1,
        });
        runs.push(Run {
            block,
            from: part.0,
            parts: vec![(part, check)],
        });
    }
    Pending {
        fetching: tier.remote.fetch(pieces, cancel),
        tier,
        runs,
        charged: None,
    }
}
