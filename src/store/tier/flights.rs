//! What is on its way for one query. Several threads may read for it, each with a [`Reading`](super::reading::Reading)
//! that plans for itself; series of one page are read by two of them, and the page is fetched once.
//!
//! Nobody waits for a thread that does something else: whoever needs a part that another has asked for receives
//! it in the other's place.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::check::Check;
use super::ranges::join;
use super::remote::{Fetching, Piece, RemoteBlock};
use super::whole::Tier;
use crate::model::BlockId;
use crate::runtime::{Budget, CancelToken, Reservation};
use crate::store::error::Error;

/// Where a part begins in its block's file, and its bytes.
pub(super) type Part = (u64, u64);
pub(super) type Key = (BlockId, Part);

/// Why reads of some blocks failed.
pub(in crate::store) type Failures = BTreeMap<BlockId, Error>;

/// How a part is had that is not here.
pub(super) struct Want {
    pub(super) tier: Arc<Tier>,
    pub(super) block: Arc<RemoteBlock>,
    pub(super) check: Check,
}

/// Parts that lie in one range that is fetched.
struct Run {
    block: Arc<RemoteBlock>,
    from: u64,
    parts: Vec<(Part, Check)>,
}

/// Ranges on their way, and what of them is wanted.
struct Coming {
    tier: Arc<Tier>,
    fetching: Box<dyn Fetching>,
    runs: Vec<Run>,
}

/// What has come of them.
#[derive(Default)]
pub(super) struct Landed {
    pub(super) parts: HashMap<Key, Arc<[u8]>>,
    /// For whoever has asked.
    pub(super) failures: Failures,
}

/// A part that was not whole.
struct Bad {
    block: Arc<RemoteBlock>,
    part: Part,
    check: Check,
    problem: String,
}

/// Parts that were asked for together.
#[derive(Default)]
pub(super) struct Flight(Mutex<(Option<Coming>, Landed)>);

/// A flight that has landed.
pub(super) type Received<'a> = parking_lot::MappedMutexGuard<'a, Landed>;

/// For whom something is fetched.
pub(super) struct Asker {
    pub(super) cancel: CancelToken,
    /// `None` where nobody asked a query: seals and merges.
    pub(super) budget: Option<Budget>,
}

/// All flights of one query.
#[derive(Default)]
pub(super) struct Flights {
    by_part: Mutex<HashMap<Key, Arc<Flight>>>,
    /// What was fetched and nobody has taken yet.
    untaken: Mutex<HashSet<Key>>,
}

/// What was asked for.
pub(super) struct Asked {
    /// What nobody else has.
    pub(super) own: Option<Arc<Flight>>,
    /// What others have.
    pub(super) others: Vec<(Key, Want, Arc<Flight>)>,
    /// All of it.
    pub(super) charged: Option<Reservation>,
}

impl Flights {
    /// Begins to fetch what is not on its way, if the query may hold all that is wanted.
    pub(super) fn ask(&self, wanted: BTreeMap<Key, Want>, asker: &Asker) -> Result<Asked, Error> {
        let mut by_part = self.by_part.lock();
        let (mut others, mut bytes) = (Vec::new(), 0u64);
        let mut own: BTreeMap<BlockId, Vec<(Part, Want)>> = BTreeMap::new();
        for (key, want) in wanted {
            match by_part.get(&key) {
                Some(flight) => {
                    bytes = bytes.saturating_add(key.1.1);
                    others.push((key, want, Arc::clone(flight)));
                }
                None => own.entry(key.0).or_default().push((key.1, want)),
            }
        }
        let (mut runs, mut pieces) = (Vec::new(), Vec::new());
        for wants in own.values() {
            let each = wants.iter();
            let ranges: Vec<_> = each.map(|((at, len), _)| *at..at + len).collect();
            for run in join(&ranges) {
                let of = wants.get(run.of.clone()).unwrap_or_default();
                let Some((_, first)) = of.first() else {
                    continue;
                };
                let len = run.range.end.saturating_sub(run.range.start);
                bytes = bytes.saturating_add(len);
                runs.push(Run {
                    block: Arc::clone(&first.block),
                    from: run.range.start,
                    parts: of.iter().map(|(part, want)| (*part, want.check)).collect(),
                });
                pieces.push(Piece {
                    block: Arc::clone(&first.block),
                    range: run.range,
                });
            }
        }
        let budget = asker.budget.as_ref();
        let charged = budget.map(|budget| budget.reserve(bytes, 0)).transpose()?;
        let tier = own.values().flatten().next();
        let flight = tier.map(|(_, Want { tier, .. })| {
            let coming = Coming {
                fetching: tier.remote.fetch(pieces, &asker.cancel),
                tier: Arc::clone(tier),
                runs,
            };
            Arc::new(Flight(Mutex::new((Some(coming), Landed::default()))))
        });
        if let Some(flight) = &flight {
            for (id, wants) in &own {
                let keys = wants.iter().map(|(part, _)| (*id, *part));
                by_part.extend(keys.map(|key| (key, Arc::clone(flight))));
            }
        }
        Ok(Asked {
            own: flight,
            others,
            charged,
        })
    }

    /// Waits for all parts of a flight, whoever has asked for them.
    pub(super) fn land<'a>(
        &self,
        flight: &'a Flight,
        asker: &Asker,
    ) -> Result<Received<'a>, Error> {
        let mut both = flight.0.lock();
        if let Some(mut coming) = both.0.take() {
            let keys: Vec<Key> = coming.keys().collect();
            let received = coming.receive_all(asker, &mut both.1);
            self.untaken.lock().extend(both.1.parts.keys());
            let mut by_part = self.by_part.lock();
            keys.iter().for_each(|key| drop(by_part.remove(key)));
            drop(by_part);
            received?;
        }
        Ok(MutexGuard::map(both, |both| &mut both.1))
    }

    /// Whether a part is taken for the first time since it was fetched.
    pub(super) fn took(&self, key: &Key) -> bool {
        self.untaken.lock().remove(key)
    }
}

impl Coming {
    /// The parts that are wanted of it.
    fn keys(&self) -> impl Iterator<Item = Key> {
        self.runs.iter().flat_map(|run| {
            let parts = run.parts.iter();
            parts.map(|(part, _)| (run.block.entry.id, *part))
        })
    }

    /// Waits for what is on its way. What of it cannot be had fails the reads of its blocks.
    fn receive_all(&mut self, asker: &Asker, landed: &mut Landed) -> Result<(), Error> {
        let mut bad = Vec::new();
        self.receive(asker, landed, &mut bad)?;
        // Once more: it may have been changed on its way, and not where it lies.
        if !bad.is_empty() {
            let again = std::mem::take(&mut bad);
            let mut coming = each_alone(Arc::clone(&self.tier), again, &asker.cancel);
            coming.receive(asker, landed, &mut bad)?;
        }
        for Bad {
            block,
            part,
            problem,
            ..
        } in bad
        {
            let name = self.tier.remote.describe(&block);
            let what = format!("{name} at offset {}, {} bytes,", part.0, part.1);
            let failure = Error::corrupt(what, problem);
            landed.failures.entry(block.entry.id).or_insert(failure);
        }
        Ok(())
    }

    fn receive(
        &mut self,
        asker: &Asker,
        landed: &mut Landed,
        bad: &mut Vec<Bad>,
    ) -> Result<(), Error> {
        while let Some((at, outcome)) = self.fetching.next() {
            asker.cancel.check()?;
            let Some(run) = self.runs.get(at) else {
                outcome?;
                continue;
            };
            match outcome {
                Ok(bytes) => {
                    self.tier.metrics.fetched(bytes.len() as u64);
                    if let Some(budget) = &asker.budget {
                        budget.count_fetched(bytes.len() as u64);
                    }
                    run.take_apart(&self.tier, &bytes, landed, bad);
                }
                Err(error @ (Error::Cancelled(_) | Error::Budget(_))) => return Err(error),
                Err(error) => {
                    let failures = landed.failures.entry(run.block.entry.id);
                    failures.or_insert(error);
                }
            }
        }
        asker.cancel.check()?;
        Ok(())
    }
}

impl Run {
    /// Compares the parts of a range with their checksums, and keeps those that are whole.
    fn take_apart(&self, tier: &Tier, bytes: &Bytes, landed: &mut Landed, bad: &mut Vec<Bad>) {
        let entry = &self.block.entry;
        let mut whole: Vec<(u64, &[u8])> = Vec::with_capacity(self.parts.len());
        for (part, check) in &self.parts {
            let from = part.0.checked_sub(self.from);
            let slice = from.and_then(|from| {
                let from = usize::try_from(from).ok()?;
                bytes.get(from..from.checked_add(usize::try_from(part.1).ok()?)?)
            });
            let content = slice.ok_or_else(|| "it is shorter than it should be".to_owned());
            let content = content.and_then(|slice| Ok((slice, check.content(slice, entry)?)));
            match content {
                Ok((slice, content)) => {
                    whole.push((part.0, slice));
                    landed.parts.insert((entry.id, *part), content.into());
                }
                Err(problem) => {
                    tier.metrics.damaged();
                    bad.push(Bad {
                        block: Arc::clone(&self.block),
                        part: *part,
                        check: *check,
                        problem,
                    });
                }
            }
        }
        tier.cache.put(entry.id, &whole);
    }
}

/// Each part by itself.
fn each_alone(tier: Arc<Tier>, bad: Vec<Bad>, cancel: &CancelToken) -> Coming {
    let mut runs = Vec::with_capacity(bad.len());
    let mut pieces = Vec::with_capacity(bad.len());
    for Bad {
        block, part, check, ..
    } in bad
    {
        pieces.push(Piece {
            block: Arc::clone(&block),
            range: part.0..part.0.saturating_add(part.1),
        });
        runs.push(Run {
            block,
            from: part.0,
            parts: vec![(part, check)],
        });
    }
    Coming {
        fetching: tier.remote.fetch(pieces, cancel),
        tier,
        runs,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use crate::model::BlockId;
    use crate::store::engine::{Table, block_key};
    use crate::store::tier::reading::Reading;
    use crate::store::tier::tests::{Objects, build, context, entry, remote, tier};

    use super::*;

    /// Would catch two threads that fetch the same, one that waits for what another has given up, what was fetched and is
    /// lost to who asked for it, and a failure that only one of them is told.
    #[test]
    fn what_two_threads_of_a_query_need_is_fetched_once() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        let key = |number: u8| block_key(BlockId(9), &[number; 9]);
        let pairs = (0..6).map(|number| (vec![number; 9], vec![number; 9000]));
        build(&file, BlockId(9), &pairs.collect());
        let bytes: Bytes = std::fs::read(&file).unwrap().into();
        let objects = Arc::new(Objects::default());
        objects.files.lock().insert(BlockId(9), bytes.clone());
        let block = remote(entry(BlockId(9), bytes.len()));
        // What is here is here because it was fetched for this query.
        let tier = tier(&objects, &directory.path().join("cache"), 0);
        let one = Reading::of(&context());
        let other = one.beside();
        let stranger = Reading::of(&context());
        let table = |reading: &Arc<Reading>| tier.table(reading, &block).unwrap();
        let tables = [table(&one), table(&other), table(&stranger)];
        let asked = || objects.requests.swap(0, Ordering::Relaxed);
        asked();
        // Keys that are far from each other, so that nothing is fetched beside them.
        let start = |at: usize, keys: &[u8]| {
            let reading = [&one, &other, &stranger][at];
            reading.planning(|| keys.iter().for_each(|one| tables[at].will_get(&key(*one))));
            reading.start().unwrap().unwrap()
        };
        let first = start(0, &[0, 2]);
        assert_eq!(asked(), 2);
        let second = start(1, &[2, 4]);
        assert_eq!(asked(), 1, "one is on its way");
        let third = start(2, &[2]);
        assert_eq!(asked(), 1, "another query");
        // Who has asked does something else.
        let (held, failures) = other.finish(second).unwrap();
        assert!(failures.is_empty());
        for number in [2, 4] {
            let value = tables[1].get(&key(number)).unwrap();
            assert_eq!(value, Some(vec![number; 9000]));
        }
        drop(held);
        let (held, _) = one.finish(first).unwrap();
        for number in [0, 2] {
            assert!(tables[0].get(&key(number)).unwrap().is_some());
        }
        drop((held, stranger.finish(third).unwrap()));
        assert_eq!(asked(), 0);
        // Nobody wants it any more but the second.
        let first = start(0, &[5]);
        let second = start(1, &[5]);
        drop(first);
        let (held, failures) = other.finish(second).unwrap();
        assert!(failures.is_empty());
        assert!(tables[1].get(&key(5)).unwrap().is_some());
        assert_eq!(asked(), 1);
        drop(held);
        // Both are told what cannot be had, and both ask.
        objects.files.lock().clear();
        let (first, second) = (start(0, &[1]), start(1, &[1]));
        for (reading, pending) in [(&other, second), (&one, first)] {
            let (_, failures) = reading.finish(pending).unwrap();
            let failure = failures.get(&BlockId(9)).unwrap().to_string();
            assert!(failure.contains("away"), "{failure}");
        }
        assert_eq!(asked(), 2);
    }
}
