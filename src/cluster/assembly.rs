//! The parts of a member, each made from settings and the parts below it. In which order is
//! `member.rs`'s business.

use std::sync::Arc;

use prometheus_client::registry::Registry;

use super::blocks::{Archive, BucketReads, PackUse, may_found};
use super::clocks::DeletionClock;
use super::control::{Control, ControlState, LocalControl, join_or_found};
use super::data::DataPeers;
use super::error::Error;
use super::history::{Historian, HistorianParts, HistoryMetrics};
use super::merging::{MergeMetrics, Merger, MergerParts};
use super::metrics::ClusterMetrics;
use super::moves::Follower;
use super::opening::{MemberSettings, World};
use super::seal::{Busy, Sealer, SealerParts};
use super::together::{Joined, Together};
use super::ways::BuildParts;
use crate::archive::{ArchiveKind, ArchiveMetrics};
use crate::model::{FOUNDING_DEPTH, Incarnation};
use crate::store::{
    DataDir, Engine, HeadSettings, Store, StoreParts, TierMetrics, TierParts, cache_bytes,
    disk_bytes,
};

/// The parts that talk to peers; on a node that is alone, what does without them.
pub(super) fn among_others(
    joined: Option<Joined>,
    parts: &BuildParts<'_>,
    registry: &mut Registry,
) -> (Option<Arc<Together>>, Arc<Follower>, Option<Arc<DataPeers>>) {
    match joined {
        Some(joined) => {
            let built = joined.build(parts, registry);
            let together = Some(Arc::new(built.together));
            (together, built.follower, Some(built.peers))
        }
        None => {
            let follower = Arc::new(Follower::new(
                Arc::clone(parts.store),
                Arc::clone(parts.manifests),
                parts.me,
                None,
                parts.archive.cloned(),
            ));
            (None, follower, None)
        }
    }
}

/// What merges blocks, from what seals are made from too.
pub(super) fn new_merger(
    parts: &BuildParts<'_>,
    shared: &Shared<'_>,
    historian: &Arc<Historian>,
    deletion_clock: DeletionClock,
    metrics: MergeMetrics,
) -> Merger {
    Merger::new(MergerParts {
        store: Arc::clone(parts.store),
        control: Arc::clone(shared.control),
        clock: Arc::clone(&parts.world.clock),
        me: parts.me,
        grace: parts.settings.seal.grace,
        retention: parts.settings.retention.clone(),
        deletion_clock,
        metrics,
        follower: Arc::clone(shared.follower),
        peers: shared.peers.cloned(),
        busy: Arc::clone(shared.busy),
        historian: Arc::clone(historian),
        packs: shared.packs.clone(),
    })
}

/// What seals windows.
pub(super) fn new_sealer(
    parts: &BuildParts<'_>,
    shared: &Shared<'_>,
    metrics: ClusterMetrics,
) -> Sealer {
    Sealer::new(SealerParts {
        store: Arc::clone(parts.store),
        control: Arc::clone(shared.control),
        clock: Arc::clone(&parts.world.clock),
        settings: parts.settings.seal.clone(),
        me: parts.me,
        metrics,
        follower: Arc::clone(shared.follower),
        peers: shared.peers.cloned(),
        busy: Arc::clone(shared.busy),
    })
}

/// What those who change the catalog share.
pub(super) struct Shared<'a> {
    pub(super) control: &'a Arc<dyn Control>,
    pub(super) follower: &'a Arc<Follower>,
    pub(super) peers: Option<&'a Arc<DataPeers>>,
    pub(super) busy: &'a Busy,
    /// `None` where there is no bucket.
    pub(super) packs: Option<Arc<PackUse>>,
}

/// What keeps the control state small.
pub(super) fn new_historian(
    parts: &BuildParts<'_>,
    shared: &Shared<'_>,
    registry: &mut Registry,
) -> Arc<Historian> {
    Arc::new(Historian::new(HistorianParts {
        store: Arc::clone(parts.store),
        control: Arc::clone(shared.control),
        clock: Arc::clone(&parts.world.clock),
        me: parts.me,
        follower: Arc::clone(shared.follower),
        peers: shared.peers.cloned(),
        busy: Arc::clone(shared.busy),
        bucket: parts.archive.is_some(),
        metrics: HistoryMetrics::register(registry),
    }))
}

/// The bucket that settings name, if they name one.
pub(super) fn open_archive(
    settings: &MemberSettings,
    world: &World,
    registry: &mut Registry,
) -> Result<Option<Archive>, Error> {
    if settings.archive.main.kind == ArchiveKind::None {
        return Ok(None);
    }
    let metrics = ArchiveMetrics::register(registry);
    let archive = Archive::open(&settings.archive, &world.clock, &world.runtime, metrics)?;
    Ok(archive)
}

/// The control log of a cluster of one.
pub(super) fn alone(
    engine: &Arc<dyn Engine>,
    me: Incarnation,
    settings: &MemberSettings,
    world: &World,
    archive: Option<&Archive>,
) -> Result<Arc<dyn Control>, Error> {
    let control = LocalControl::open(Arc::clone(engine))?;
    if let (None, Some(archive)) = (control.state().cluster, archive) {
        may_found(archive, &world.cancel)?;
    }
    let chance = world.chance.as_ref();
    join_or_found(
        &control,
        engine.as_ref(),
        me,
        &settings.introduction,
        chance,
    )?;
    Ok(Arc::new(control))
}

/// The store, divided as the ring is.
pub(super) fn open_store(
    engine: Arc<dyn Engine>,
    directory: DataDir,
    tier: Option<TierParts>,
    state: &ControlState,
    settings: &MemberSettings,
    world: &World,
) -> Result<Arc<Store>, Error> {
    let depths = state.partitions.keys().map(|arc| arc.depth());
    let depth = depths.min().unwrap_or(FOUNDING_DEPTH);
    let parts = StoreParts {
        directory,
        engine,
        cluster_id: state.cluster.map_or(0, |cluster| cluster.0),
        log: settings.log.clone(),
        head: HeadSettings {
            depth,
            ..settings.head
        },
        head_bytes_max: settings.head_bytes_max,
        decoded_bytes_max: settings.decoded_cache_bytes,
        clock: Arc::clone(&world.clock),
        chance: Arc::clone(&world.chance),
    };
    let store = Store::open_tiered(parts, tier)?;
    store.align(&state.partitions.keys().copied().collect())?;
    Ok(Arc::new(store))
}

/// The time by which things are deleted.
pub(super) fn deletion_clock(
    world: &World,
    me: Incarnation,
    together: Option<&Arc<Together>>,
) -> DeletionClock {
    DeletionClock {
        clock: Arc::clone(&world.clock),
        me,
        peers: together.map(|together| together.peers.clone()),
    }
}

/// How the store reads blocks that are only in the bucket, where there is one.
pub(super) fn new_tier(
    archive: Option<&Archive>,
    settings: &MemberSettings,
    world: &World,
    directory: &DataDir,
    registry: &mut Registry,
) -> Option<TierParts> {
    let (clock, chance) = (Arc::clone(&world.clock), Arc::clone(&world.chance));
    let remote = BucketReads::new(archive?, clock, chance, world.runtime.clone());
    // A disk of unknown size: no cache.
    let disk = disk_bytes(directory.path()).unwrap_or(0);
    Some(TierParts {
        remote: Arc::new(remote),
        cache_bytes_max: cache_bytes(&settings.retention, disk),
        free_min: settings.disk.min_free.0.saturating_mul(2),
        index_bytes_max: settings.index_cache_bytes,
        metrics: TierMetrics::register(registry),
    })
}
