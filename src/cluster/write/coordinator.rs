//! A write to many nodes: local copy, streams to the others, and the wait for majorities.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::attempt::Attempt;
use super::batch::{Memory, RoutedBatch};
use super::error::WriteError;
use super::gate::{Gate, Refusing};
use super::hints::Hints;
use super::link::Link;
use super::local::{LocalCopy, append_here};
use super::majority::Said;
use super::parts::{Ground, WriterParts};
use super::routes::Routes;
use super::routing::{Place, RoutingTable, place_of};
use super::stream::Job;
use crate::cluster::control::ControlState;
use crate::model::{Incarnation, LabelSet, RingArc, TenantId, fingerprint};
use crate::runtime::{Pool, jittered};
use crate::store::{AppendBatch, Appended, SeriesId};

/// Attempts at one write at most.
const ATTEMPTS_MAX: u32 = 12;
/// Pauses between attempts.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_LONGEST: Duration = Duration::from_secs(1);
/// Retries that wait for a thread at most.
const RETRIES_WAITING_MAX: usize = 1024;

/// The coordinator.
pub(super) struct Coordinator {
    me: Incarnation,
    pub(super) ground: Arc<Ground>,
    pub(super) gate: Arc<Gate>,
    runtime: Handle,
    memory: Arc<Memory>,
    hint_bytes: Arc<AtomicUsize>,
    links: Mutex<BTreeMap<Incarnation, Owned>>,
    ring_changes: watch::Sender<u64>,
    pool: Pool,
}

/// A link and its task.
struct Owned {
    link: Arc<Link>,
    task: JoinHandle<()>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A batch on its way.
pub(super) struct UnderWay {
    coordinator: Arc<Coordinator>,
    batch: Arc<RoutedBatch>,
    attempt: Arc<Attempt>,
    local: Option<LocalCopy>,
    deadline: Duration,
}

impl Coordinator {
    pub(super) fn new(parts: WriterParts) -> Self {
        let settings = parts.settings;
        let ground = Ground {
            transport: parts.transport,
            replica: parts.replica,
            routes: Routes::new(settings.routes_max, parts.chance.as_ref()),
            table: ArcSwap::default(),
            metrics: parts.metrics,
            clock: parts.clock,
            chance: parts.chance,
            settings,
        };
        Self {
            me: parts.me,
            gate: parts.gate,
            runtime: parts.runtime,
            memory: Arc::new(Memory::new(ground.settings.bytes_max)),
            hint_bytes: Arc::default(),
            links: Mutex::default(),
            ring_changes: watch::Sender::new(0),
            pool: Pool::new(
                "write_again",
                ground.settings.appending,
                RETRIES_WAITING_MAX,
            ),
            ground: Arc::new(ground),
        }
    }

    /// Puts the ring of a control state into force: first for what comes in, then for what goes
    /// out. Connections to those who are in no set any more are closed.
    pub(super) fn set_ring(&self, state: &ControlState) {
        self.gate.set_ring(state, self.me);
        let table = Arc::new(RoutingTable::of(state, self.me));
        let gone: Vec<Owned> = {
            let mut links = self.links.lock();
            let peers = table.peers();
            let gone: Vec<Incarnation> = links
                .keys()
                .filter(|peer| !peers.contains(peer))
                .copied()
                .collect();
            gone.iter().filter_map(|peer| links.remove(peer)).collect()
        };
        drop(gone);
        self.ground.table.store(table);
        self.ring_changes.send_modify(|count| *count += 1);
    }

    /// The route of a series, which is registered in the local head where this node is a member.
    pub(super) fn register(
        &self,
        tenant: &TenantId,
        labels: &LabelSet,
    ) -> Result<SeriesId, WriteError> {
        let print = fingerprint(tenant, labels);
        let table = self.ground.table.load();
        let is_member = table
            .find(place_of(print))
            .is_some_and(|(_, partition)| partition.me.is_some());
        let local = if is_member {
            Some(self.ground.replica.register(tenant, labels)?)
        } else {
            None
        };
        let route = self.ground.routes.register(tenant, labels, print, local);
        route.map(super::routes::Route::id).ok_or_else(|| WriteError::Limit {
            reason: format!(
                "this node routes {} series already: send to more nodes, or drop labels that multiply series",
                self.ground.settings.routes_max
            ),
        })
    }

    /// Sends a batch to all members of its partitions. What has to be registered again is named.
    pub(super) fn append(
        self: &Arc<Self>,
        batch: &AppendBatch<'_>,
    ) -> Result<(UnderWay, Appended), WriteError> {
        let ground = &self.ground;
        let now = ground.clock.elapsed();
        ground.routes.tidy(now);
        let (mut routed, locals, mut stale) = RoutedBatch::of(batch, &ground.routes, &self.memory)?;
        self.show_sizes();
        let table = ground.table.load_full();
        let attempt = Arc::new(Attempt::new(table, &mut routed)?);
        // Series of partitions that this node has become a member of are not in its head yet: it
        // names them, and they are registered again.
        let (local, forgotten) = append_here(
            (self.ground.replica.as_ref(), &self.gate),
            (&routed, &locals),
            &attempt,
        );
        routed.leave_out(&forgotten);
        join(&mut stale, forgotten);
        let routed = Arc::new(routed);
        self.send(&routed, &attempt, Some(&mut stale));
        for positions in [
            &mut stale.stale_floats,
            &mut stale.stale_others,
            &mut stale.stale_exemplars,
        ] {
            positions.sort_unstable();
            positions.dedup();
        }
        let under_way = UnderWay {
            coordinator: Arc::clone(self),
            batch: routed,
            attempt,
            local,
            deadline: now + ground.settings.patience,
        };
        Ok((under_way, stale))
    }

    fn show_sizes(&self) {
        let metrics = &self.ground.metrics;
        let gauge = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        metrics.waiting_bytes.set(gauge(self.memory.used()));
        metrics.routes.set(gauge(self.ground.routes.size().0));
    }

    /// Sends a batch to all other members. What could not be defined there is stale; without
    /// anybody to tell that, those members do not count.
    fn send(
        &self,
        batch: &Arc<RoutedBatch>,
        attempt: &Arc<Attempt>,
        mut stale: Option<&mut Appended>,
    ) {
        let mut jobs: BTreeMap<Incarnation, Vec<(usize, u8)>> = BTreeMap::new();
        for (part, at) in attempt.ring_positions().iter().enumerate() {
            let Some(partition) = attempt.table.get(*at) else {
                continue;
            };
            for (bit, member) in partition.present() {
                if member.incarnation != self.me {
                    let parts = jobs.entry(member.incarnation).or_default();
                    parts.push((part, bit));
                }
            }
        }
        for (peer, parts) in jobs {
            let job = Job {
                attempt: Arc::clone(attempt),
                batch: Arc::clone(batch),
                parts,
            };
            let sent = self.link(peer).send(job, stale.is_some());
            if let (Some(sent), Some(stale)) = (sent, stale.as_deref_mut()) {
                stale.stale_floats.extend(sent.stale_floats);
                stale.stale_others.extend(sent.stale_others);
                stale.stale_exemplars.extend(sent.stale_exemplars);
            }
        }
    }

    /// The link to a peer; its task is started with it.
    fn link(&self, peer: Incarnation) -> Arc<Link> {
        let mut links = self.links.lock();
        let owned = links.entry(peer).or_insert_with(|| {
            let hints = Hints::new(
                Arc::clone(&self.hint_bytes),
                self.ground.settings.clone(),
                self.ground.metrics.clone(),
            );
            let link = Arc::new(Link::new(peer, Arc::clone(&self.ground), hints));
            let task = self.runtime.spawn(Arc::clone(&link).run());
            Owned { link, task }
        });
        Arc::clone(&owned.link)
    }

    /// Another attempt at the parts of a batch that lie in some partitions of the ring before.
    fn again(
        self: &Arc<Self>,
        before: &UnderWay,
        short: &BTreeSet<usize>,
    ) -> Result<UnderWay, WriteError> {
        let ground = &self.ground;
        ground.metrics.retries.inc();
        let old = &before.attempt.table;
        let is_short = |place: Place| old.find(place).is_some_and(|(at, _)| short.contains(&at));
        let (mut routed, locals) = before.batch.part(&ground.routes, is_short)?;
        let table = ground.table.load_full();
        let attempt = Arc::new(Attempt::new(table, &mut routed)?);
        let (local, forgotten) = append_here(
            (self.ground.replica.as_ref(), &self.gate),
            (&routed, &locals),
            &attempt,
        );
        // Nobody can register it again now: this copy does not count.
        self.disown(&attempt, &routed, &forgotten);
        let routed = Arc::new(routed);
        self.send(&routed, &attempt, None);
        Ok(UnderWay {
            coordinator: Arc::clone(self),
            batch: routed,
            attempt,
            local,
            deadline: before.deadline,
        })
    }

    fn disown(&self, attempt: &Attempt, routed: &RoutedBatch, forgotten: &Appended) {
        let floats = forgotten.stale_floats.iter();
        let floats = floats.filter_map(|at| routed.floats.get(*at as usize).map(|s| s.place));
        let others = forgotten.stale_others.iter();
        let others = others.filter_map(|at| routed.others.get(*at as usize).map(|s| s.place));
        let parts: BTreeSet<usize> = floats
            .chain(others)
            .filter_map(|place| attempt.part_of(place))
            .collect();
        let bit = |part: &usize| {
            let at = attempt.ring_positions().get(*part)?;
            attempt.table.get(*at)?.me
        };
        let said = parts
            .iter()
            .filter_map(|part| Some((*part, bit(part)?, Said::Undefined)));
        attempt.note(said);
    }

    /// Gives peers hints of what they have missed of an acknowledged batch.
    fn hint(&self, under_way: &UnderWay) {
        let mut missed: BTreeMap<Incarnation, Vec<RingArc>> = BTreeMap::new();
        for (node, arc) in under_way.attempt.missed() {
            if node != self.me {
                missed.entry(node).or_default().push(arc);
            }
        }
        for (peer, arcs) in missed {
            let link = self.link(peer);
            link.hint(&under_way.attempt, &under_way.batch, &arcs);
        }
    }
}

fn join(stale: &mut Appended, more: Appended) {
    stale.stale_floats.extend(more.stale_floats);
    stale.stale_others.extend(more.stale_others);
    stale.stale_exemplars.extend(more.stale_exemplars);
}

impl UnderWay {
    /// Waits until everything is acknowledged, with further attempts where the ring changed or a
    /// connection broke.
    pub(super) async fn wait(mut self) -> Result<(), WriteError> {
        let coordinator = Arc::clone(&self.coordinator);
        let ground = Arc::clone(&coordinator.ground);
        let mut ring = coordinator.ring_changes.subscribe();
        let mut pause = PAUSE_FIRST;
        let mut reason: Option<String> = None;
        for number in 1..=ATTEMPTS_MAX {
            ring.mark_unchanged();
            let left = self.deadline.saturating_sub(ground.clock.elapsed());
            self.attempt_is_decided(left).await;
            let (short, may_go_better) = self.attempt.end();
            if short.is_empty() {
                if !self.attempt.missed().is_empty() {
                    self.hint_later();
                }
                return Ok(());
            }
            let left = self.deadline.saturating_sub(ground.clock.elapsed());
            // An attempt that had no time says less than the one before.
            if !left.is_zero() || reason.is_none() {
                reason = Some(self.attempt.reason());
            }
            if !may_go_better || left.is_zero() || number == ATTEMPTS_MAX {
                break;
            }
            // A new ring is worth an attempt at once.
            let wait = jittered(pause, ground.chance.as_ref()).min(left);
            let _ = tokio::time::timeout(wait, ring.changed()).await;
            pause = (pause * 2).min(PAUSE_LONGEST);
            let (again, before) = (Arc::clone(&coordinator), self);
            let job = move || again.again(&before, &short);
            let next = coordinator.pool.run(job).await;
            self = next.map_err(|error| WriteError::Unavailable {
                reason: error.to_string(),
            })??;
        }
        Err(WriteError::Unavailable {
            reason: reason.unwrap_or_default(),
        })
    }

    /// Waits until the attempt is decided, or for so long; notes the local copy when it is
    /// durable.
    async fn attempt_is_decided(&mut self, left: Duration) {
        let local = self.local.take();
        let (ground, attempt) = (&self.coordinator.ground, &self.attempt);
        let here = async {
            let Some(local) = local else {
                return;
            };
            let said = match ground.replica.durable(local.position).await {
                Ok(()) => Said::Appended,
                Err(_) => Said::Refused(Refusing::NotReady),
            };
            let parts = local.parts.into_iter();
            attempt.note(parts.map(|(part, bit)| (part, bit, said)));
        };
        // A disk that stands still here is one member of many.
        let either = async {
            tokio::select! {
                () = attempt.decided() => {}
                () = async { here.await; std::future::pending().await } => {}
            }
        };
        let _ = tokio::time::timeout(left, either).await;
    }

    /// Encodes hints on a thread that nobody waits for.
    fn hint_later(self) {
        let coordinator = Arc::clone(&self.coordinator);
        let runtime = coordinator.runtime.clone();
        let pool = coordinator.pool.clone();
        runtime.spawn(async move {
            // No thread for it: it was a courtesy.
            let _ = pool.run(move || coordinator.hint(&self)).await;
        });
    }
}
