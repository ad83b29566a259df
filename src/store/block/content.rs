//! What a block is made from.

use crate::model::{Fingerprint, LabelSet, Samples, TenantId};
use crate::source::FamilyMetadata;
use crate::store::error::Error;

/// A series that is to go into a block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ContentSeries {
    /// Whose.
    pub tenant: TenantId,
    /// Its identity.
    pub labels: LabelSet,
    /// The fingerprint of both.
    pub fingerprint: Fingerprint,
}

/// Series with their samples, as a cut of the head, a union of several, or other blocks have them.
/// Each series is there once; the order does not matter.
pub trait BlockContent {
    /// How many series there are.
    fn series_len(&self) -> usize;

    /// The series of that index, below [`BlockContent::series_len`].
    ///
    /// # Errors
    /// When it cannot be had.
    fn series(&self, index: usize) -> Result<ContentSeries, Error>;

    /// Clears `samples` and fills in those of a series. The writer asks once for each series, in
    /// an order of its own; the order in which it asks is neighbours first, so that a source which
    /// decodes pages can keep the last one.
    ///
    /// # Errors
    /// When they cannot be had.
    fn read(&mut self, index: usize, samples: &mut Samples) -> Result<(), Error>;

    /// Metadata of all families of all tenants, in any order, each (tenant, family) once.
    ///
    /// # Errors
    /// When it cannot be had.
    fn metadata(&self) -> Result<Vec<(TenantId, FamilyMetadata)>, Error>;
}
