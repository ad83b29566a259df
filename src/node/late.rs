//! What is wired before it is there: HTTP answers from the first moment, while the store still
//! replays its log, and says so.

use std::sync::{Arc, OnceLock};

use crate::cluster::{Durable, Replica};
use crate::model::{LabelSet, TenantId};
use crate::source::{
    FamilyMetadata, ReadContext, Selection, SeriesExemplars, SeriesStream, Source, SourceError,
};
use crate::store::{AppendBatch, Appended, Error, SeriesId};

/// What is said to those who come too early.
pub(super) const REPLAYING: &str = "the node is starting: it replays its log; try again in a moment";

/// Something that comes later. Clones are one.
#[derive(Debug)]
pub(super) struct Late<T>(Arc<OnceLock<T>>);

impl<T> Clone for Late<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Late<T> {
    pub(super) fn new() -> Self {
        Self(Arc::new(OnceLock::new()))
    }

    /// It is there now; a second one is dropped.
    pub(super) fn arrive(&self, thing: T) {
        let _ = self.0.set(thing);
    }

    pub(super) fn get(&self) -> Option<&T> {
        self.0.get()
    }
}

impl<T: Source> Late<T> {
    fn source(&self) -> Result<&T, SourceError> {
        self.get().ok_or_else(|| SourceError::Unavailable(REPLAYING.to_owned()))
    }
}

impl<T: Source> Source for Late<T> {
    fn select(
        &self,
        selection: &Selection,
        context: &ReadContext,
    ) -> Result<Box<dyn SeriesStream>, SourceError> {
        self.source()?.select(selection, context)
    }

    fn series(
        &self,
        selection: &Selection,
        limit: usize,
        context: &ReadContext,
    ) -> Result<Vec<LabelSet>, SourceError> {
        self.source()?.series(selection, limit, context)
    }

    fn label_names(
        &self,
        selection: &Selection,
        limit: usize,
        context: &ReadContext,
    ) -> Result<Vec<String>, SourceError> {
        self.source()?.label_names(selection, limit, context)
    }

    fn label_values(
        &self,
        name: &str,
        selection: &Selection,
        limit: usize,
        context: &ReadContext,
    ) -> Result<Vec<String>, SourceError> {
        self.source()?.label_values(name, selection, limit, context)
    }

    fn metadata(
        &self,
        tenant: &TenantId,
        family: Option<&str>,
        context: &ReadContext,
    ) -> Result<Vec<FamilyMetadata>, SourceError> {
        self.source()?.metadata(tenant, family, context)
    }

    fn exemplars(
        &self,
        selection: &Selection,
        context: &ReadContext,
    ) -> Result<Vec<SeriesExemplars>, SourceError> {
        self.source()?.exemplars(selection, context)
    }
}

/// The gate is closed until the store is there, so that no write comes this far before.
impl<T: Replica> Replica for Late<T> {
    fn register(&self, tenant: &TenantId, labels: &LabelSet) -> Result<SeriesId, Error> {
        self.get().ok_or_else(early)?.register(tenant, labels)
    }

    fn append(&self, batch: &AppendBatch<'_>) -> Result<Appended, Error> {
        self.get().ok_or_else(early)?.append(batch)
    }

    fn durable(&self, position: u64) -> Durable<'_> {
        match self.get() {
            Some(replica) => replica.durable(position),
            None => Box::pin(async { Err(early()) }),
        }
    }
}

fn early() -> Error {
    Error::Unavailable(REPLAYING.to_owned())
}
