//! A node from its start to its end.

use std::cell::Cell;
use std::future::Future;
use std::process;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use crate::cluster::LocalMember;
use crate::config::Settings;
use crate::http::{Front, HttpMetrics, Server};
use crate::runtime::{SystemChance, SystemClock, cores, start_logging};

use super::Error;
use super::parts::{Ground, Made, registry};
use super::reload::{ReadSettings, Reload};
use super::signals::{Asked, Signals};
use super::status::{NodeStatus, Scraped};

/// Threads for synchronous work: queries, decoding, waiting for disks. They are started when
/// needed and end when idle; pools above them bound what runs.
const BLOCKING_THREADS_MAX: usize = 96;

/// A node that is told to stop while it opens what it holds waits so long for it to be open, so
/// that it can be closed; after that it just ends, which costs nothing but another reading.
const OPENING_TIME: Duration = Duration::from_secs(3);
pub(super) const LEFT_BEHIND_TIME: Duration = Duration::from_secs(1);

/// The exit code of a node that was told to stop twice: it did not end in order.
const STOPPED_TWICE: i32 = 1;

/// What a node that is stopping has still to do.
const UNDER_WAY: &str = "requests under way were not answered, the log was not closed, and other nodes were not told: the next start is one after a crash";
const NOT_CLOSED: &str =
    "the log was not closed, and other nodes were not told: the next start is one after a crash";

/// Runs a node until it is told to stop. `read` reads the settings again, for a reload.
///
/// # Errors
/// When it cannot start, or cannot bring what it holds to disk at the end.
pub fn run(settings: Settings, read: ReadSettings) -> Result<(), Error> {
    let level = start_logging(&settings.telemetry)?;
    let clock = Arc::new(SystemClock::new());
    let reload = Arc::new(Reload::new(read, level, settings.clone(), clock.clone()));
    let ground = Arc::new(Ground::new(settings, clock, Arc::new(SystemChance)));
    let runtime = runtime()?;
    let result = runtime.block_on(serve(ground, reload));
    // Only what was given up is still under way: reading the log, when the node was stopped then.
    runtime.shutdown_timeout(LEFT_BEHIND_TIME);
    result
}

/// Threads for what waits: requests, peers, timers. What computes has pools of its own, so a thread
/// for each core would mostly be woken to find that another has taken the work already: half as
/// many need a quarter less switches a request (docs/performance.md, "Threads"). Two at least, so that
/// one that is held up, by a lock or a disk, holds up nobody else.
fn io_threads(cores: usize) -> usize {
    (cores / 2).max(2)
}

pub(super) fn runtime() -> Result<Runtime, Error> {
    let built = Builder::new_multi_thread()
        .worker_threads(io_threads(cores()))
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_stack_size(crate::query::STACK_BYTES)
        .thread_name("cairn")
        .enable_all()
        .build();
    built.map_err(|source| Error::System {
        what: "threads",
        source,
    })
}

/// The server, while what it is to show is not there yet.
pub(super) struct Listening {
    pub(super) signals: Signals,
    pub(super) registry: Registry,
    pub(super) http: HttpMetrics,
    pub(super) front: Front,
    pub(super) serving: Serving,
}

/// The server's task, and how it is told to end.
pub(super) struct Serving {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Serving {
    /// Ends it once the requests under way have their answers.
    pub(super) async fn stop(self) -> Result<(), Error> {
        // The server may have ended by itself.
        let _ = self.stop.send(());
        let ended = self.task.await;
        ended.map_err(|_| Error::Lost { what: "the server" })
    }
}

/// Takes the port, and answers there that the node is starting.
pub(super) async fn listen(ground: &Ground) -> Result<Listening, Error> {
    let signals = Signals::listen().map_err(|source| Error::System {
        what: "signals",
        source,
    })?;
    let (registry, http) = registry(ground.started, &ground.settings.main.data_dir);
    let server = Server::bind(ground.settings.http.clone(), http.clone()).await?;
    let address = server.local_addr().map_err(|source| Error::System {
        what: "listening address",
        source,
    })?;
    let starting = ground.starting.clone();
    let front = Front::starting(move || starting.reason());
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(server.run(front.clone(), async {
        // A sender that is gone means the same.
        let _ = stopped.await;
    }));
    let data_dir = ground.settings.main.data_dir.display().to_string();
    tracing::info!(%address, %data_dir, version = env!("CARGO_PKG_VERSION"), "cairn is starting");
    Ok(Listening {
        signals,
        registry,
        http,
        front,
        serving: Serving { stop, task },
    })
}

async fn serve(ground: Arc<Ground>, reload: Arc<Reload>) -> Result<(), Error> {
    let Listening {
        mut signals,
        registry,
        http,
        front,
        serving,
    } = listen(&ground).await?;
    let opened = open_unless_stopped(&ground, registry, &mut signals).await?;
    let Some((member, mut registry)) = opened else {
        return Ok(());
    };
    let member = Arc::new(member);
    let engine = ground.engine(&mut registry);
    let engine = engine.with_register(member.queries().register());
    let receiver = ground.receiver(&member, &mut registry);
    let scraped = Arc::new(Scraped::default());
    let status = Arc::new(ground.status(&member, &reload, &scraped));
    let made = Made {
        engine,
        receiver,
        registry: Arc::new(registry),
    };
    let scrape = ground.self_scrape(&member, &made.registry, &scraped);
    ground.show(&front, &member, made, Arc::clone(&status), http);
    let scraping = tokio::spawn(scrape.run());
    tell_ready(&ground, &member);
    let ended = until_stopped(&mut signals, &reload, &member).await;
    let left = Cell::new(UNDER_WAY);
    let stopping = stop(&member, &status, &left, serving, scraping);
    unless_told_again(stopping, &mut signals, &left).await?;
    ended.map_or(Ok(()), |reason| Err(Error::Ended { reason }))
}

/// Opens what the node holds, beside the server.
async fn open(
    ground: &Arc<Ground>,
    mut registry: Registry,
) -> Result<(LocalMember, Registry), Error> {
    let ground = Arc::clone(ground);
    let runtime = Handle::current();
    let opening = spawn_blocking(move || {
        let member = ground.open_member(&runtime, &mut registry)?;
        Ok((member, registry))
    });
    opening.await.unwrap_or(Err(Error::Lost {
        what: "opening the data directory",
    }))
}

/// The same, given up when somebody asks for it.
async fn open_unless_stopped(
    ground: &Arc<Ground>,
    registry: Registry,
    signals: &mut Signals,
) -> Result<Option<(LocalMember, Registry)>, Error> {
    let opening = open(ground, registry);
    tokio::pin!(opening);
    tokio::select! {
        opened = &mut opening => return opened.map(Some),
        () = told_to_stop(signals) => {}
    }
    tracing::info!("cairn is stopping before it was ready");
    ground.stop_opening.cancel();
    let closing = async {
        if let Ok(Ok((member, _))) = timeout(OPENING_TIME, opening).await {
            close(Arc::new(member)).await?;
        }
        Ok(None)
    };
    unless_told_again(closing, signals, &Cell::new(NOT_CLOSED)).await
}

async fn close(member: Arc<LocalMember>) -> Result<(), Error> {
    let closed = spawn_blocking(move || member.close()).await;
    let closed = closed.map_err(|_| Error::Lost {
        what: "closing the data directory",
    })?;
    Ok(closed?)
}

/// Stops in order; told to stop once more, the process ends at once. What was acknowledged is on the disk as
/// far as `log.sync` says, as after a crash.
pub(super) async fn unless_told_again<T>(
    stopping: impl Future<Output = T>,
    signals: &mut Signals,
    left: &Cell<&'static str>,
) -> T {
    tokio::pin!(stopping);
    loop {
        tokio::select! {
            biased;
            stopped = &mut stopping => return stopped,
            asked = signals.next() => {
                if asked == Asked::Stop {
                    let reason = left.get();
                    tracing::error!(reason, "cairn was told to stop a second time and ends at once");
                    process::exit(STOPPED_TWICE);
                }
            }
        }
    }
}

pub(super) async fn told_to_stop(signals: &mut Signals) {
    while signals.next().await == Asked::Reload {
        tracing::info!(
            "the configuration was read a moment ago: it is not read again while the node starts"
        );
    }
}

fn tell_ready(ground: &Ground, member: &LocalMember) {
    let store = member.store();
    let head = store.head_stats();
    let state = member.control_state();
    // Older blocks are read from the disk later: a start does not wait for them.
    let listed = state.partitions.values().map(|partition| {
        let older = partition
            .history
            .map_or(0, |history| u64::from(history.blocks));
        older.saturating_add(partition.recent.len() as u64)
    });
    let blocks: u64 = listed.sum();
    let took_ms = ground.clock.now().0.saturating_sub(ground.started.0);
    tracing::info!(
        series = head.series,
        samples = head.samples,
        blocks,
        replayed_records = head.log.replayed_records,
        took_ms,
        "cairn is ready"
    );
}

/// Waits until the node is told to stop, or must: then with the reason.
async fn until_stopped(
    signals: &mut Signals,
    reload: &Reload,
    member: &LocalMember,
) -> Option<String> {
    let ended = member.ended();
    let ended = async move {
        let Some(mut ended) = ended else {
            return std::future::pending().await;
        };
        match ended.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone(),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::pin!(ended);
    loop {
        tokio::select! {
            asked = signals.next() => {
                if asked != Asked::Reload {
                    return None;
                }
                // What went wrong has been logged, and shows in `status/runtimeinfo`.
                let _ = reload.run();
                if let Err(error) = member.reload() {
                    tracing::error!(%error, "the certificates of peers could not be read again");
                }
            }
            reason = &mut ended => {
                tracing::error!(?reason, "this node must not go on");
                return reason;
            }
        }
    }
}

/// Everything in order: nothing new, requests under way, our own metrics, the disk.
async fn stop(
    member: &Arc<LocalMember>,
    status: &NodeStatus,
    left: &Cell<&'static str>,
    serving: Serving,
    scraping: JoinHandle<()>,
) -> Result<(), Error> {
    tracing::info!("cairn is stopping");
    status.stopping.store(true, Ordering::Release);
    scraping.abort();
    serving.stop().await?;
    left.set(NOT_CLOSED);
    close(Arc::clone(member)).await?;
    tracing::info!("cairn has stopped: everything is on disk");
    Ok(())
}
