//! What of a batch is encoded for a peer: the parts that it is a member of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::rig::*;
use crate::cluster::control::{ControlState, Partition};
use crate::cluster::write::attempt::Attempt;
use crate::cluster::write::batch::{Memory, RoutedBatch};
use crate::cluster::write::frame::{Decoder, Encoder};
use crate::cluster::write::routes::{Labels, Route, Routes};
use crate::cluster::write::routing::{RoutingTable, place_of};
use crate::cluster::write::send::{Wanted, encode};
use crate::model::*;
use crate::runtime::SeededChance;
use crate::store::{AppendBatch, FloatSample, OtherSample, SeriesId};

const SERIES: u32 = 200;

fn family(series: u32) -> (TenantId, String, Metadata) {
    let name = format!("family_{series}");
    (TenantId::anonymous(), name, Metadata::default())
}

/// A batch with everything of each series, and an attempt at it in a ring of 16 partitions.
fn batch() -> (Routes, RoutedBatch, Arc<Attempt>) {
    let mut state = ControlState::default();
    for arc in RingArc::all(4) {
        let members = [1, 2].map(member).to_vec();
        let partition = Partition::new(Epoch(1), members);
        state.partitions.insert(arc, Arc::new(partition));
    }
    let table = Arc::new(RoutingTable::of(&state, incarnation(1)));
    let routes = Routes::new(1000, &SeededChance::new(1));
    let (mut floats, mut others, mut exemplars) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..SERIES {
        let (tenant, labels) = (TenantId::anonymous(), labels(number));
        let print = fingerprint(&tenant, &labels);
        let series = routes.register(&tenant, &labels, print, None).unwrap().id();
        // A sample's time says which series it is of.
        let at = TimestampMs(i64::from(number));
        floats.push(FloatSample {
            series,
            at,
            value: 1.0,
        });
        others.push(OtherSample {
            series,
            at,
            value: Value::Float(2.0),
            start: TimestampMs(-1),
        });
        let exemplar = Exemplar {
            labels: LabelSet::empty(),
            value: 3.0,
            timestamp: at,
        };
        exemplars.push((series, exemplar));
    }
    let metadata: Vec<_> = (0..SERIES).map(family).collect();
    let batch = AppendBatch {
        floats: &floats,
        others: &others,
        exemplars: &exemplars,
        metadata: &metadata,
    };
    let memory = Arc::new(Memory::new(1 << 30));
    let (mut routed, _, stale) = RoutedBatch::of(&batch, &routes, &memory).unwrap();
    assert!(stale.stale_floats.is_empty());
    let attempt = Attempt::new(table, &mut routed).unwrap();
    (routes, routed, Arc::new(attempt))
}

/// Would catch a part that goes to who is no member of it, which costs and is thrown away there, and
/// one that does not go: for peers of one part, of few, of most and of all.
#[test]
fn a_peer_is_sent_what_is_in_its_parts() {
    let (routes, batch, attempt) = batch();
    let parts = attempt.ring_positions().len();
    assert!(parts > 8, "{parts}");
    let part_of = |labels: &LabelSet| {
        let print = fingerprint(&TenantId::anonymous(), labels);
        attempt.part_of(place_of(print)).unwrap()
    };
    for count in [1, 3, parts / 2, parts] {
        let is_wanted = |part: usize| part.is_multiple_of(parts / count);
        let wanted = Wanted::new(&attempt, (0..parts).filter(|part| is_wanted(*part)));
        let mut encoder = Encoder::default();
        encoder.begin(1);
        let of_route = |route: Route| match routes.labels_of(route)? {
            Labels::Kept(tenant, labels) => Some((tenant, labels)),
            Labels::Local(_) => None,
        };
        let sent = encode(&mut encoder, &batch, &attempt, &wanted, &of_route);
        assert!(sent.undefined.is_empty());
        let mut ids: BTreeMap<SeriesId, LabelSet> = BTreeMap::new();
        let register = |_: &TenantId, labels: &LabelSet| {
            let id = SeriesId::of_double(u32::try_from(ids.len()).unwrap());
            ids.insert(id, labels.clone());
            id
        };
        let decoded = Decoder::default().decode(&encoder.finish(), register);
        let decoded = decoded.unwrap();
        let series = (0..SERIES).filter(|one| is_wanted(part_of(&labels(*one))));
        let series: Vec<i64> = series.map(i64::from).collect();
        assert!(!series.is_empty());
        let floats: Vec<i64> = decoded.floats.iter().map(|one| one.at.0).collect();
        let in_any_order: BTreeSet<i64> = floats.iter().copied().collect();
        assert_eq!(floats.len(), in_any_order.len());
        assert_eq!(Vec::from_iter(in_any_order), series, "{count} parts");
        let others = decoded.others.iter().map(|one| one.what.at.0);
        assert_eq!(others.collect::<Vec<_>>(), series, "{count} parts");
        let exemplars = decoded.exemplars.iter();
        let exemplars = exemplars.map(|one| one.what.1.timestamp.0);
        assert_eq!(exemplars.collect::<Vec<_>>(), series, "{count} parts");
        let families = (0..SERIES).map(|one| family(one).1).filter(|family| {
            let labels = LabelSet::from_pairs(&[("__name__", family.as_str())]).unwrap();
            is_wanted(part_of(&labels))
        });
        let told = decoded.metadata.iter().map(|one| one.what.1.clone());
        assert_eq!(told.collect::<Vec<_>>(), Vec::from_iter(families));
        let items = series.len() * 3 + decoded.metadata.len();
        assert_eq!(sent.items, items as u64);
    }
}
