//! One node with its disks: started, killed, started again on what is left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::clock::{Day, SimClock};
use crate::archive::MemoryBucket;
use crate::cluster::blocks::Archive;
use crate::cluster::control::{Introduction, Timings, begin_session};
use crate::cluster::discovery::{DiscoveryKind, DiscoverySettings, KindSettings, StaticSettings};
use crate::cluster::life::Life;
use crate::cluster::member::LocalMember;
use crate::cluster::opening::{MemberSettings, Starting, World as Surroundings};
use crate::cluster::peer::{Caller, Identity, MemoryNetwork, Services};
use crate::cluster::settings::{ClusterSettings, PeerSettings};
use crate::cluster::together::Joined;
use crate::cluster::ways::Ways;
use crate::cluster::workers::Duty;
use crate::model::Incarnation;
use crate::runtime::{
    ByteSize, CancelToken, Chance, Clock, Rush, SeededChance, TurnsChance, on_thread,
};
use crate::store::{
    DataDir, DiskSettings, Engine, FaultyDisk, MemoryEngine, SeriesId, SyncMode, WriteLogSettings,
};

/// What a crash does to what was not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Crash {
    /// The process dies, the machine goes on.
    Kill,
    /// The power goes.
    PowerCut,
}

/// A node that runs.
pub(super) struct Up {
    pub(super) member: Arc<LocalMember>,
    pub(super) incarnation: Incarnation,
    /// Which life of its data directory this is.
    pub(super) life: u32,
    /// What `ingest` would remember of series.
    pub(super) ids: Mutex<BTreeMap<u32, SeriesId>>,
    cancel: CancelToken,
    duties: Vec<AbortHandle>,
}

/// A node.
pub(super) struct Board {
    pub(super) number: u64,
    pub(super) root: PathBuf,
    /// Counts starts: what was begun under an earlier one is nobody's.
    pub(super) starts: u64,
    /// Counts what the system calls a boot.
    boots: u64,
    pub(super) directory: PathBuf,
    pub(super) log: FaultyDisk,
    pub(super) engine: Arc<MemoryEngine>,
    pub(super) day: Arc<Day>,
    peers: Vec<String>,
    /// It was told to start, and is not up yet.
    pub(super) is_starting: bool,
    /// Who is away for longer is replaced.
    pub(super) replace_after: Duration,
    /// When what is acknowledged is on the disk.
    pub(super) sync: SyncMode,
    pub(super) bucket: Option<MemoryBucket>,
    /// Who has not answered for so long is down.
    pub(super) detection: Duration,
    pub(super) up: Option<Arc<Up>>,
    starting: CancelToken,
}

/// What a start came to.
pub(super) type Started = Result<Arc<Up>, String>;

pub(super) fn address(number: u64) -> String {
    format!("node-{number}:9095")
}

impl Board {
    pub(super) fn new(number: u64, root: &Path, day: Arc<Day>, peers: &[u64]) -> Self {
        let root = root.join(format!("node-{number}"));
        let mut board = Self {
            number,
            directory: root.clone(),
            root,
            starts: 0,
            boots: 0,
            log: FaultyDisk::default(),
            engine: Arc::new(MemoryEngine::new(Path::new("unused"))),
            day,
            peers: peers.iter().map(|peer| address(*peer)).collect(),
            is_starting: false,
            replace_after: Duration::from_secs(3600),
            sync: SyncMode::Fsync,
            bucket: None,
            detection: Timings::DETECTION,
            up: None,
            starting: CancelToken::new(),
        };
        board.wipe();
        board
    }

    /// An empty disk under the same name.
    pub(super) fn wipe(&mut self) {
        assert!(self.up.is_none() && !self.is_starting);
        self.starts += 1;
        self.directory = self.fresh_directory();
        self.log = FaultyDisk::default();
        self.engine = Arc::new(MemoryEngine::new(&self.directory.join("blocks")));
    }

    pub(super) fn fresh_directory(&self) -> PathBuf {
        let directory = self.root.join(self.starts.to_string());
        std::fs::create_dir_all(directory.join("blocks")).unwrap();
        std::fs::create_dir_all(directory.join("data")).unwrap();
        directory
    }

    fn settings(&self) -> MemberSettings {
        MemberSettings {
            data_dir: self.directory.join("data"),
            introduction: Introduction {
                name: format!("node-{}", self.number),
                ..Introduction::default()
            },
            log: WriteLogSettings {
                segment_size: ByteSize::mib(1),
                sync: self.sync,
                ..WriteLogSettings::default()
            },
            decoded_cache_bytes: 1 << 20,
            disk: DiskSettings {
                min_free: ByteSize(0),
                reserve: ByteSize(0),
            },
            cluster: ClusterSettings {
                copy_bandwidth: ByteSize(0),
                replace_after: self.replace_after,
                ..ClusterSettings::default()
            },
            discovery: DiscoverySettings {
                main: KindSettings {
                    kind: DiscoveryKind::Static,
                },
                fixed: StaticSettings {
                    peers: self.peers.clone(),
                },
                ..DiscoverySettings::default()
            },
            peer: PeerSettings {
                advertise: Some(address(self.number)),
                ..PeerSettings::default()
            },
            ..MemberSettings::default()
        }
    }

    /// Starts the node. What comes of it is to be given to [`Board::started`].
    pub(super) fn start(
        &mut self,
        network: &Arc<MemoryNetwork>,
        seed: u64,
    ) -> impl Future<Output = Started> + Send + use<> {
        assert!(self.up.is_none() && !self.is_starting);
        self.is_starting = true;
        self.starting = CancelToken::new();
        let opening = Opening {
            number: self.number,
            settings: self.settings(),
            log: self.log.clone(),
            engine: self.engine.clone(),
            network: Arc::clone(network),
            clock: Arc::new(SimClock::new(&self.day)),
            chance: Arc::new(SeededChance::new(seed)),
            cancel: self.starting.clone(),
            boot: self.boots.to_string(),
            bucket: self.bucket.clone(),
            detection: self.detection,
        };
        async move {
            let opened = on_thread(move || opening.open()).await;
            let opened = opened.map_err(|error| format!("panic: {error}"))?;
            let (member, life, duties, cancel) = opened?;
            let incarnation = member.incarnation();
            let busy = Arc::default();
            let run = |duty| {
                let over = over_and_over(duty, cancel.clone(), Arc::clone(&busy));
                tokio::spawn(over).abort_handle()
            };
            Ok(Arc::new(Up {
                member: Arc::new(member),
                incarnation,
                life,
                ids: Mutex::default(),
                duties: duties.into_iter().map(run).collect(),
                cancel,
            }))
        }
    }

    /// The node dies. What it did not sync is lost as far as `how` says.
    pub(super) fn crash(&mut self, how: Crash, network: &MemoryNetwork, chance: &dyn Chance) {
        network.disconnect_at(&address(self.number));
        if let Some(up) = self.up.take() {
            up.end();
        }
        self.starting.cancel();
        self.is_starting = false;
        self.starts += 1;
        let before = std::mem::take(&mut self.directory);
        self.directory = self.fresh_directory();
        let unsynced = self.engine.unsynced();
        let (log, kept) = match how {
            Crash::Kill => (self.log.after_kill(), unsynced),
            Crash::PowerCut => {
                self.boots += 1;
                let kept = chance.below(u64::try_from(unsynced).unwrap() + 1);
                let log = self.log.after_power_cut(chance.next_u64());
                (log, usize::try_from(kept).unwrap())
            }
        };
        self.log = log;
        let blocks = self.directory.join("blocks");
        self.engine = Arc::new(self.engine.after_crash(kept, &blocks).unwrap());
        copy(&before.join("data"), &self.directory.join("data"));
    }

    /// The reason for which the node itself says that it must end.
    pub(super) fn ending(&self) -> Option<String> {
        self.up.as_ref()?.member.ended()?.borrow().clone()
    }

    /// What its disk says that it is.
    pub(super) fn known_incarnation(&self) -> Option<Incarnation> {
        let identity = std::fs::read_to_string(self.directory.join("data/identity"));
        incarnation_of(&identity.unwrap_or_default())
    }

    fn staging(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.directory.join("data/staged"));
        let files = files.into_iter().flatten().flatten();
        files.map(|file| file.path()).collect()
    }

    /// How many files are staged here.
    pub(super) fn staged(&self) -> usize {
        let files = self.staging();
        let whole = |path: &&PathBuf| path.extension().is_some_and(|end| end == "sst");
        files.iter().filter(whole).count()
    }

    /// Gives files that were made since the last time the date of the simulation.
    pub(super) fn date_files(&self, day_ms: i64) {
        let now = UNIX_EPOCH + Duration::from_millis(u64::try_from(day_ms).unwrap());
        for path in self.staging() {
            let modified = std::fs::metadata(&path).and_then(|data| data.modified());
            if modified.is_ok_and(|at| at > now) {
                // It may have been ingested meanwhile.
                let file = std::fs::File::options().append(true).open(&path);
                let _ = file.and_then(|file| file.set_modified(now));
            }
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.is_some()
    }

    /// Whether a block's file lies on this node's disk, running or not.
    pub(super) fn has_file(&self, id: crate::model::BlockId) -> bool {
        let staged = self.directory.join(format!("data/staged/{id}.sst"));
        staged.exists() || self.engine.table(id).unwrap().is_some()
    }
}

impl Up {
    /// Whether what it says is heard: it has not died.
    pub(super) fn is_heard(&self) -> bool {
        self.cancel.check().is_ok()
    }

    /// Ends what would go on for ever. What goes on a while is heard by nobody.
    pub(super) fn end(&self) {
        self.cancel.cancel();
        for duty in &self.duties {
            duty.abort();
        }
        self.member.abandon();
    }
}

fn incarnation_of(identity: &str) -> Option<Incarnation> {
    let line = identity.lines().nth(1)?;
    let hex = line.strip_prefix("incarnation ")?;
    u128::from_str_radix(hex, 16).ok().map(Incarnation)
}

/// Copies a folder, but for what only says who has it open.
pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let mut entries: Vec<PathBuf> = std::fs::read_dir(from)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for entry in entries {
        let name = entry.file_name().unwrap();
        if entry.is_dir() {
            copy(&entry, &to.join(name));
        } else if name != "lock" {
            std::fs::copy(&entry, to.join(name)).unwrap();
        }
    }
}

/// A duty as its thread does it, with pauses that differ a little.
///
/// Seals and merges have one lock, which a thread holds while it waits for peers: whoever takes turns
/// must not wait for that.
async fn over_and_over(duty: Duty, cancel: CancelToken, busy: Arc<tokio::sync::Mutex<()>>) {
    let (name, interval) = (duty.name, duty.interval);
    let mut duty = duty;
    loop {
        let part = u32::try_from(TurnsChance.below(1000)).unwrap();
        tokio::time::sleep(interval / 2 + interval / 1000 * part).await;
        let alone = match name {
            "cairn-seal" | "cairn-merge" => Some(busy.lock().await),
            _ => None,
        };
        let cancel = cancel.clone();
        let once = move || {
            (duty.once)(&cancel);
            duty
        };
        duty = match on_thread(once).await {
            Ok(duty) => duty,
            Err(error) => panic!("{name}: {error}"),
        };
        drop(alone);
    }
}

/// A start under way.
struct Opening {
    number: u64,
    settings: MemberSettings,
    log: FaultyDisk,
    engine: Arc<MemoryEngine>,
    network: Arc<MemoryNetwork>,
    clock: Arc<SimClock>,
    chance: Arc<SeededChance>,
    cancel: CancelToken,
    boot: String,
    bucket: Option<MemoryBucket>,
    detection: Duration,
}

impl Opening {
    /// As `LocalMember::open` does, on simulated edges.
    fn open(self) -> Result<(LocalMember, u32, Vec<Duty>, CancelToken), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let directory = DataDir::open(&self.settings.data_dir, self.chance.as_ref());
        let directory = directory.map_err(|error| text(&error))?;
        let directory = directory.with_log_disk(Arc::new(self.log));
        let engine: Arc<dyn Engine> = self.engine;
        let life = Life::open(
            Arc::clone(&engine),
            self.settings.log.sync,
            Some(&self.boot),
        );
        let life = life.map_err(|error| text(&error))?;
        let life_number = life.number();
        let session = begin_session(engine.as_ref(), self.chance.as_ref());
        let session = session.map_err(|error| text(&error))?;
        let identity = Identity::new(Caller {
            cluster: None,
            generation: 0,
            incarnation: directory.incarnation(),
            session,
        });
        let clock: Arc<dyn Clock> = self.clock;
        let runtime = Handle::current();
        let bucket = self.bucket.as_ref().map(|bucket| bucket.for_node(&clock));
        let archive = bucket.map(|bucket| Archive::over(bucket, &runtime));
        let services: Arc<Services> = Arc::default();
        let transport = self.network.connect_at(
            &address(self.number),
            identity.clone(),
            Arc::clone(&services),
        );
        let election = Duration::from_millis(1200 + self.chance.below(800));
        let ways = Ways {
            session,
            life,
            identity,
            tls: None,
            transport,
            services,
            timings: Timings {
                // The library's dice are not ours: it has no choice.
                election: (election, election + Duration::from_millis(1)),
                detection: self.detection,
                ..Timings::default()
            },
            archive: archive.clone(),
        };
        let world = Surroundings {
            clock,
            chance: self.chance,
            runtime,
            cancel: self.cancel.clone(),
            starting: Starting::default(),
            rush: Rush::new(2),
        };
        let mut registry = Registry::default();
        let settings = &self.settings;
        let joined = Joined::over(ways, |_| Ok(None), &engine, settings, &world, &mut registry);
        let joined = joined.map_err(|error| text(&error))?;
        let member = LocalMember::assemble_with(
            Some(joined),
            archive,
            (engine, directory),
            settings,
            &world,
            &mut registry,
        );
        let member = member.map_err(|error| text(&error))?;
        let duties = member.duties(settings, &world, &mut registry);
        member.open_gate();
        Ok((member, life_number, duties, CancelToken::new()))
    }
}
