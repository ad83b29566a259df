//! The decoders of remote-write: whole requests through a receiver whose store checks that only
//! series in order reach it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use cairn::cluster::{AppendBatch, Appended, Durable, Gate, Refusing, Replica, SeriesId, Writer};
use cairn::ingest::{IngestSettings, Receiver, RequestHead};
use cairn::model::{LabelSet, TenantId, TimestampMs};
use cairn::runtime::{ManualClock, Rush, SeededChance};
use cairn::store::Error;
use prometheus_client::registry::Registry;

const NOW: i64 = 1_700_000_000_000;

/// A store that takes what is in order and fails the run otherwise.
#[derive(Default)]
struct Judge {
    series: AtomicU32,
}

impl Replica for Judge {
    fn register(&self, _: &TenantId, labels: &LabelSet) -> Result<SeriesId, Error> {
        let names: Vec<&str> = labels.iter().map(|(name, _)| name).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{labels}");
        assert!(labels.iter().all(|(n, v)| !n.is_empty() && !v.is_empty()));
        assert!(labels.metric_name().is_some(), "{labels}");
        let number = self.series.fetch_add(1, Ordering::Relaxed);
        Ok(SeriesId::of_double(number))
    }

    fn append(&self, batch: &AppendBatch<'_>) -> Result<Appended, Error> {
        let latest = NOW + 600_000;
        assert!(batch.floats.iter().all(|float| float.at.0 <= latest));
        assert!(batch.others.iter().all(|other| other.at.0 <= latest));
        Ok(Appended::default())
    }

    fn durable(&self, _: u64) -> Durable<'_> {
        Box::pin(async { Ok(()) })
    }
}

fn receiver() -> &'static Receiver {
    static RECEIVER: OnceLock<Receiver> = OnceLock::new();
    RECEIVER.get_or_init(|| {
        let gate = Arc::new(Gate::closed("starting"));
        gate.refuse(Refusing::NotReady, None);
        Receiver::new(
            Writer::new(Arc::new(Judge::default()), gate),
            IngestSettings::default(),
            Arc::new(ManualClock::at(TimestampMs(NOW))),
            Arc::new(SeededChance::new(1)),
            Rush::new(2),
            &mut Registry::default(),
        )
    })
}

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).build().expect("threads start")
    })
}

/// Sends a body in an encoding: the first byte says which, the rest is the body.
pub(super) fn body(bytes: &[u8]) {
    let Some((encoding, body)) = bytes.split_first() else {
        return;
    };
    let encoding = ["snappy", "zstd", "gzip"][usize::from(encoding % 3)];
    let head = RequestHead {
        content_type: Some("application/x-protobuf".to_owned()),
        content_encoding: Some(encoding.to_owned()),
    };
    let answer = receiver().receive(TenantId::anonymous(), head, body.to_vec().into());
    let status = runtime().block_on(answer).status;
    assert!(matches!(status, 204 | 400 | 413), "{status}");
}

/// Sends a message of a version, and the same bytes as the body itself.
pub(super) fn write(content_type: &str, bytes: &[u8]) {
    let head = RequestHead {
        content_type: Some(content_type.to_owned()),
        content_encoding: None,
    };
    let message = snap::raw::Encoder::new()
        .compress_vec(bytes)
        .expect("inputs are short");
    // The second time, series are known.
    for body in [message.clone(), message, bytes.to_vec()] {
        let answer = receiver().receive(TenantId::anonymous(), head.clone(), body.into());
        let status = runtime().block_on(answer).status;
        assert!(matches!(status, 204 | 400 | 413), "{status}");
    }
}
