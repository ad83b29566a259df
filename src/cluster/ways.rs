//! What a member among others is put together from: its ways to them, and the parts below it.

use std::sync::Arc;

use super::blocks::{Archive, PackUse};
use super::control::{Session, Timings};
use super::life::Life;
use super::manifests::Manifests;
use super::opening::{MemberSettings, World};
use super::peer::{Identity, PeerTls, Services, Transport};
use super::verify::Orders;
use super::write::Gate;
use crate::model::Incarnation;
use crate::runtime::Register;
use crate::store::Store;

/// How a node reaches others, and what they reach of it.
pub(super) struct Ways {
    pub(super) session: Session,
    pub(super) life: Life,
    pub(super) identity: Identity,
    pub(super) tls: Option<PeerTls>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) services: Arc<Services>,
    pub(super) timings: Timings,
    /// The bucket, which is asked before a cluster is founded over it.
    pub(super) archive: Option<Archive>,
}

/// What the parts of a member among others are made from.
pub(super) struct BuildParts<'a> {
    pub(super) store: &'a Arc<Store>,
    pub(super) gate: &'a Arc<Gate>,
    pub(super) manifests: &'a Arc<Manifests>,
    pub(super) me: Incarnation,
    pub(super) settings: &'a MemberSettings,
    pub(super) world: &'a World,
    /// `None` where there is no bucket.
    pub(super) archive: Option<&'a Archive>,
    pub(super) register: &'a Register,
    /// What is ordered of verification.
    pub(super) verifications: &'a Arc<Orders>,
}

impl BuildParts<'_> {
    /// Whoever asks how much of a pack is needed; `None` where there is no bucket.
    pub(super) fn pack_use(&self) -> Option<Arc<PackUse>> {
        let archive = self.archive?;
        Some(Arc::new(PackUse::new(archive, self.manifests)))
    }
}
