//! Snapshots: what this node has acknowledged at one moment, as a data directory of its own in the
//! folder `snapshots`, from which a node can be started.
//!
//! Block files are links, so a snapshot takes no room for them until they are dropped here; the log
//! is copied. Consistent because nothing is applied meanwhile: the engine first (which blocks there
//! are, and up to where the log's content is in them), then the staged files that the catalog in it
//! may name, then the log, which by then has all that these lack. Not here: what is only in the
//! bucket, and what other nodes hold.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::error::Error;
use super::files::{SNAPSHOTS, UNFINISHED, listed, remove_unfinished, sync};
use super::watermark::free_bytes;
use super::whole::Store;
use crate::model::TimestampMs;

/// Each keeps blocks on the disk that have been dropped since, so that there may not be ever more.
const SNAPSHOTS_MAX: usize = 8;

/// So much of the disk stays free beside the copy of the log.
const FREE_MIN: u64 = 64 << 20;

impl Store {
    /// Makes a snapshot and says its name: that of a folder in `snapshots`. Seals and merges that
    /// are to be applied wait until it is made; writes and reads do not.
    ///
    /// # Errors
    /// When there are too many already, the disk has no room for a copy of the log, or fails.
    pub fn snapshot(&self) -> Result<String, Error> {
        let _one = self.applying.lock();
        let (root, begun) = (self.directory().path(), self.clock.elapsed());
        let folder = root.join(SNAPSHOTS);
        remove_unfinished(&folder)?;
        let kept = listed(&folder)?.len();
        if kept >= SNAPSHOTS_MAX {
            return Err(Error::Limit {
                what: "the number of snapshots",
                value: kept as u64 + 1,
                limit: SNAPSHOTS_MAX as u64,
                remedy: "remove some from the folder snapshots of the data directory, once they are saved elsewhere (rm -r)",
            });
        }
        self.check_room(root)?;
        fs::create_dir_all(&folder).map_err(Error::io("make", &folder))?;
        let name = name(self.clock.now(), self.chance.next_u64());
        let path = folder.join(format!("{name}{UNFINISHED}"));
        if let Err(error) = self.fill(&path) {
            // What stays of it all the same goes with the next one, or with a start.
            drop(fs::remove_dir_all(&path));
            tracing::warn!(snapshot = %name, %error, "a snapshot could not be made");
            return Err(error);
        }
        let whole = folder.join(&name);
        fs::rename(&path, &whole).map_err(Error::io("rename", &path))?;
        sync(&folder)?;
        sync(root)?;
        let took_ms = (self.clock.elapsed() - begun).as_millis();
        tracing::info!(snapshot = %name, took_ms, "a snapshot was made");
        Ok(name)
    }

    fn check_room(&self, root: &Path) -> Result<(), Error> {
        let log = root.join("log");
        let mut needed = FREE_MIN;
        for path in listed(&log)? {
            needed += fs::metadata(&path).map_or(0, |file| file.len());
        }
        let free = free_bytes(root).map_err(Error::io("measure", root))?;
        if free >= needed {
            return Ok(());
        }
        Err(Error::Unavailable(format!(
            "a snapshot needs {needed} bytes for a copy of the log, and {free} are free: make room on the disk"
        )))
    }

    fn fill(&self, path: &Path) -> Result<(), Error> {
        fs::create_dir(path).map_err(Error::io("make", path))?;
        self.engine.checkpoint(&path.join("engine"))?;
        self.reach("engine in the snapshot")?;
        let staged = path.join("staged");
        fs::create_dir(&staged).map_err(Error::io("make", &staged))?;
        for from in listed(&self.staging())? {
            // What is still received is not in any catalog.
            if from.extension().is_some_and(|end| end == "sst")
                && let Some(name) = from.file_name()
            {
                link(&from, &staged.join(name))?;
            }
        }
        sync(&staged)?;
        let disk = self.directory().log_disk()?;
        self.head.copy_log(&*disk, &path.join("log"))?;
        // Last: without it this is no data directory.
        self.directory().identify(path)
    }
}

/// A staged file that is swept away meanwhile is not needed.
fn link(from: &Path, to: &Path) -> Result<(), Error> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("link to", to)(error)),
        _ => Ok(()),
    }
}

/// As Prometheus names them: the time, and digits against two of one second.
fn name(now: TimestampMs, digits: u64) -> String {
    let at = jiff::Timestamp::from_millisecond(now.0);
    let at = at.map_or_else(
        |_| now.0.to_string(),
        |at| at.strftime("%Y%m%dT%H%M%SZ").to_string(),
    );
    format!("{at}-{digits:016x}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;
    use crate::codec::page::Density;
    use crate::model::{
        BlockEntry, BlockId, LabelSet, RingArc, Samples, TenantId, TimeRange, WINDOW_MS, Window,
        fingerprint,
    };
    use crate::runtime::{Budget, BudgetLimits, ByteSize, CancelToken, ManualClock, SeededChance};
    use crate::source::{Coarsest, ReadContext, Selection, Source};
    use crate::store::{
        AppendBatch, BuildOrder, Catalog, DataDir, FloatSample, HeadSettings, Offline, RocksEngine,
        StoreParts, WriteLogSettings,
    };

    const SERIES: usize = 6;
    const STEP_MS: i64 = 15_000;

    fn open(path: &Path, seed: u64) -> Result<Store, Error> {
        let chance = Arc::new(SeededChance::new(seed));
        let directory = DataDir::open(path, chance.as_ref())?;
        let engine = RocksEngine::open(&path.join("engine"), 1 << 20, 64)?;
        Store::open(StoreParts {
            directory,
            engine: Arc::new(engine),
            cluster_id: 7,
            log: WriteLogSettings {
                segment_size: ByteSize(1),
                ..WriteLogSettings::default()
            },
            head: HeadSettings::default(),
            head_bytes_max: 0,
            decoded_bytes_max: 0,
            clock: Arc::new(ManualClock::at(TimestampMs(1_700_000_000_000))),
            chance,
        })
    }

    fn labels(number: usize) -> LabelSet {
        let instance = format!("host-{}", number % 3);
        let name = format!("metric_{number}");
        LabelSet::from_pairs(&[
            ("__name__", name.as_str()),
            ("job", "node"),
            ("instance", &instance),
        ])
        .unwrap()
    }

    /// Writes a row of all series, acknowledged when this returns. Every tenth has long labels of
    /// its own, so that segments fill.
    /// Writes a row to all series. Where all that a series had was sealed it may be forgotten between the two steps, and its
    /// sample comes again, as every writer does it.
    fn write(store: &Store, row: i64) {
        let tenant = TenantId::anonymous();
        let mut numbers: Vec<usize> = (0..SERIES).collect();
        while !numbers.is_empty() {
            let of = |number: &usize| FloatSample {
                series: store.register(&tenant, &labels(*number)).unwrap(),
                at: TimestampMs(row * STEP_MS),
                value: row as f64 + *number as f64,
            };
            let floats: Vec<FloatSample> = numbers.iter().map(of).collect();
            let batch = AppendBatch {
                floats: &floats,
                ..AppendBatch::default()
            };
            let appended = store.append(&batch).unwrap();
            store.head.wait_durable(appended.position).unwrap();
            let stale = appended.stale_floats.iter();
            numbers = stale.map(|at| numbers[*at as usize]).collect();
        }
    }

    /// Which rows are there, and that all series have the same ones.
    fn rows(store: &Store) -> Vec<i64> {
        let selection = Selection {
            tenant: TenantId::anonymous(),
            matchers: Vec::new(),
            range: TimeRange::ALL,
        };
        let context = ReadContext {
            cancel: CancelToken::new(),
            budget: Budget::new(BudgetLimits {
                memory_bytes: 1 << 30,
                samples: 1 << 26,
            }),
            partial: None,
            coarsest: Coarsest::default(),
        };
        let mut stream = store.select(&selection, &context).unwrap();
        let (mut samples, mut shortest, mut seen) = (Samples::default(), Vec::new(), 0);
        while stream.next(&mut samples).unwrap().is_some() {
            let own: Vec<i64> = samples.timestamps.iter().map(|at| at / STEP_MS).collect();
            if seen == 0 || own.len() < shortest.len() {
                shortest = own;
            }
            seen += 1;
        }
        assert_eq!(seen, SERIES);
        shortest
    }

    /// A catalog as the control state would have it.
    type Versions = BTreeMap<RingArc, (u64, BTreeMap<BlockId, BlockEntry>)>;

    fn arcs() -> Vec<RingArc> {
        let depth = HeadSettings::default().depth;
        let of = |number| fingerprint(&TenantId::anonymous(), &labels(number));
        let mut arcs: Vec<RingArc> = (0..SERIES).map(|n| RingArc::of(of(n), depth)).collect();
        arcs.sort();
        arcs.dedup();
        arcs
    }

    /// Seals a window, in two steps of which anything may come between.
    fn seal(store: &Store, window: Window, round: u32, versions: &mut Versions) {
        for arc in arcs() {
            let range = window.range();
            let cut = store.cut(arc, range).unwrap();
            let order = BuildOrder {
                arc,
                range,
                round,
                pages: Density::Quick,
            };
            let entry = store.build(&cut, &order, &CancelToken::new()).unwrap();
            let Some(entry) = entry else {
                continue;
            };
            let (version, blocks) = versions.entry(arc).or_default();
            *version += 1;
            let block = entry.id;
            blocks.insert(block, entry);
            let catalog = Catalog {
                version: *version,
                blocks,
            };
            store.apply(arc, &catalog, Some((cut, block))).unwrap();
        }
    }

    /// Seals what there is of all windows, again and again.
    fn seal_on(store: &Store, acknowledged: &AtomicU64, over: &AtomicBool) {
        let mut versions = Versions::new();
        let (mut number, mut round) = (0, 1);
        while !over.load(Ordering::SeqCst) {
            seal(store, Window(number), round, &mut versions);
            let last = acknowledged.load(Ordering::SeqCst).cast_signed();
            number += 1;
            if number > Window::of(TimestampMs(last * STEP_MS)).0 {
                (number, round) = (0, round + 1);
            }
        }
    }

    /// Would catch an acknowledged sample that is in no part of a snapshot, a snapshot that cannot be
    /// opened, and one that goes on changing.
    #[test]
    fn a_start_from_a_snapshot_made_under_writes_and_seals_has_all_that_was_acknowledged() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data");
        let store = open(&path, 1).unwrap();
        let acknowledged = AtomicU64::new(0);
        let over = AtomicBool::new(false);
        let mut made: Vec<(String, u64)> = Vec::new();
        for row in 0..400 {
            write(&store, row);
            acknowledged.store(row.unsigned_abs(), Ordering::SeqCst);
        }
        std::thread::scope(|scope| {
            let (store, acknowledged, over) = (&store, &acknowledged, &over);
            scope.spawn(move || {
                let mut row = 400;
                while !over.load(Ordering::SeqCst) {
                    write(store, row);
                    acknowledged.store(row.unsigned_abs(), Ordering::SeqCst);
                    row += 1;
                }
            });
            scope.spawn(move || seal_on(store, acknowledged, over));
            for _ in 0..SNAPSHOTS_MAX {
                let before = acknowledged.load(Ordering::SeqCst);
                made.push((store.snapshot().unwrap(), before));
                let next = before + 60;
                while acknowledged.load(Ordering::SeqCst) < next {
                    std::thread::yield_now();
                }
            }
            over.store(true, Ordering::SeqCst);
        });
        let refused = store.snapshot().unwrap_err().to_string();
        assert!(refused.contains("at most 8"), "{refused}");
        // What the live one does afterwards is nothing to them.
        store.close().unwrap();
        drop(store);
        for (name, before) in made {
            let copy = path.join(SNAPSHOTS).join(&name);
            let offline = Offline::open(&copy, &SeededChance::new(3)).unwrap();
            for block in offline.blocks() {
                let verified = block.verify(&CancelToken::new()).unwrap();
                assert_eq!(verified.faults, [], "{name}");
            }
            drop(offline);
            let again = open(&copy, 4).unwrap();
            let found = rows(&again);
            let expected: Vec<i64> = (0..=before.cast_signed()).collect();
            assert_eq!(found[..expected.len()], expected, "{name}");
            // And it goes on.
            let last = found.last().unwrap() + WINDOW_MS / STEP_MS;
            write(&again, last);
            again.close().unwrap();
            drop(again);
            assert_eq!(*rows(&open(&copy, 5).unwrap()).last().unwrap(), last);
        }
        assert!(!rows(&open(&path, 6).unwrap()).is_empty());
    }

    /// Would catch what is left for ever of a snapshot that was never made.
    #[test]
    fn what_a_crash_leaves_of_a_snapshot_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path(), 1).unwrap();
        write(&store, 1);
        let name = store.snapshot().unwrap();
        assert!(name.starts_with("20231114T221320Z-"), "{name}");
        let half = root.path().join(SNAPSHOTS).join("x.new");
        fs::create_dir_all(half.join("engine")).unwrap();
        store.snapshot().unwrap();
        assert!(!half.exists());
        fs::create_dir_all(half.join("engine")).unwrap();
        drop(store);
        drop(open(root.path(), 1).unwrap());
        assert!(!half.exists());
        assert_eq!(listed(&root.path().join(SNAPSHOTS)).unwrap().len(), 2);
    }
}
