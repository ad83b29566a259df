//! A batch into a stream's encoder: what of it goes to one peer.

use std::sync::Arc;

use super::attempt::Attempt;
use super::batch::{Positioned, RoutedBatch};
use super::frame::{Encoder, LabelsOf};
use super::routes::{Labels, Route, Routes};
use super::routing::Place;
use crate::cluster::write::replica::Replica;
use crate::model::{LabelSet, TenantId};

/// The labels of a route, from the local head or from what is kept.
pub(super) fn labels_of(
    routes: &Routes,
    replica: &dyn Replica,
    route: Route,
) -> Option<(TenantId, LabelSet)> {
    match routes.labels_of(route)? {
        Labels::Local(series) => replica.describe(series),
        Labels::Kept(tenant, labels) => Some((tenant, labels)),
    }
}

/// Which parts of an attempt go to a peer.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// By number of the part.
    parts: Vec<bool>,
    count: usize,
    is_all: bool,
}

/// Who wants this share of the parts or more has the samples looked through, in the order of the
/// request, which is also the order that costs a replica's head and log least.
const SCAN_SHARE: usize = 8;

impl Wanted {
    pub(super) fn new(attempt: &Attempt, numbers: impl Iterator<Item = usize>) -> Self {
        let mut parts = vec![false; attempt.ring_positions().len()];
        for number in numbers {
            if let Some(part) = parts.get_mut(number) {
                *part = true;
            }
        }
        let count = parts.iter().filter(|wanted| **wanted).count();
        Self {
            is_all: count == parts.len(),
            count,
            parts,
        }
    }

    /// Whether looking at all samples takes less than finding those of the wanted parts.
    const fn is_most(&self) -> bool {
        self.count * SCAN_SHARE >= self.parts.len()
    }

    #[inline]
    fn has_part(&self, number: u32) -> bool {
        self.parts.get(number as usize).copied().unwrap_or(false)
    }

    /// Their numbers.
    fn numbers(&self) -> impl Iterator<Item = usize> {
        let parts = self.parts.iter().enumerate();
        parts.filter_map(|(number, wanted)| wanted.then_some(number))
    }

    #[inline]
    fn has(&self, attempt: &Attempt, place: Place) -> bool {
        self.is_all
            || attempt
                .part_of(place)
                .and_then(|number| self.parts.get(number).copied())
                .unwrap_or(false)
    }
}

/// What was encoded.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Samples of any kind, and metadata.
    pub(super) items: u64,
    /// Parts of which something could not be defined.
    pub(super) undefined: Vec<usize>,
    /// Positions of floats whose series could not be defined.
    pub(super) stale_floats: Vec<u32>,
    pub(super) stale_others: Vec<u32>,
    pub(super) stale_exemplars: Vec<u32>,
}

/// Puts the wanted parts of a batch into a request that was begun.
pub(super) fn encode(
    encoder: &mut Encoder,
    batch: &RoutedBatch,
    attempt: &Arc<Attempt>,
    wanted: &Wanted,
    labels: LabelsOf<'_>,
) -> Sent {
    let mut sent = Sent::default();
    let goes =
        |route: Route, place: Place| !RoutedBatch::is_stale(route) && wanted.has(attempt, place);
    let mut lost: Vec<Place> = Vec::new();
    let mut float = |(at, float, sample): Positioned<'_>| {
        if RoutedBatch::is_stale(float.route) {
            return;
        }
        if encoder.float(float.route, sample.at, sample.value, labels) {
            sent.items += 1;
        } else {
            sent.stale_floats.push(at);
            lost.push(float.place);
        }
    };
    if wanted.is_all {
        batch.positioned().for_each(float);
    } else if wanted.is_most() {
        let floats = batch.positioned();
        let floats = floats.filter(|(_, float, _)| wanted.has_part(float.part));
        floats.for_each(&mut float);
    } else {
        batch.floats_of(wanted.numbers()).for_each(&mut float);
    }
    for (at, other) in (0u32..).zip(&batch.others) {
        if !goes(other.route, other.place) {
            continue;
        }
        let sample = (&other.what.value, other.what.start);
        if encoder.other(other.route, other.what.at, sample, labels) {
            sent.items += 1;
        } else {
            sent.stale_others.push(at);
            lost.push(other.place);
        }
    }
    for (at, exemplar) in (0u32..).zip(&batch.exemplars) {
        if !goes(exemplar.route, exemplar.place) {
            continue;
        }
        if encoder.exemplar(exemplar.route, &exemplar.what, labels) {
            sent.items += 1;
        } else {
            sent.stale_exemplars.push(at);
            lost.push(exemplar.place);
        }
    }
    for (place, (tenant, family, metadata)) in &batch.metadata {
        if wanted.has(attempt, *place) && encoder.metadata(tenant, family, metadata) {
            sent.items += 1;
        }
    }
    sent.undefined = lost.iter().filter_map(|p| attempt.part_of(*p)).collect();
    sent.undefined.sort_unstable();
    sent.undefined.dedup();
    sent
}
