//! What a selection has found: series, and where each of them lies.

use std::sync::Arc;

use super::block::{Ordinal, TenantReader};
use super::head::HeadSeries;
use super::tier::Reading;
use super::view::{ReadView, Seen};
use crate::model::LabelSet;
use crate::runtime::Reservation;

/// A series that matches, and where its samples lie.
pub(super) struct Wanted {
    pub(super) labels: LabelSet,
    pub(super) head: Option<HeadSeries>,
    pub(super) places: Vec<(u32, Ordinal)>,
}

/// One block of a selection.
pub(super) struct Part {
    pub(super) seen: Seen,
    pub(super) reader: Option<TenantReader>,
    /// Samples of a series of it, on average.
    pub(super) density: u64,
}

/// What a selection has found.
pub(super) struct Found {
    pub(super) view: ReadView,
    pub(super) parts: Vec<Part>,
    pub(super) wanted: Vec<Wanted>,
    pub(super) reservation: Reservation,
    /// What was fetched for it.
    pub(super) reading: Arc<Reading>,
}
