//! Fingerprints and content hashes: would catch any change of the bytes that are hashed. Versions
//! must agree on both for ever: fingerprints place series, content hashes compare replicas.
//!
//! `golden/hashes.txt` has one line per case: its name and its hash in hex. The same lines stand in
//! `docs/format.md`. A line is never changed.

use std::sync::Arc;

use cairn::model::{
    Buckets, Fingerprint, Histogram, LabelSet, Metadata, MetricKind, ResetHint, SCHEMA_CUSTOM,
    Span, TenantId, TimestampMs, Value, fingerprint, stale_nan,
};
use cairn::store::{ContentHasher, ContentSum};

const GOLDEN: &str = include_str!("golden/hashes.txt");

const CLUSTER: u128 = 0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f;

const SERIES: Fingerprint = Fingerprint(0xdead_beef_0000_0000_0000_0000_0000_002a);

fn integer_histogram() -> Histogram {
    Histogram {
        schema: 2,
        zero_threshold: 0.001,
        sum: 12.5,
        buckets: Buckets::Integer {
            count: 5,
            zero_count: 1,
            positive: vec![1, 1, -1],
            negative: vec![],
        },
        positive_spans: vec![Span {
            offset: -1,
            length: 3,
        }],
        negative_spans: vec![],
        custom_values: vec![],
        reset_hint: ResetHint::No,
    }
}

fn custom_float_histogram() -> Histogram {
    Histogram {
        schema: SCHEMA_CUSTOM,
        zero_threshold: 0.0,
        sum: -1.0,
        buckets: Buckets::Float {
            count: 3.5,
            zero_count: 0.0,
            positive: vec![1.5, 2.0],
            negative: vec![],
        },
        positive_spans: vec![Span {
            offset: 0,
            length: 2,
        }],
        negative_spans: vec![],
        custom_values: vec![0.5, 10.0],
        reset_hint: ResetHint::Gauge,
    }
}

fn fingerprints() -> Vec<(String, String)> {
    // A name, the tenant, the labels.
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);
    let cases: [Case<'_>; 6] = [
        ("fingerprint of nothing", "anonymous", &[]),
        ("fingerprint of up", "anonymous", &[("__name__", "up")]),
        (
            "fingerprint of up of a target",
            "anonymous",
            &[
                ("__name__", "up"),
                ("instance", "localhost:9090"),
                ("job", "node"),
            ],
        ),
        (
            "fingerprint of it for another tenant",
            "team-a",
            &[
                ("__name__", "up"),
                ("instance", "localhost:9090"),
                ("job", "node"),
            ],
        ),
        (
            "fingerprint without instance",
            "anonymous",
            &[("__name__", "http_requests_total"), ("job", "api")],
        ),
        (
            "fingerprint of UTF-8",
            "anonymous",
            &[
                ("__name__", "température"),
                ("instance", "日本"),
                ("job", "wetter"),
            ],
        ),
    ];
    cases
        .into_iter()
        .map(|(name, tenant, pairs)| {
            let labels = LabelSet::from_pairs(pairs).unwrap();
            let found = fingerprint(&TenantId::new(tenant).unwrap(), &labels);
            (name.to_owned(), found.to_string())
        })
        .collect()
}

fn content_hashes() -> Vec<(String, String)> {
    let hasher = ContentHasher::new(CLUSTER);
    let integer = Value::Histogram(Arc::new(integer_histogram()));
    let custom = Value::Histogram(Arc::new(custom_float_histogram()));
    let cases = [
        ("hash of 0 at 0", 0, Value::Float(0.0), 0),
        ("hash of 1.5", 1_700_000_000_000, Value::Float(1.5), 0),
        (
            "hash of the stale marker at -1",
            -1,
            Value::Float(stale_nan()),
            0,
        ),
        (
            "hash of 1.5 with a start",
            1_700_000_000_000,
            Value::Float(1.5),
            1_699_999_000_000,
        ),
        ("hash of an integer histogram", 60_000, integer.clone(), 0),
        ("hash of it with a start", 60_000, integer, 7),
        ("hash of a float histogram", 60_000, custom, 0),
    ];
    let metadata = Metadata {
        kind: MetricKind::Counter,
        help: "Requests, since the start.".to_owned(),
        unit: "requests".to_owned(),
    };
    let tenant = TenantId::new("team-a").unwrap();
    let metadata = hasher.metadata(&tenant, "http_requests", &metadata);
    let mut sum = ContentSum::default();
    let mut lines: Vec<(String, String)> = cases
        .into_iter()
        .map(|(name, at, value, start)| {
            let hash = hasher.sample(SERIES, TimestampMs(at), &value, TimestampMs(start));
            sum.add(hash);
            (name.to_owned(), format!("{hash:032x}"))
        })
        .collect();
    lines.push(("sum of the seven".to_owned(), format!("{:032x}", sum.0)));
    lines.push(("hash of metadata".to_owned(), format!("{metadata:032x}")));
    lines
}

#[test]
fn fingerprints_and_content_hashes_are_what_they_always_were() {
    let mut missing = Vec::new();
    for (name, hash) in fingerprints().into_iter().chain(content_hashes()) {
        let line = GOLDEN
            .lines()
            .find_map(|line| line.strip_suffix(&name)?.strip_suffix("  "));
        match line {
            Some(golden) => assert_eq!(hash, golden, "{name}: the hash has changed"),
            None => missing.push(format!("{hash}  {name}")),
        }
    }
    assert!(
        missing.is_empty(),
        "add to golden/hashes.txt:\n{}",
        missing.join("\n")
    );
}

/// Someone who writes another reader works from the document.
#[test]
fn the_document_has_these_vectors() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/format.md");
    let page = std::fs::read_to_string(page).unwrap();
    for line in GOLDEN.lines() {
        assert!(page.contains(line), "docs/format.md lacks {line:?}");
    }
}
