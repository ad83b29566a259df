//! The whole cluster as a source of queries.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::assemble::Assembly;
use super::core::Core;
use super::counting::Counting;
use super::link::Link;
use super::messages::NamesKind;
use super::metrics::ReadMetrics;
use super::names::Gathering;
use super::peers::PeerBook;
use super::settings::ReadSettings;
use super::view::{Holder, Names, member_of};
use crate::cluster::control::{Control, ControlState};
use crate::cluster::peer::Transport;
use crate::cluster::quorum::Sets;
use crate::model::{Incarnation, LabelSet, TenantId, TimeRange};
use crate::runtime::Clock;
use crate::source::{
    Contents, FamilyMetadata, LabelPairs, Moments, ReadContext, Selection, SeriesExemplars,
    SeriesStream, Source, SourceError,
};
use crate::store::Store;

/// What a [`ClusterSource`] is made of.
pub struct ReadParts {
    /// The way to peers.
    pub transport: Arc<dyn Transport>,
    /// The runtime that drives it. Reads block their own threads, which must not be its workers.
    pub runtime: Handle,
    /// The ring.
    pub control: Arc<dyn Control>,
    /// What this node holds.
    pub store: Arc<Store>,
    /// This node.
    pub me: Incarnation,
    /// A number that no other start of this node has, such as the session's nonce.
    pub run: u64,
    /// For what is remembered of peers.
    pub clock: Arc<dyn Clock>,
    /// Bounds.
    pub settings: ReadSettings,
    /// Counters.
    pub metrics: ReadMetrics,
}

/// Series of all partitions, each as a majority of its members knows it.
///
/// A read never misses silently: a partition of which too few members answer is an error that
/// names it and them. A member that fails or is silent is left for another, also in the middle of
/// its data: the series that were handed out stay, each is whole, and the others come from elsewhere.
pub struct ClusterSource(Arc<Core>);

impl std::fmt::Debug for ClusterSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterSource")
    }
}

impl ClusterSource {
    /// The source of a node.
    #[must_use]
    pub fn new(parts: ReadParts) -> Self {
        Self(Arc::new(Core {
            link: Link {
                transport: parts.transport,
                runtime: parts.runtime,
            },
            holder: Holder {
                control: parts.control,
                store: parts.store,
                me: parts.me,
                run: parts.run,
            },
            clock: parts.clock,
            settings: parts.settings,
            metrics: parts.metrics,
            book: PeerBook::default(),
        }))
    }

    /// This node alone, when it is the only member of every partition: then everything is here,
    /// and there is nobody to ask.
    fn alone(&self) -> Option<&dyn Source> {
        let holder = &self.0.holder;
        let store: &dyn Source = holder.store.as_ref();
        is_alone(&holder.control.state(), holder.me).then_some(store)
    }

    fn gather(
        &self,
        kind: NamesKind,
        selection: &Selection,
        limit: usize,
        context: &ReadContext,
    ) -> Result<Names, SourceError> {
        Gathering::new(&self.0, kind, selection, limit, context)?.run()
    }
}

fn is_alone(ring: &ControlState, me: Incarnation) -> bool {
    let me = member_of(ring, me);
    let mut partitions = ring.partitions.values();
    !ring.partitions.is_empty()
        && partitions.all(|partition| {
            let everyone = Sets::of(partition).everyone();
            everyone.len() == 1 && everyone.contains(&me)
        })
}

fn other_kind() -> SourceError {
    SourceError::Unavailable(
        "the answers of peers are of another kind than was asked for: this is a bug".to_owned(),
    )
}

impl Source for ClusterSource {
    fn select(
        &self,
        selection: &Selection,
        context: &ReadContext,
    ) -> Result<Box<dyn SeriesStream>, SourceError> {
        match self.alone() {
            Some(alone) => alone.select(selection, context),
            None => Assembly::new(&self.0, selection, context).run(None),
        }
    }

    fn select_newest(
        &self,
        selection: &Selection,
        moments: Moments,
        context: &ReadContext,
    ) -> Result<Box<dyn SeriesStream>, SourceError> {
        match self.alone() {
            Some(alone) => alone.select_newest(selection, moments, context),
            None => Assembly::new(&self.0, selection, context)
                .newest(Some(moments))
                .run(None),
        }
    }

    fn select_apart(
        &self,
        selection: &Selection,
        moments: Option<Moments>,
        context: &ReadContext,
    ) -> Result<Vec<Box<dyn SeriesStream>>, SourceError> {
        if let Some(alone) = self.alone() {
            return alone.select_apart(selection, moments, context);
        }
        let assembly = Assembly::new(&self.0, selection, context).newest(moments);
        Ok(vec![assembly.run(None)?])
    }

    /// Known only to a node that is alone: what the others hold changes unseen.
    fn contents(&self, tenant: &TenantId, range: TimeRange) -> Option<Contents> {
        self.alone()?.contents(tenant, range)
    }

    fn series(
        &self,
        selection: &Selection,
        limit: usize,
        context: &ReadContext,
    ) -> Result<Vec<LabelSet>, SourceError> {
        if let Some(alone) = self.alone() {
            return alone.series(selection, limit, context);
        }
        match self.gather(NamesKind::Series, selection, limit, context)? {
            Names::Series(found) => Ok(found),
            _ => Err(other_kind()),
        }
    }

    fn label_names(
        &self,
        selection: &Selection,
        limit: usize,
        context: &ReadContext,
    ) -> Result<Vec<String>, SourceError> {
        if let Some(alone) = self.alone() {
            return alone.label_names(selection, limit, context);
        }
        match self.gather(NamesKind::LabelNames, selection, limit, context)? {
            Names::Texts(found) => Ok(found),
            _ => Err(other_kind()),
        }
    }

    fn label_values(
        &self,
        name: &str,
        selection: &Selection,
        limit: usize,
        context: &ReadContext,
    ) -> Result<Vec<String>, SourceError> {
        if let Some(alone) = self.alone() {
            return alone.label_values(name, selection, limit, context);
        }
        let kind = NamesKind::LabelValues(name.to_owned());
        match self.gather(kind, selection, limit, context)? {
            Names::Texts(found) => Ok(found),
            _ => Err(other_kind()),
        }
    }

    fn metadata(
        &self,
        tenant: &TenantId,
        family: Option<&str>,
        context: &ReadContext,
    ) -> Result<Vec<FamilyMetadata>, SourceError> {
        if let Some(alone) = self.alone() {
            return alone.metadata(tenant, family, context);
        }
        let selection = Selection {
            tenant: tenant.clone(),
            matchers: Vec::new(),
            range: TimeRange::ALL,
        };
        let kind = NamesKind::Metadata(family.map(str::to_owned));
        match self.gather(kind, &selection, 0, context)? {
            Names::Metadata(found) => Ok(found),
            _ => Err(other_kind()),
        }
    }

    fn label_pairs(
        &self,
        tenant: &TenantId,
        context: &ReadContext,
    ) -> Result<LabelPairs, SourceError> {
        match self.alone() {
            Some(alone) => alone.label_pairs(tenant, context),
            None => Counting::new(&self.0, tenant, context)?.run(),
        }
    }

    fn exemplars(
        &self,
        selection: &Selection,
        context: &ReadContext,
    ) -> Result<Vec<SeriesExemplars>, SourceError> {
        if let Some(alone) = self.alone() {
            return alone.exemplars(selection, context);
        }
        match self.gather(NamesKind::Exemplars, selection, 0, context)? {
            Names::Exemplars(found) => Ok(found),
            _ => Err(other_kind()),
        }
    }
}
