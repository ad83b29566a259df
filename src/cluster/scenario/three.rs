//! Three members of one cluster in one process, with their workers and real connections: blocks
//! are sealed and merged by one of them, and all hold the same files in the end.

#![allow(
    clippy::disallowed_methods,
    reason = "members on real threads and a real network are waited for in real time"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;

use super::world::{context, drain, series};
use crate::cluster::control::DAY_MS;
use crate::cluster::discovery::{DiscoveryKind, DiscoverySettings, KindSettings, StaticSettings};
use crate::cluster::member::LocalMember;
use crate::cluster::merging::Pace;
use crate::cluster::opening::MemberSettings;
use crate::cluster::queries::CancelQueries;
use crate::cluster::settings::PeerSettings;
use crate::cluster::{VerifyOrder, VerifyStanding};
use crate::model::{
    BlockEntry, LabelSet, Level, RingArc, Samples, TenantId, TimeRange, TimestampMs, WINDOW_MS,
};
use crate::runtime::{CancelToken, Clock, SeededChance, SystemClock, pause};
use crate::source::{Selection, Source};
use crate::store::{AppendBatch, DataDir, FloatSample, MemoryEngine};

/// Whatever is waited for comes long before.
const PATIENCE: Duration = Duration::from_secs(120);

/// The first moment of a day.
pub(super) const DAY: i64 = 20_000 * DAY_MS;

/// A clock that goes on by itself and can be set ahead.
pub(super) struct Ahead {
    real: SystemClock,
    ms: AtomicI64,
}

impl Ahead {
    pub(super) fn set(&self, at: i64) {
        let ms = at - self.real.now().0;
        self.ms.store(ms, Ordering::SeqCst);
    }
}

impl Clock for Ahead {
    fn now(&self) -> TimestampMs {
        self.real.now().plus_ms(self.ms.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        self.real.elapsed()
    }
}

pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        pause(Duration::from_millis(50));
    }
}

pub(super) struct Three {
    pub(super) members: Vec<LocalMember>,
    pub(super) clock: Arc<Ahead>,
    runtime: tokio::runtime::Runtime,
    root: tempfile::TempDir,
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

impl Three {
    pub(super) fn open() -> Self {
        let root = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()
            .unwrap();
        let clock = Arc::new(Ahead {
            real: SystemClock::new(),
            ms: AtomicI64::new(0),
        });
        clock.set(DAY);
        let peers: Vec<String> = (0..3).map(|_| free_address()).collect();
        let opening: Vec<_> = (0..3u64)
            .zip(&peers)
            .map(|(number, address)| {
                let path = root.path().join(number.to_string());
                let settings = MemberSettings {
                    discovery: DiscoverySettings {
                        main: KindSettings {
                            kind: DiscoveryKind::Static,
                        },
                        fixed: StaticSettings {
                            peers: peers.clone(),
                        },
                        ..DiscoverySettings::default()
                    },
                    peer: PeerSettings {
                        listen: address.clone(),
                        advertise: Some(address.clone()),
                    },
                    decoded_cache_bytes: 1 << 20,
                    ..MemberSettings::default()
                };
                let clock: Arc<dyn Clock> = clock.clone();
                let world = crate::cluster::World {
                    runtime: runtime.handle().clone(),
                    ..super::world_of(clock, Arc::new(SeededChance::new(number)))
                };
                std::thread::spawn(move || {
                    let blocks = path.join("blocks");
                    std::fs::create_dir_all(&blocks).unwrap();
                    let engine = Arc::new(MemoryEngine::new(&blocks));
                    let chance = world.chance.as_ref();
                    let directory = DataDir::open(&path.join("node"), chance).unwrap();
                    let registry = &mut Registry::default();
                    LocalMember::open_on(engine, directory, &settings, &world, registry)
                })
            })
            .collect();
        let members = opening.into_iter().map(|one| one.join().unwrap().unwrap());
        let three = Self {
            members: members.collect(),
            clock,
            runtime,
            root,
        };
        eventually("all members take writes", || {
            three
                .members
                .iter()
                .all(|member| member.refusing().is_none())
        });
        three
    }

    /// Writes through one member until it is acknowledged.
    pub(super) fn write(&self, at: usize, numbers: std::ops::Range<u64>, times: &[i64]) {
        let writer = self.members[at].writer();
        eventually("a write is acknowledged", || {
            let mut floats = Vec::new();
            for number in numbers.clone() {
                let (tenant, labels) = series(number * 2);
                let Ok(series) = writer.register(&tenant, &labels) else {
                    return false;
                };
                floats.extend(times.iter().map(|time| FloatSample {
                    series,
                    at: TimestampMs(*time),
                    value: (*time % 977) as f64 + number as f64,
                }));
            }
            let pending = writer.append(&AppendBatch {
                floats: &floats,
                ..AppendBatch::default()
            });
            pending.is_ok_and(|pending| self.runtime.block_on(pending.wait()).is_ok())
        });
    }

    pub(super) fn read(&self, at: usize) -> Option<BTreeMap<LabelSet, Samples>> {
        let selection = Selection {
            tenant: series(0).0,
            matchers: Vec::new(),
            range: TimeRange::ALL,
        };
        let source = self.members[at].source();
        let mut stream = source.select(&selection, &context()).ok()?;
        let (mut all, mut samples) = (BTreeMap::new(), Samples::default());
        loop {
            match stream.next(&mut samples) {
                Ok(Some(labels)) => all.insert(labels, samples.clone()),
                Ok(None) => return Some(all),
                Err(_) => return None,
            };
        }
    }

    /// Everything is sealed, and all members have the same blocks.
    pub(super) fn seal(&self) {
        eventually("heads are empty and blocks equal", || {
            for member in &self.members {
                let _ = member.flush();
            }
            let held = |member: &LocalMember| member.store().held().is_empty();
            self.members.iter().all(held) && self.equal_blocks().is_some()
        });
    }

    pub(super) fn equal_blocks(&self) -> Option<Vec<(RingArc, BlockEntry)>> {
        let sorted = |member: &LocalMember| {
            let mut blocks = member.store().blocks();
            blocks.sort_by_key(|(arc, entry)| (*arc, entry.id));
            blocks
        };
        let first = sorted(&self.members[0]);
        let mut others = self.members[1..].iter();
        others.all(|other| sorted(other) == first).then_some(first)
    }
}

fn any_member_sees_and_ends_the_queries_of_all(three: &Three) {
    let tenants = ["team-a", "team-b"].map(|name| TenantId::new(name).unwrap());
    let tokens: Vec<CancelToken> = (0..3).map(|_| CancelToken::new()).collect();
    let owners = tenants.iter().cycle();
    let entered: Vec<_> = three
        .members
        .iter()
        .zip(owners.zip(&tokens))
        .map(|(member, (tenant, token))| {
            let budget = context().budget;
            member
                .queries()
                .register()
                .enter(tenant, "up", token, &budget)
        })
        .collect();
    let running = |cancel: Option<&CancelQueries>| -> usize {
        let nodes = three.members[1].queries().everywhere(cancel);
        assert_eq!(nodes.len(), 3);
        let counts = nodes.iter().map(|node| match cancel {
            Some(_) => node.cancelled,
            None => node.running.as_ref().map_or(0, Vec::len),
        });
        counts.sum()
    };
    eventually("all three are listed", || running(None) == 3);
    let mut cancel = CancelQueries {
        tenant: Some(tenants[0].clone()),
        ..CancelQueries::default()
    };
    // The first and the third are this tenant's, the second is not.
    eventually("two are called off", || running(Some(&cancel)) == 2);
    let ended = || tokens.iter().map(|token| token.check().is_err());
    assert!(ended().eq([true, false, true]));
    cancel.tenant = None;
    eventually("all are called off", || running(Some(&cancel)) == 3);
    assert!(ended().all(|ended| ended));
    drop(entered);
    assert_eq!(running(None), 0);
}

/// Any member has all of them read what they hold, and names the one whose file is another. Would
/// catch a member that is not asked, and one whose word is taken for another's.
fn any_member_proves_the_files_of_all(three: &Three) {
    let verify = || {
        let verification = three.members[1].verification();
        let bytes_per_second = 0;
        let order = VerifyOrder::Begin { bytes_per_second };
        drop(verification.everywhere(Some(order)));
        let mut all = verification.everywhere(None);
        eventually("all are verified", || {
            all = verification.everywhere(None);
            all.over
        });
        assert_eq!(all.unseen, Vec::<String>::new());
        let reports = all.nodes.into_iter().map(|node| match node.standing {
            VerifyStanding::Has(report) => (node.node, report),
            other => panic!("{}: {other:?}", node.node),
        });
        reports.collect::<Vec<_>>()
    };
    let blocks = three.equal_blocks().unwrap();
    let whole = verify();
    assert_eq!(whole.len(), 3);
    for (_, report) in &whole {
        assert_eq!((report.blocks, report.faults_all), (blocks.len() as u64, 0));
    }
    let (arc, entry) = &blocks[1];
    let path = three.root.path().join("2").join("blocks");
    let flipped = super::bucket::files(&path).into_iter().find(|path| {
        let mut bytes = std::fs::read(path).unwrap();
        let is_it = *blake3::hash(&bytes).as_bytes() == entry.digest.0;
        if is_it {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(path, bytes).unwrap();
        }
        is_it
    });
    assert!(flipped.is_some());
    let reports = verify();
    let faults = reports.iter().flat_map(|(_, report)| &report.faults);
    let faults: Vec<_> = faults.map(|fault| (fault.arc, fault.block)).collect();
    assert_eq!(faults, [(*arc, Some((entry.id, entry.range)))]);
    eventually("it is replaced by another member's", || {
        verify().iter().all(|(_, report)| report.faults_all == 0)
    });
}

/// Would catch a merge that only its maker applies, one that two make, a member that reads inputs
/// and output together or neither, and a file that is not the others' to the byte.
#[test]
fn three_members_merge_by_turns_and_hold_the_same_files() {
    let three = Three::open();
    any_member_sees_and_ends_the_queries_of_all(&three);
    for window in 0..4i64 {
        let start = DAY + window * WINDOW_MS;
        three.clock.set(start + WINDOW_MS);
        let times: Vec<i64> = (0..20).map(|row| start + row * 15_000).collect();
        let at = usize::try_from(window % 3).unwrap();
        three.write(at, 0..12, &times);
        three.seal();
    }
    let want = three.read(0).expect("a quiet cluster answers");
    assert_eq!(want.len(), 12);
    assert!(want.values().all(|samples| samples.len() == 80));
    let before = three.equal_blocks().unwrap();
    three.clock.set(DAY + DAY_MS + 30 * 60 * 60 * 1000);
    let over = AtomicBool::new(false);
    let makers = std::thread::scope(|scope| {
        let three = &three;
        for at in 0..3 {
            let (over, want) = (&over, &want);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    // A read may fail when a member is busy, but never answer wrongly.
                    let got = three.read(at);
                    let is_right = got.is_none_or(|got| got == *want);
                    assert!(is_right, "member {at} answers otherwise");
                }
            });
        }
        let mut merged = [0; 3];
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("everything is merged and all have applied it", || {
                for (member, merged) in three.members.iter().zip(&mut merged) {
                    *merged += member.merger().pass(Pace::Fast, &CancelToken::new()).merged;
                }
                let blocks = three.equal_blocks().unwrap_or_default();
                !blocks.is_empty() && blocks.iter().all(|(_, entry)| entry.level == Level(1))
            });
        }));
        over.store(true, Ordering::Relaxed);
        done.unwrap();
        merged
    });
    let after = three.equal_blocks().unwrap();
    let arcs: BTreeSet<RingArc> = before.iter().map(|(arc, _)| *arc).collect();
    assert_eq!((before.len(), after.len()), (arcs.len() * 4, arcs.len()));
    assert_eq!(
        makers.iter().sum::<usize>(),
        arcs.len(),
        "each once: {makers:?}"
    );
    for at in 0..3 {
        eventually("every member answers", || {
            three.read(at).is_some_and(|got| got == want)
        });
        let store = three.members[at].store();
        let mut stream = store
            .select(
                &Selection {
                    tenant: series(0).0,
                    matchers: Vec::new(),
                    range: TimeRange::ALL,
                },
                &context(),
            )
            .unwrap();
        assert!(drain(stream.as_mut()) == want, "its own blocks hold all");
    }
    any_member_proves_the_files_of_all(&three);
    let mut members = three.members.iter();
    assert!(members.all(|member| member.close().is_ok()));
}
