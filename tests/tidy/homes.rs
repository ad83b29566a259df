//! A third-party crate that shapes the code around it has one home, so that replacing it touches
//! one place.

use super::report;
use super::sources::below;

/// Crate, and the paths below which it may be named. An empty list: only tests may.
const HOMES: &[(&str, &[&str])] = &[
    ("rocksdb", &["src/store/engine/rocks.rs"]),
    ("promql_parser", &[]),
    ("axum", &["src/http/"]),
    (
        "hyper",
        &[
            "src/http/",
            "src/cli/",
            "src/cluster/discovery/consul/",
            "src/cluster/peer/",
        ],
    ),
    (
        "hyper_util",
        &[
            "src/http/",
            "src/cli/",
            "src/cluster/discovery/consul/",
            "src/cluster/peer/",
        ],
    ),
    ("tonic", &["src/cluster/peer/"]),
    ("object_store", &["src/archive/"]),
    ("futures_util", &["src/archive/", "src/cluster/blocks/"]),
    ("snap", &["src/ingest/", "src/http/", "src/transfer/"]),
    ("flate2", &["src/ingest/", "src/http/"]),
    ("zstd", &["src/codec/", "src/ingest/", "src/http/"]),
    ("lz4_flex", &["src/store/log/"]),
    ("roaring", &["src/codec/", "src/store/"]),
    ("clap", &["src/cli/"]),
    ("clap_complete", &["src/cli/"]),
    ("indicatif", &["src/cli/"]),
    ("toml", &["src/config/"]),
    ("rustix", &["src/runtime/", "src/store/"]),
    ("tracing_subscriber", &["src/node/", "src/runtime/"]),
    ("prost", &["src/cluster/"]),
    ("openraft", &["src/cluster/control/raft/"]),
    ("domain", &["src/cluster/discovery/dns.rs"]),
    (
        "tokio_rustls",
        &[
            "src/cluster/discovery/consul/tls.rs",
            "src/cluster/peer/",
            "src/archive/",
        ],
    ),
    (
        "rustls_native_certs",
        &["src/cluster/discovery/consul/tls.rs"],
    ),
];

#[test]
fn third_party_crates_stay_at_home() {
    let mut complaints = Vec::new();
    for source in below("src") {
        for (name, homes) in HOMES {
            let named = source
                .code
                .match_indices(&format!("{name}::"))
                .any(|(at, _)| {
                    !source.code[..at]
                        .ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
                });
            if named && !homes.iter().any(|home| source.path.starts_with(home)) {
                complaints.push(format!("{}: {name} lives in {homes:?}", source.path));
            }
        }
    }
    report("third-party crates stay at home", complaints);
}
