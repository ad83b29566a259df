//! Opening the group: what is on disk is read, peers are asked whether it is an old image, and only
//! then does this node take part.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use openraft::{Config, SnapshotPolicy};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::aside::{note_given_up, note_old_image, refuse_old_image, rolled_back};
use super::decision;
use super::duties;
use super::group::{LOG_KEEPS, RaftControl, fatal};
use super::hello::{self, Greeting, To};
use super::log_store::LogStore;
use super::machine::{Machine, adopt};
use super::metrics::ControlMetrics;
use super::network::{Network, Peers};
use super::sessions::{Position, Sessions};
use super::settings::{FoundingLeave, Timings};
use super::types::{Raft, number_of};
use super::wire::messages as pb;
use crate::cluster::control::command::{ClusterId, Session};
use crate::cluster::control::{ControlError, Introduction};
use crate::cluster::peer::{PeerError, Refused, Transport};
use crate::cluster::settings::ClusterSettings;
use crate::model::Incarnation;
use crate::runtime::{Chance, Clock, Rule, holds};
use crate::store::Engine;

/// Commands between two snapshots.
const SNAPSHOT_EVERY: u64 = 256;

/// Bytes of one chunk of a snapshot.
const CHUNK_BYTES: u64 = 1 << 20;

/// Entries of one message.
const ENTRIES_MAX: u64 = 256;

/// What a group is opened with.
pub struct GroupParts {
    /// Where log and state are kept.
    pub engine: Arc<dyn Engine>,
    /// This node.
    pub incarnation: Incarnation,
    /// This start of it ([`begin_session`](crate::cluster::begin_session)).
    pub session: Session,
    /// What it says of itself.
    pub introduction: Introduction,
    /// How it reaches others. Its services must not be reached before the group's are entered.
    pub transport: Arc<dyn Transport>,
    /// Told the cluster and its control group's generation before anything is said in their name,
    /// and again at each start.
    pub belong: Arc<dyn Fn(ClusterId, u64) + Send + Sync>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub chance: Arc<dyn Chance>,
    /// How large a cluster that this node founds, and how long it waits for who is away.
    pub settings: ClusterSettings,
    /// What is counted.
    pub metrics: ControlMetrics,
    /// How fast the group is.
    pub timings: Timings,
    /// Whether a cluster may be founded; `None`: always.
    pub leave: Option<FoundingLeave>,
}

/// The library's settings.
fn config(timings: &Timings) -> Result<Arc<Config>, ControlError> {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: "cairn".to_owned(),
        heartbeat_interval: ms(timings.heartbeat),
        election_timeout_min: ms(timings.election.0),
        election_timeout_max: ms(timings.election.1),
        install_snapshot_timeout: ms(timings.snapshot_chunk),
        max_payload_entries: ENTRIES_MAX,
        replication_lag_threshold: LOG_KEEPS,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_EVERY),
        snapshot_max_chunk_size: CHUNK_BYTES,
        max_in_snapshot_log_to_keep: LOG_KEEPS,
        purge_batch_size: 1,
        ..Config::default()
    };
    let config = config.validate();
    config
        .map(Arc::new)
        .map_err(|error| ControlError::Group(error.to_string()))
}

/// What peers remember of this node must not lie ahead of what it holds. Gives the highest position
/// of the log of samples that they remember.
fn look_back(
    engine: &dyn Engine,
    mine: Position,
    answers: Vec<(To, Result<Greeting, PeerError>)>,
) -> Result<u64, ControlError> {
    let mut log = 0;
    for (_, answer) in answers {
        let greeting = match answer {
            Ok(greeting) => greeting,
            Err(PeerError::Refused {
                refused: Refused::OldSession(reason),
                ..
            }) => return Err(ControlError::OldSession(reason)),
            Err(PeerError::Refused {
                refused: Refused::GivenUp(reason),
                ..
            }) => {
                note_given_up(engine)?;
                return Err(ControlError::OldSession(reason));
            }
            Err(error) => {
                tracing::debug!(%error, "a peer does not say what it remembers");
                continue;
            }
        };
        let remembered = greeting.remembered.unwrap_or_default();
        let behind = [
            (1, mine.starts, remembered.starts),
            (2, mine.control, remembered.control),
        ];
        let behind = behind.into_iter().find(|(_, mine, theirs)| mine < theirs);
        let behind = behind.filter(|_| holds(Rule::OldImagesAreSetAside));
        if let Some((what, mine, remembered)) = behind {
            let image = pb::OldImage {
                what,
                mine,
                remembered,
                peer: greeting.name,
            };
            note_old_image(engine, &image)?;
            return Err(rolled_back(image));
        }
        log = log.max(remembered.log);
    }
    Ok(log)
}

/// The group's log; at the first start of a group, with what a cluster of one has left.
fn open_log(parts: &GroupParts) -> Result<LogStore, ControlError> {
    let log = LogStore::open(Arc::clone(&parts.engine))?;
    if !log.is_pristine()? {
        return Ok(log);
    }
    let addresses = &parts.introduction.addresses;
    adopt(&parts.engine, parts.incarnation, addresses)?;
    LogStore::open(Arc::clone(&parts.engine))
}

/// Asks everybody who was in the group what is remembered of this node.
async fn ask_back(
    parts: &GroupParts,
    log: &LogStore,
    machine: &Machine,
) -> Result<u64, ControlError> {
    let position = Position {
        starts: parts.session.starts,
        control: log.last_index(),
        log: 0,
    };
    let mut others = machine.members();
    for (incarnation, places) in log.members() {
        others.insert(*incarnation, places.clone());
    }
    others.remove(&parts.incarnation);
    for (incarnation, places) in &others {
        if !places.is_empty() {
            parts.transport.know(*incarnation, places);
        }
    }
    let to = others.into_keys().map(To::Node).collect();
    let patience = parts.timings.heartbeat.saturating_mul(2);
    let answers = hello::ask(&parts.transport, to, position, patience).await;
    look_back(parts.engine.as_ref(), position, answers)
}

impl RaftControl {
    /// Opens what is on disk, and takes part from then on if this node belongs to a group. The
    /// control log of a cluster of one is taken over. Inside a Tokio runtime.
    ///
    /// # Errors
    /// When something is missing, damaged or from a newer version.
    pub async fn open(parts: GroupParts) -> Result<Arc<Self>, ControlError> {
        refuse_old_image(parts.engine.as_ref())?;
        let log = open_log(&parts)?;
        let (machine, published) = Machine::open(Arc::clone(&parts.engine))?;
        parts.introduction.check_level(&published.state())?;
        let cluster = decision::cluster(parts.engine.as_ref())?;
        let cluster = cluster.or(published.state().cluster);
        let peers = Arc::new(Peers::new(
            Arc::clone(&parts.transport),
            Arc::clone(&parts.clock),
        ));
        let remembered_log = ask_back(&parts, &log, &machine).await?;
        if let Some(cluster) = cluster {
            (parts.belong)(cluster, published.state().generation);
        }
        let network = Network {
            peers: Arc::clone(&peers),
            pause: parts.timings.heartbeat / 2,
        };
        let raft = Raft::new(
            number_of(parts.incarnation),
            config(&parts.timings)?,
            network,
            log,
            machine,
        )
        .await
        .map_err(|error| published.failure().map_or_else(|| fatal(error), fatal))?;
        let replace_after = parts.settings.replace_after;
        let clock = parts.clock;
        let control = Arc::new(Self {
            raft,
            published,
            peers,
            engine: parts.engine,
            incarnation: parts.incarnation,
            session: parts.session,
            introduction: parts.introduction,
            chance: parts.chance,
            timings: parts.timings,
            leave: parts.leave,
            cluster: watch::Sender::new(cluster),
            trouble: Mutex::default(),
            sessions: Sessions::default(),
            metrics: parts.metrics,
            settings: parts.settings,
            log_position: AtomicU64::new(0),
            remembered_log: AtomicU64::new(remembered_log),
            belong: parts.belong,
            ended: watch::Sender::new(None),
            duties: Mutex::default(),
            runtime: Handle::current(),
        });
        let duties = duties::start(&control, clock, replace_after);
        *control.duties.lock() = Some(duties);
        Ok(control)
    }
}
