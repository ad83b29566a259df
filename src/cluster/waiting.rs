//! What a start waits for: that this node belongs to a cluster; and what ends it later.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::control::{ClusterId, Control, ControlState, MemberId, RaftControl, Session};
use super::discovery::{self, Announcement, Discovery, DiscoveryMetrics};
use super::error::Error;
use super::opening::{MemberSettings, World};
use super::peer::{Caller, Identity};
use crate::model::Incarnation;
use crate::runtime::wait;

/// A node that waits for its cluster looks so often whether it shall stop.
const STOP_POLL: Duration = Duration::from_millis(100);

/// A node as it speaks to others before it knows its cluster.
pub(super) fn stranger(
    settings: &MemberSettings,
    incarnation: Incarnation,
    session: Session,
) -> Identity {
    let caller = Caller {
        cluster: None,
        generation: 0,
        incarnation,
        session,
    };
    Identity::of_version(caller, settings.introduction.build.protocol)
}

/// From the moment when the cluster is known everything is said in its name, and in that of its
/// control group's generation.
pub(super) fn belonging(identity: &Identity) -> Arc<dyn Fn(ClusterId, u64) + Send + Sync> {
    let identity = identity.clone();
    Arc::new(move |cluster, generation| {
        if let Err(error) = identity.belong(cluster, generation) {
            tracing::error!(%cluster, %error, "this node cannot belong to two clusters");
        }
    })
}

/// Begins to look for others.
pub(super) fn find(
    settings: &MemberSettings,
    announcement: &Announcement,
    world: &World,
    registry: &mut Registry,
) -> Result<Arc<dyn Discovery>, Error> {
    let surroundings = discovery::Surroundings {
        clock: Arc::clone(&world.clock),
        chance: Arc::clone(&world.chance),
        metrics: DiscoveryMetrics::register(registry),
    };
    let discovery = discovery::open(&settings.discovery, announcement, &surroundings)?;
    Ok(Arc::from(discovery))
}

/// Lets the node found or join, and waits until it knows a ring: at once if it belonged to a
/// cluster before. The task goes on until it has announced this start.
pub(super) fn wait_for_cluster(
    raft: &Arc<RaftControl>,
    discovery: &Arc<dyn Discovery>,
    me: MemberId,
    world: &World,
) -> Result<JoinHandle<()>, Error> {
    let (failed, mut failure) = watch::channel(None);
    let joining = {
        let (raft, discovery) = (Arc::clone(raft), Arc::clone(discovery));
        world.runtime.spawn(async move {
            if let Err(error) = raft.found_or_join(discovery.as_ref()).await {
                tracing::error!(%error, "this node cannot take part in its cluster");
                failed.send_replace(Some(error.to_string()));
            }
        })
    };
    let mut changed = raft.changed();
    // Others are needed to announce this node the first time, and when it has lost a part of its
    // memory: before they know, it must not take part as who it was.
    let is_known = |state: &ControlState| {
        let known = state.members.get(&me.incarnation);
        !state.partitions.is_empty() && known.is_some_and(|known| known.life >= me.life)
    };
    while !is_known(&raft.state()) {
        if let Err(error) = world.cancel.check() {
            joining.abort();
            return Err(Error::Store(error.into()));
        }
        if let Some(reason) = failure.borrow_and_update().clone() {
            return Err(Error::Ended(reason));
        }
        world.starting.say(raft.trouble());
        // Woken or not, the state is looked at again.
        let looked = async { timeout(STOP_POLL, changed.changed()).await };
        let _ = wait(&world.runtime, looked);
    }
    world.starting.say(None);
    Ok(joining)
}

/// Learns why this session is over, if it is.
pub(super) fn watch_end(
    raft: &Arc<RaftControl>,
    identity: &Identity,
    runtime: &Handle,
) -> watch::Receiver<Option<String>> {
    let (end, ended) = watch::channel(None);
    let (raft, identity) = (Arc::clone(raft), identity.clone());
    runtime.spawn(async move {
        let reason = tokio::select! {
            ending = raft.ended() => ending.to_string(),
            reason = identity.superseded() => reason,
        };
        end.send_replace(Some(reason));
    });
    ended
}
