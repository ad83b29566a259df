//! A write of remote-write from its compressed body to the batch that the store gets: decompression,
//! walk, hash and lookup, with a store that takes everything and does nothing. Series look like
//! those of a node_exporter with the labels of a cluster (some 350 bytes each); each iteration is
//! one request of 5,000 samples. `cargo bench --bench ingest`; divide by 5,000.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "a bench: it says what it measures, and a panic is how it fails"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bytes::Bytes;
use cairn::cluster::{AppendBatch, Appended, Durable, Gate, Refusing, Replica, SeriesId, Writer};
use cairn::ingest::{IngestSettings, Receiver, RequestHead};
use cairn::model::{LabelSet, TenantId};
use cairn::runtime::{Rush, SystemChance, SystemClock};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use prometheus_client::registry::Registry;

const SAMPLES: u64 = 5_000;
const REQUESTS: u64 = 4;
const NOW: u64 = 1_700_000_000_000;

/// Takes everything and keeps nothing.
#[derive(Default)]
struct Sink {
    series: AtomicU32,
    samples: AtomicU64,
}

impl Replica for Sink {
    fn register(&self, _: &TenantId, _: &LabelSet) -> Result<SeriesId, cairn::store::Error> {
        Ok(SeriesId::of_double(
            self.series.fetch_add(1, Ordering::Relaxed),
        ))
    }

    fn append(&self, batch: &AppendBatch<'_>) -> Result<Appended, cairn::store::Error> {
        let count = black_box(batch).floats.len() as u64;
        self.samples.fetch_add(count, Ordering::Relaxed);
        Ok(Appended::default())
    }

    fn durable(&self, _: u64) -> Durable<'_> {
        Box::pin(async { Ok(()) })
    }
}

fn labels(series: u64) -> Vec<(String, String)> {
    let (instance, of) = (series / 1000, series % 1000);
    let text = str::to_owned;
    let mut labels = vec![
        (
            text("__name__"),
            format!("node_family_{}_seconds_total", of / 24),
        ),
        (text("cluster"), text("homelab-arm64-01")),
        (text("cpu"), (of % 8).to_string()),
        (
            text("datacenter"),
            format!("basement-rack-{}", instance % 4),
        ),
        (text("environment"), text("production")),
        (
            text("instance"),
            format!("node-{instance:05}.lan.example:9100"),
        ),
        (text("job"), text("node")),
        (text("mode"), format!("mode{}", of / 8 % 3)),
        (text("namespace"), text("monitoring")),
        (text("nodename"), format!("node-{instance:05}")),
        (text("pod"), format!("node-exporter-{instance:05x}")),
        (text("service"), text("node-exporter-headless")),
    ];
    labels.sort();
    labels
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn sample(at: u64, value: f64) -> Vec<u8> {
    let mut out = vec![0x09];
    out.extend_from_slice(&value.to_le_bytes());
    out.push(0x10);
    put_varint(&mut out, at);
    out
}

fn value(series: u64, round: u64) -> f64 {
    let bits = (series * 31 + round).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44;
    bits as f64 / 100.0
}

fn v1(request: u64, round: u64) -> Bytes {
    let mut out = Vec::new();
    for series in request * SAMPLES..(request + 1) * SAMPLES {
        let mut message = Vec::new();
        for (name, value) in labels(series) {
            let mut label = Vec::new();
            put_bytes(&mut label, 0x0a, name.as_bytes());
            put_bytes(&mut label, 0x12, value.as_bytes());
            put_bytes(&mut message, 0x0a, &label);
        }
        put_bytes(
            &mut message,
            0x12,
            &sample(NOW + round * 15_000, value(series, round)),
        );
        put_bytes(&mut out, 0x0a, &message);
    }
    snap::raw::Encoder::new().compress_vec(&out).unwrap().into()
}

fn v2(request: u64, round: u64) -> Bytes {
    let mut symbols: Vec<String> = vec![String::new()];
    let mut known = std::collections::HashMap::new();
    let mut series_out = Vec::new();
    for series in request * SAMPLES..(request + 1) * SAMPLES {
        let mut refs = Vec::new();
        for text in labels(series).into_iter().flat_map(|(n, v)| [n, v]) {
            let reference = *known.entry(text.clone()).or_insert_with(|| {
                symbols.push(text);
                symbols.len() - 1
            });
            put_varint(&mut refs, reference as u64);
        }
        let mut message = Vec::new();
        put_bytes(&mut message, 0x0a, &refs);
        put_bytes(
            &mut message,
            0x12,
            &sample(NOW + round * 15_000, value(series, round)),
        );
        put_bytes(&mut series_out, 0x2a, &message);
    }
    let mut out = Vec::new();
    for symbol in &symbols {
        put_bytes(&mut out, 0x22, symbol.as_bytes());
    }
    out.extend(series_out);
    snap::raw::Encoder::new().compress_vec(&out).unwrap().into()
}

fn receiver() -> Receiver {
    let gate = Arc::new(Gate::closed("starting"));
    gate.refuse(Refusing::NotReady, None);
    Receiver::new(
        Writer::new(Arc::new(Sink::default()), gate),
        IngestSettings::default(),
        Arc::new(SystemClock::new()),
        Arc::new(SystemChance),
        Rush::new(2),
        &mut Registry::default(),
    )
}

fn ingest(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut group = c.benchmark_group("ingest");
    group.throughput(Throughput::Elements(SAMPLES));
    let v2_type = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    for (name, content_type, make) in [
        (
            "v1_known_series",
            "application/x-protobuf",
            v1 as fn(u64, u64) -> Bytes,
        ),
        ("v2_known_series", v2_type, v2),
    ] {
        let receiver = receiver();
        let head = RequestHead {
            content_type: Some(content_type.to_owned()),
            content_encoding: Some("snappy".to_owned()),
        };
        let bodies: Vec<Bytes> = (0..REQUESTS).map(|request| make(request, 1)).collect();
        println!(
            "{name}: {} bytes a sample compressed",
            bodies[0].len() as u64 / SAMPLES
        );
        let send = |body: Bytes| {
            let answer = receiver.receive(TenantId::anonymous(), head.clone(), body);
            assert_eq!(runtime.block_on(answer).status, 204);
        };
        bodies.iter().cloned().for_each(send);
        let mut next = bodies.iter().cycle();
        group.bench_function(name, |b| {
            b.iter_batched(|| next.next().unwrap().clone(), send, BatchSize::SmallInput);
        });
    }
    let head = RequestHead::default();
    let body = v1(0, 1);
    group.bench_function("v1_new_series", |b| {
        b.iter_batched(
            receiver,
            |receiver| {
                let answer = receiver.receive(TenantId::anonymous(), head.clone(), body.clone());
                assert_eq!(runtime.block_on(answer).status, 204);
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, ingest);
criterion_main!(benches);
