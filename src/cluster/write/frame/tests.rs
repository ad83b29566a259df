//! Tests of the columns: whatever goes in comes out, over any number of requests and reconnects,
//! and whatever else comes in ends in an error.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::message::Columns;
use super::*;
use crate::cluster::write::gate::Refusing;
use crate::cluster::write::majority::Said;
use crate::cluster::write::routes::Route;
use crate::model::*;
use crate::store::SeriesId;

fn route(slot: u32) -> Route {
    Route {
        slot,
        generation: slot % 3,
    }
}

fn labels(slot: u32) -> (TenantId, LabelSet) {
    let tenant = if slot.is_multiple_of(5) { "b" } else { "a" };
    let pairs = [
        ("__name__", format!("metric_{}", slot % 7)),
        ("job", "j".to_owned()),
        ("n", slot.to_string()),
    ];
    (
        TenantId::new(tenant).unwrap(),
        LabelSet::from_pairs(&pairs).unwrap(),
    )
}

/// Something to send of a series: when, and what.
#[derive(Clone, Debug)]
enum Item {
    Float(u32, i64, u64),
    Histogram(u32, i64, u64, i64),
    Exemplar(u32, i64),
    Metadata(u32),
}

fn items() -> impl Strategy<Value = Vec<Item>> {
    let at = prop_oneof![Just(1_700_000_000_000i64), any::<i64>(), 0i64..9];
    let bits = prop_oneof![
        any::<u64>(),
        (0u32..50).prop_map(|n| f64::from(n).to_bits()),
        (0u32..5000).prop_map(|n| (f64::from(n) / 100.0).to_bits()),
    ];
    let one = prop_oneof![
        12 => (0u32..40, at.clone(), bits).prop_map(|(s, at, bits)| Item::Float(s, at, bits)),
        2 => (0u32..40, at.clone(), 0u64..9, -2i64..2)
            .prop_map(|(s, at, count, start)| Item::Histogram(s, at, count, start)),
        1 => (0u32..40, at).prop_map(|(s, at)| Item::Exemplar(s, at)),
        1 => (0u32..5).prop_map(Item::Metadata),
    ];
    prop::collection::vec(one, 0..60)
}

fn histogram(count: u64) -> Value {
    Value::Histogram(std::sync::Arc::new(Histogram::counting(
        u32::try_from(count).unwrap(),
    )))
}

fn exemplar(at: i64) -> Exemplar {
    Exemplar {
        labels: LabelSet::from_pairs(&[("trace_id", "x")]).unwrap(),
        value: 1.5,
        timestamp: TimestampMs(at),
    }
}

/// What a request says, as text, kind by kind.
fn sent(items: &[Item]) -> Vec<String> {
    let of = |slot: &u32| labels(*slot).1.to_string();
    let mut all = [const { Vec::new() }; 4];
    for item in items {
        match item {
            Item::Float(slot, at, bits) => {
                all[0].push(format!("{} {at} {bits:x}", of(slot)));
            }
            Item::Histogram(slot, at, count, start) => {
                let value = histogram(*count);
                all[1].push(format!("{} {at} {value:?} {start}", of(slot)));
            }
            Item::Exemplar(slot, at) => {
                all[2].push(format!("{} {:?}", of(slot), exemplar(*at)));
            }
            Item::Metadata(number) => all[3].push(format!("family_{number}")),
        }
    }
    all.into_iter().flatten().collect()
}

fn encode(encoder: &mut Encoder, minute: u64, items: &[Item]) -> Columns {
    encoder.begin(minute);
    put(encoder, items);
    encoder.finish()
}

/// Adds a batch to the request at hand.
fn put(encoder: &mut Encoder, items: &[Item]) {
    let of = |route: Route| Some(labels(route.slot));
    for item in items {
        if let Item::Float(slot, at, bits) = item {
            let value = f64::from_bits(*bits);
            assert!(encoder.float(route(*slot), TimestampMs(*at), value, &of));
        }
    }
    for item in items {
        if let Item::Histogram(slot, at, count, start) = item {
            let value = (&histogram(*count), TimestampMs(*start));
            assert!(encoder.other(route(*slot), TimestampMs(*at), value, &of));
        }
    }
    for item in items {
        match item {
            Item::Exemplar(slot, at) => {
                assert!(encoder.exemplar(route(*slot), &exemplar(*at), &of));
            }
            Item::Metadata(number) => {
                let family = format!("family_{number}");
                let metadata = Metadata::default();
                assert!(encoder.metadata(&TenantId::anonymous(), &family, &metadata));
            }
            _ => {}
        }
    }
}

/// A replica's registry.
#[derive(Default)]
struct Registry {
    known: BTreeMap<SeriesId, LabelSet>,
}

impl Registry {
    fn register(&mut self, labels: &LabelSet) -> SeriesId {
        let id = SeriesId::of_double(u32::try_from(self.known.len()).unwrap());
        self.known.insert(id, labels.clone());
        id
    }

    fn received(&self, decoded: &Decoded) -> Vec<String> {
        let of = |id: &SeriesId| self.known[id].to_string();
        let mut all = Vec::new();
        for sample in &decoded.floats {
            let bits = sample.value.to_bits();
            all.push(format!("{} {} {bits:x}", of(&sample.series), sample.at.0));
        }
        for other in &decoded.others {
            let sample = &other.what;
            all.push(format!(
                "{} {} {:?} {}",
                of(&sample.series),
                sample.at.0,
                sample.value,
                sample.start.0
            ));
        }
        for exemplar in &decoded.exemplars {
            all.push(format!("{} {:?}", of(&exemplar.what.0), exemplar.what.1));
        }
        all.extend(decoded.metadata.iter().map(|m| m.what.1.clone()));
        all
    }
}

fn through_bytes(number: u64, columns: Columns) -> Columns {
    let partitions = vec![Named {
        arc: RingArc::new(0x3000_0000, 4).unwrap(),
        epoch: Epoch(7),
    }];
    let request = Request {
        number,
        purpose: Purpose::CLIENT,
        partitions,
        columns,
    };
    let mut assembly = Assembly::default();
    let mut whole = None;
    for piece in pieces(request.clone()) {
        assert!(whole.is_none());
        whole = assembly.take(piece).unwrap();
    }
    let got = decode_request(whole.unwrap()).unwrap();
    assert_eq!(got, request);
    got.columns
}

#[test]
fn a_series_of_a_stream_costs_what_is_said() {
    assert_eq!(super::encoder::ENTRY_BYTES, 24);
    assert_eq!(super::decoder::ENTRY_BYTES, 32);
}

proptest! {
    /// Would catch ends of a stream that disagree: in ids, in what followed what, in last values,
    /// in what is forgotten, between requests or between the batches of one.
    #[test]
    fn whatever_goes_in_comes_out(
        requests in prop::collection::vec((items(), 0u64..40, 0u8..12), 1..12),
    ) {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let (mut registry, mut minute) = (Registry::default(), 0);
        for (mut items, minutes, event) in requests {
            minute += minutes;
            match event {
                // The connection breaks.
                0 => (encoder, decoder) = (Encoder::default(), Decoder::default()),
                // The replica has forgotten some series.
                1 => encoder.undefined(&[0, 3, 5, 1000]),
                _ => {}
            }
            encoder.begin(minute);
            put(&mut encoder, &items);
            if event % 3 == 1 {
                // An answer to the request before comes, and then another batch.
                encoder.undefined(&[0, 1, 2, 4, 1000]);
                let more = items.iter().rev().cloned().collect::<Vec<_>>();
                put(&mut encoder, &more);
                items.extend(more);
            }
            let columns = through_bytes(minute, encoder.finish());
            let decoded = decoder
                .decode(&columns, |_, labels| registry.register(labels))
                .unwrap();
            prop_assert_eq!(registry.received(&decoded), sent(&items));
            prop_assert_eq!(decoded.float_places.len(), decoded.floats.len());
            for (id, place) in decoded.floats.iter().zip(&decoded.float_places) {
                let set = &registry.known[&id.series];
                let tenants = ["a", "b"].map(|t| TenantId::new(t).unwrap());
                let places = tenants.map(|t| {
                    u32::try_from(fingerprint(&t, set).0 >> 96).unwrap()
                });
                prop_assert!(places.contains(place));
            }
            prop_assert_eq!(decoded.float_ids.len(), decoded.floats.len());
            // The lists of most requests are filled again by the next.
            if event % 4 != 2 {
                decoder.reuse(decoded);
            }
        }
    }

    #[test]
    fn bad_bytes_end_in_errors(
        items in items(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        garbage: Vec<u8>,
    ) {
        let mut encoder = Encoder::default();
        let columns = encode(&mut encoder, 1, &items);
        let request = Request {
            number: 1,
            purpose: Purpose::HINT,
            partitions: Vec::new(),
            columns,
        };
        let mut bytes = pieces(request).remove(0).to_vec();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for bytes in [bytes, garbage] {
            fuzz(&bytes);
        }
    }
}

#[test]
fn what_is_not_used_for_half_an_hour_is_forgotten_at_both_ends() {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let mut registered = 0;
    let mut round = |encoder: &mut Encoder, minute, slots: &[u32]| {
        let items: Vec<Item> = slots.iter().map(|s| Item::Float(*s, 1, 1)).collect();
        let columns = encode(encoder, minute, &items);
        let mut register = |_: &TenantId, _: &LabelSet| {
            registered += 1;
            SeriesId::of_double(registered)
        };
        let decoded = decoder.decode(&columns, &mut register).unwrap();
        (decoded.float_ids, registered)
    };
    assert_eq!(round(&mut encoder, 5, &[1, 2, 3]), (vec![0, 1, 2], 3));
    assert_eq!(round(&mut encoder, 20, &[2]), (vec![1], 3));
    assert_eq!(round(&mut encoder, 40, &[2]), (vec![1], 3));
    assert_eq!(encoder.size().0, 1);
    let (ids, registered) = round(&mut encoder, 41, &[1, 2, 9]);
    assert_eq!((ids.len(), ids[1], registered), (3, 1, 5));
    // Another series in the same slot of the coordinator's registry.
    let of = |_: Route| Some(labels(77));
    encoder.begin(41);
    let again = Route {
        slot: 2,
        generation: 9,
    };
    assert!(encoder.float(again, TimestampMs(1), 1.0, &of));
    assert!(!encoder.finish().definitions.is_empty());
    assert!(!encoder.float(route(99), TimestampMs(1), 1.0, &|_| None));
}

#[test]
fn answers_come_back_and_long_requests_come_in_pieces() {
    let answer = Answer {
        number: 9,
        outcomes: vec![
            Said::Appended,
            Said::WrongEpoch(Epoch(4)),
            Said::Behind,
            Said::Refused(Refusing::Disk),
            Said::Refused(Refusing::Clock),
            Said::Refused(Refusing::Memory),
            Said::Refused(Refusing::NotReady),
            Said::Undefined,
        ],
        undefined: vec![1, 7],
    };
    assert_eq!(decode_answer(encode_answer(&answer)).unwrap(), answer);
    let columns = Columns {
        definitions: vec![7; 3 << 20].into(),
        ..Columns::default()
    };
    assert_eq!(through_bytes(1, columns.clone()), columns);
    let request = Request {
        number: 1,
        purpose: Purpose::CLIENT,
        partitions: Vec::new(),
        columns,
    };
    let messages = pieces(request);
    assert_eq!(messages.len(), 4);
    assert!(
        messages
            .iter()
            .all(|message| message.len() <= (1 << 20) + 1)
    );
    let mut assembly = Assembly::default();
    assert!(assembly.take(bytes::Bytes::new()).is_err());
    assert!(assembly.take(vec![2, 1].into()).is_err());
    let mut full = Assembly::default();
    let more = || bytes::Bytes::from([&[1u8][..], &[0; 1 << 20]].concat());
    let refused = (0..70).find(|_| full.take(more()).is_err());
    assert_eq!(refused, Some(64));
}

/// Reads bytes as a stream of some messages, and as answers.
fn fuzz(bytes: &[u8]) {
    let (mut assembly, mut decoder) = (Assembly::default(), Decoder::default());
    let (one, other) = bytes.split_at(bytes.len() / 2);
    for message in [bytes, one, other] {
        let message = bytes::Bytes::copy_from_slice(message);
        let _ = decode_answer(message.clone());
        let Ok(Some(request)) = assembly.take(message) else {
            continue;
        };
        if let Ok(request) = decode_request(request) {
            let nobody = crate::store::SeriesId::foreign(0, 0);
            let _ = decoder.decode(&request.columns, |_, _| nobody);
        }
    }
}
