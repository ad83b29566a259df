//! What one read has fetched, and what it wants next.
//!
//! A read is planned by trying it: while it is *planning*, a part that is not here is noted and
//! the attempt ends; [`Reading::start`] then fetches all that was noted, and the read is tried
//! again. Where nobody plans, a part that is not here is fetched at once, alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use super::check::Check;
use super::flights::{Asked, Asker, Failures, Flights, Key, Part, Want};
use super::remote::RemoteBlock;
use super::whole::Tier;
use crate::model::BlockId;
use crate::runtime::{Budget, CancelToken, Reservation};
use crate::source::ReadContext;
use crate::store::error::Error;

/// What another has asked for in vain is asked for once more.
const ATTEMPTS: usize = 2;

#[derive(Default)]
struct State {
    planning: bool,
    wanted: BTreeMap<Key, Want>,
    held: HashMap<Key, Arc<[u8]>>,
}

/// The remote side of one read. Clones are made of the `Arc` around it.
pub(in crate::store) struct Reading {
    asker: Asker,
    /// What other readings of the same query fetch too.
    flights: Arc<Flights>,
    state: Mutex<State>,
}

/// Parts that stay in memory as long as this lives.
pub(in crate::store) struct Held {
    reading: Arc<Reading>,
    keys: Vec<Key>,
    _charged: Vec<Reservation>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.reading.state.lock();
        for key in &self.keys {
            state.held.remove(key);
        }
    }
}

/// Parts on their way.
pub(in crate::store) struct Pending(Asked);

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
            asker: Asker { cancel, budget },
            flights: Arc::default(),
            state: Mutex::default(),
        })
    }

    /// Another one of the same query, for another thread: what one plans is not for the other, what is on its way
    /// is for both.
    pub(in crate::store) fn beside(&self) -> Arc<Self> {
        let Asker { cancel, budget } = &self.asker;
        Arc::new(Self {
            asker: Asker {
                cancel: cancel.clone(),
                budget: budget.clone(),
            },
            flights: Arc::clone(&self.flights),
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
        let pending = self.start()?.ok_or_else(|| lost(id))?;
        let (held, mut failures) = self.finish(pending)?;
        if let Some(error) = failures.remove(&id) {
            return Err(error);
        }
        let found = self.state.lock().held.get(&(id, part)).cloned();
        drop(held);
        self.took(tier, (id, part), check);
        found.ok_or_else(|| lost(id))
    }

    /// Counts what was fetched when it is first taken; the end of a file is no column.
    fn took(&self, tier: &Tier, key: Key, check: Check) {
        if matches!(check, Check::Block) && self.flights.took(&key) {
            tier.metrics.used(key.1.1);
        }
    }

    /// Begins to fetch all that was noted and is not on its way. `None`: nothing was.
    pub(in crate::store) fn start(&self) -> Result<Option<Pending>, Error> {
        let wanted = std::mem::take(&mut self.state.lock().wanted);
        if wanted.is_empty() {
            return Ok(None);
        }
        self.flights.ask(wanted, &self.asker).map(Pending).map(Some)
    }

    /// Waits for what is on its way. What of it cannot be had fails the reads of its blocks.
    pub(in crate::store) fn finish(
        self: &Arc<Self>,
        pending: Pending,
    ) -> Result<(Held, Failures), Error> {
        let mut asked = pending.0;
        let (mut parts, mut failures) = (HashMap::new(), Failures::new());
        let mut charged = Vec::new();
        for attempt in 0..ATTEMPTS {
            if let Some(flight) = asked.own {
                let mut landed = self.flights.land(&flight, &self.asker)?;
                failures.append(&mut landed.failures);
                let own = landed.parts.iter();
                parts.extend(own.map(|(key, bytes)| (*key, Arc::clone(bytes))));
            }
            charged.extend(asked.charged);
            let mut lacking = BTreeMap::new();
            for (key, want, flight) in asked.others {
                let landed = self.flights.land(&flight, &self.asker)?;
                match landed.parts.get(&key) {
                    Some(bytes) => drop(parts.insert(key, Arc::clone(bytes))),
                    None if attempt + 1 < ATTEMPTS => drop(lacking.insert(key, want)),
                    None => {
                        let failure = failures.entry(key.0);
                        failure.or_insert_with(|| lost(key.0));
                    }
                }
            }
            if lacking.is_empty() {
                break;
            }
            // It failed, and who has asked says why; asked by this one it says that here.
            asked = self.flights.ask(lacking, &self.asker)?;
        }
        let keys: Vec<Key> = parts.keys().copied().collect();
        self.state.lock().held.extend(parts);
        let held = Held {
            reading: Arc::clone(self),
            keys,
            _charged: charged,
        };
        Ok((held, failures))
    }
}

fn lost(id: BlockId) -> Error {
    Error::Bug(format!("a part of block {id} was fetched and is not here"))
}
