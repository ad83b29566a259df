//! What takes samples and says when they are durable: this node's store, and in tests its double.

use std::pin::Pin;

use crate::model::{LabelSet, TenantId};
use crate::store::{AppendBatch, Appended, Error, SeriesId, Store};

/// The end of a wait for durability.
pub type Durable<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

/// One replica of all partitions.
pub trait Replica: Send + Sync + 'static {
    /// The id of a series, given to it when it comes first.
    ///
    /// # Errors
    /// When there are too many series.
    fn register(&self, tenant: &TenantId, labels: &LabelSet) -> Result<SeriesId, Error>;

    /// The same for a series that another node has taken already: whoever coordinates a write has
    /// checked the limits, and replicas must not disagree.
    ///
    /// # Errors
    /// When numbers run out.
    fn register_taken(&self, tenant: &TenantId, labels: &LabelSet) -> Result<SeriesId, Error> {
        self.register(tenant, labels)
    }

    /// The tenant and labels of a series, unless it has been forgotten.
    fn describe(&self, series: SeriesId) -> Option<(TenantId, LabelSet)> {
        let _ = series;
        None
    }

    /// Whether an append might wait before it is taken: so much is on its way to the disk.
    fn is_pressed(&self) -> bool {
        false
    }

    /// Puts a batch into head and log buffer in one step.
    ///
    /// # Errors
    /// When the log has failed or memory is at its bound; nothing of the batch is taken then.
    fn append(&self, batch: &AppendBatch<'_>) -> Result<Appended, Error>;

    /// Waits until everything up to a log position is durable.
    fn durable(&self, position: u64) -> Durable<'_>;
}

/// A store takes what is let through to it.
impl Replica for Store {
    fn register(&self, tenant: &TenantId, labels: &LabelSet) -> Result<SeriesId, Error> {
        self.register(tenant, labels)
    }

    fn register_taken(&self, tenant: &TenantId, labels: &LabelSet) -> Result<SeriesId, Error> {
        self.register_taken(tenant, labels)
    }

    fn describe(&self, series: SeriesId) -> Option<(TenantId, LabelSet)> {
        self.describe(series)
    }

    fn is_pressed(&self) -> bool {
        self.is_pressed()
    }

    fn append(&self, batch: &AppendBatch<'_>) -> Result<Appended, Error> {
        self.append(batch)
    }

    fn durable(&self, position: u64) -> Durable<'_> {
        Box::pin(self.durable(position))
    }
}
