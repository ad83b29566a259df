//! Brings this node's store to what the control state says of its partitions: blocks that are
//! missing are fetched from peers, then the catalog is applied.
//!
//! A matter of state, not of events: whoever calls it, however often, the result is the same.
//! What one step needs and does not get makes an error, and the step is made again later.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::cluster::blocks::Archive;
use crate::cluster::control::{ControlState, Liveness, Partition};
use crate::cluster::data::DataPeers;
use crate::cluster::error::Error;
use crate::cluster::manifests::{Listed, Manifests, listed};
use crate::cluster::quorum::{Role, Sets};
use crate::model::{BlockEntry, Digest, Incarnation, RingArc, Uploaded};
use crate::runtime::CancelToken;
use crate::store::{self, Store};

/// What a node is to a partition, in the latest of its lives that takes part.
pub(in crate::cluster) fn role_of(partition: &Partition, me: Incarnation) -> Role {
    let sets = Sets::of(partition);
    let everyone = sets.everyone();
    let mine = everyone.iter().filter(|member| member.incarnation == me);
    let mine = mine.max_by_key(|member| member.life);
    mine.map_or(Role::Outside, |member| sets.role(*member))
}

/// Follows the catalog.
pub(in crate::cluster) struct Follower {
    store: Arc<Store>,
    manifests: Arc<Manifests>,
    me: Incarnation,
    /// `None` on a node that has no peers.
    peers: Option<Arc<DataPeers>>,
    /// `None` where there is no bucket.
    archive: Option<Archive>,
    /// Partitions that are being sealed here: whoever seals applies what he has sealed, because he
    /// knows what is in it.
    sealing: Mutex<BTreeSet<RingArc>>,
}

/// As long as it lives, a partition is left to who seals it.
pub(in crate::cluster) struct Sealing<'a> {
    follower: &'a Follower,
    arc: RingArc,
}

impl Drop for Sealing<'_> {
    fn drop(&mut self) {
        self.follower.sealing.lock().remove(&self.arc);
    }
}

impl Follower {
    pub(in crate::cluster) fn new(
        store: Arc<Store>,
        manifests: Arc<Manifests>,
        me: Incarnation,
        peers: Option<Arc<DataPeers>>,
        archive: Option<Archive>,
    ) -> Self {
        Self {
            store,
            manifests,
            me,
            peers,
            archive,
            sealing: Mutex::default(),
        }
    }

    /// Leaves a partition to the caller's seal.
    pub(in crate::cluster) fn leave_to_seal(&self, arc: RingArc) -> Sealing<'_> {
        self.sealing.lock().insert(arc);
        Sealing {
            follower: self,
            arc,
        }
    }

    /// Applies the catalog of a partition, whoever is sealing it.
    ///
    /// # Errors
    /// When a block cannot be had, or the disk fails.
    pub(in crate::cluster) fn bring_up(
        &self,
        state: &ControlState,
        arc: RingArc,
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let Some(partition) = state.partition(arc) else {
            return Ok(());
        };
        self.fetch(state, arc, cancel)?;
        let listed = listed(&self.manifests, arc, partition)?;
        Ok(self.store.apply(arc, &listed.catalog(), None)?)
    }

    /// The manifests of this node.
    pub(in crate::cluster) fn manifests(&self) -> &Manifests {
        &self.manifests
    }

    /// The catalog of a partition, whole: its manifest is fetched where it is not here.
    ///
    /// # Errors
    /// When the manifest cannot be had, or the disk fails.
    pub(in crate::cluster) fn listed<'a>(
        &self,
        state: &ControlState,
        arc: RingArc,
        partition: &'a Partition,
        cancel: &CancelToken,
    ) -> Result<Listed<'a>, Error> {
        if let Some(history) = partition.history
            && self.manifests.get(history.digest)?.is_none()
        {
            let sources = sources(state, partition, self.me);
            self.fetch_manifest(arc, history.digest, &sources, cancel)?;
        }
        listed(&self.manifests, arc, partition)
    }

    /// Whether a manifest has gone that others may have; alone it is missed when it is needed.
    fn lacks_manifest(&self, partition: &Partition) -> bool {
        let is_here = |digest| matches!(self.manifests.get(digest), Ok(Some(_)));
        let lacks = partition.history.is_some_and(|h| !is_here(h.digest));
        lacks && (self.peers.is_some() || self.archive.is_some())
    }

    /// Fetches a manifest from whoever has it, or from the bucket.
    fn fetch_manifest(
        &self,
        arc: RingArc,
        digest: Digest,
        sources: &[Incarnation],
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let mut reasons = Vec::new();
        for (source, peers) in sources.iter().zip(self.peers.iter().cycle()) {
            let fetched = peers.fetch_manifest(digest, *source, cancel);
            match fetched.and_then(|bytes| self.manifests.put(digest, &bytes)) {
                Ok(()) => return Ok(()),
                Err(error) => reasons.push(error.to_string()),
            }
            cancel.check().map_err(store::Error::from)?;
        }
        if let Some(archive) = &self.archive {
            let fetched = archive.fetch_manifest(arc, digest, cancel);
            match fetched.and_then(|bytes| self.manifests.put(digest, &bytes)) {
                Ok(()) => return Ok(()),
                Err(error) => reasons.push(format!("from the bucket: {error}")),
            }
        }
        if reasons.is_empty() {
            reasons.push("nobody else is known to have it".to_owned());
        }
        Err(Error::NoManifest {
            arc,
            digest,
            reason: reasons.join("; "),
        })
    }

    /// The same for all partitions that this node takes part in. The first failure is given when
    /// all have been tried.
    ///
    /// # Errors
    /// As [`Follower::bring_up`].
    pub(in crate::cluster) fn bring_all_up(
        &self,
        state: &ControlState,
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        self.bring_up_that(state, |partition| self.lacks_manifest(partition), cancel)
    }

    /// The same of those alone whose applied version is behind, whether manifests are here or not: these are as long
    /// as history, and a start does not read them.
    ///
    /// # Errors
    /// As [`Follower::bring_up`].
    pub(in crate::cluster) fn apply_all(
        &self,
        state: &ControlState,
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        self.bring_up_that(state, |_| false, cancel)
    }

    fn bring_up_that(
        &self,
        state: &ControlState,
        lacks: impl Fn(&Partition) -> bool,
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let mut failure = None;
        for (arc, partition) in &state.partitions {
            let takes_part = role_of(partition, self.me) != Role::Outside;
            // A half that is not in force here yet comes with the ring.
            let here = self.store.has_arc(*arc);
            let behind = !self.store.has_applied(*arc, partition.version);
            let behind = here && (behind || lacks(partition));
            if !takes_part || !behind || self.sealing.lock().contains(arc) {
                continue;
            }
            if let Err(error) = self.bring_up(state, *arc, cancel) {
                failure.get_or_insert(error);
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Fetches what the catalog of a partition names and is not here, its manifest first.
    ///
    /// # Errors
    /// When a block cannot be had, or the disk fails.
    pub(in crate::cluster) fn fetch(
        &self,
        state: &ControlState,
        arc: RingArc,
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let Some(partition) = state.partition(arc) else {
            return Ok(());
        };
        let listed = self.listed(state, arc, partition, cancel)?;
        let missing = self.store.missing(arc, &listed.catalog())?;
        if missing.is_empty() {
            return Ok(());
        }
        let sources = sources(state, partition, self.me);
        for entry in missing {
            self.fetch_block(arc, &entry, &sources, cancel)?;
        }
        Ok(())
    }

    /// Fetches the file of a block that the catalog names, wherever this node reads it.
    ///
    /// # Errors
    /// When it cannot be had, or the disk fails.
    pub(in crate::cluster) fn fetch_file(
        &self,
        state: &ControlState,
        arc: RingArc,
        entry: &BlockEntry,
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let partition = state.partition(arc);
        let sources = partition.map(|partition| sources(state, partition, self.me));
        self.fetch_block(arc, entry, &sources.unwrap_or_default(), cancel)
    }

    fn fetch_block(
        &self,
        arc: RingArc,
        entry: &BlockEntry,
        sources: &[Incarnation],
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let from_peers = match &self.peers {
            Some(peers) => peers.fetch(&self.store, entry, sources, cancel),
            None => Err(Error::Store(store::Error::corrupt(
                format!("block {} of partition {arc}", entry.id),
                "the catalog names it, but its file is not there",
            ))),
        };
        let archive = self.archive.as_ref();
        let archive = archive.filter(|_| entry.uploaded != Uploaded::None);
        let (Err(error), Some(archive)) = (&from_peers, archive) else {
            return from_peers;
        };
        let from_bucket = archive.fetch(&self.store, arc, entry, cancel, &|_| {});
        from_bucket
            .map_err(|bucket| Error::TooFew(format!("{error}; and from the bucket: {bucket}")))
    }
}

/// Who may have the blocks of a partition: its members, those that are reached first.
fn sources(state: &ControlState, partition: &Partition, me: Incarnation) -> Vec<Incarnation> {
    let everyone = Sets::of(partition).everyone().into_iter();
    let mut others: Vec<Incarnation> = everyone.map(|member| member.incarnation).collect();
    others.retain(|other| *other != me);
    let is_away = |who: &Incarnation| {
        let member = state.members.get(who);
        member.is_none_or(|member| member.liveness != Liveness::Live)
    };
    others.sort_by_key(|other| (is_away(other), *other));
    others.dedup();
    others
}
