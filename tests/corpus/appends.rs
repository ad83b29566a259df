//! The decoder of append streams: whole messages through a replica's service, onto a store that
//! takes everything; and the messages that a coordinator sends, to begin with.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use cairn::cluster::{
    Answering, AppendBatch, AppendService, Appended, Caller, ControlState, Duplex, Durable,
    FloatSample, Gate, Incoming, MemberId, Method, OtherSample, Partition, PeerError, Replica,
    SeriesId, Service, Session, Transport, WriteMetrics, WriteSettings, Writer, WriterParts,
};
use cairn::codec::varint;
use cairn::model::{
    Epoch, Exemplar, Incarnation, LabelSet, Metadata, RingArc, TenantId, TimestampMs, Value,
};
use cairn::runtime::{ManualClock, Rush, SeededChance};
use cairn::store::Error;
use tokio::sync::mpsc;

/// Messages of one input: a run stays within milliseconds.
const MESSAGES_MAX: usize = 16;

/// A store that takes what is in order and fails the run otherwise.
#[derive(Default)]
struct Judge {
    series: AtomicU32,
}

impl Replica for Judge {
    fn register(&self, _: &TenantId, labels: &LabelSet) -> Result<SeriesId, Error> {
        let names: Vec<&str> = labels.iter().map(|(name, _)| name).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{labels}");
        let number = self.series.fetch_add(1, Ordering::Relaxed);
        Ok(SeriesId::of_double(number))
    }

    fn describe(&self, _: SeriesId) -> Option<(TenantId, LabelSet)> {
        let labels = LabelSet::from_pairs(&[("__name__", "up"), ("job", "j")]);
        Some((TenantId::anonymous(), labels.ok()?))
    }

    fn append(&self, batch: &AppendBatch<'_>) -> Result<Appended, Error> {
        let given = self.series.load(Ordering::Relaxed);
        let is_given = |id: SeriesId| (0..given).any(|number| id == SeriesId::of_double(number));
        let floats = batch.floats.iter().map(|sample| sample.series);
        let others = batch.others.iter().map(|sample| sample.series);
        // Looking all of them up would take too long where there are many.
        assert!(floats.chain(others).take(64).all(is_given));
        Ok(Appended::default())
    }

    fn durable(&self, _: u64) -> Durable<'_> {
        Box::pin(async { Ok(()) })
    }
}

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let builder = builder.worker_threads(1).enable_time();
        builder.build().expect("threads start")
    })
}

/// One partition and two members, of which the second is served.
fn ring() -> ControlState {
    let member = |number| MemberId {
        incarnation: Incarnation(number),
        life: 0,
    };
    let partition = Partition::new(Epoch(1), vec![member(1), member(2)]);
    let mut state = ControlState::default();
    let arc = RingArc::new(0, 0).expect("the whole ring");
    state.partitions.insert(arc, Arc::new(partition));
    state
}

/// Messages, each with its length before it, on one stream.
pub(super) fn append(bytes: &[u8]) {
    let gate = Arc::new(Gate::default());
    gate.set_ring(&ring(), Incarnation(2));
    let settings = WriteSettings {
        ring_patience: Duration::ZERO,
        ..WriteSettings::default()
    };
    let metrics = WriteMetrics::default();
    let service = AppendService::new(
        Arc::new(Judge::default()),
        gate,
        settings,
        metrics,
        Rush::new(2),
    );
    let caller = Caller {
        cluster: None,
        generation: 0,
        incarnation: Incarnation(1),
        session: Session {
            starts: 1,
            nonce: 1,
        },
    };
    let (messages, incoming) = mpsc::channel(MESSAGES_MAX);
    let mut input = bytes;
    for _ in 0..MESSAGES_MAX {
        let Ok(message) = varint::take_bytes(&mut input, "a message") else {
            break;
        };
        let sent = messages.try_send(Ok(Bytes::copy_from_slice(message)));
        sent.expect("there is room");
    }
    drop(messages);
    let (answers, mut made) = mpsc::channel(MESSAGES_MAX);
    runtime().block_on(async {
        // However it ends: the answers to what was taken are the most there can be.
        let _ = service
            .duplex(&caller, Method::Append, incoming, answers)
            .await;
    });
    while made.try_recv().is_ok() {}
}

/// Keeps what is sent.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

fn nowhere<'a, T: Send + 'a>() -> Answering<'a, T> {
    Box::pin(async {
        Err(PeerError::Unreachable {
            peer: String::new(),
            reason: "only streams".to_owned(),
        })
    })
}

impl Transport for Kept {
    fn call(&self, _: Incarnation, _: Method, _: Bytes, _: Duration) -> Answering<'_, Bytes> {
        nowhere()
    }

    fn call_at(&self, _: &str, _: Method, _: Bytes, _: Duration) -> Answering<'_, Bytes> {
        nowhere()
    }

    fn stream(&self, _: Incarnation, _: Method, _: Bytes, _: Duration) -> Answering<'_, Incoming> {
        nowhere()
    }

    fn duplex(&self, _: Incarnation, _: Method) -> Answering<'_, Duplex> {
        let kept = self.clone();
        Box::pin(async move {
            let (messages, mut said) = mpsc::channel::<Bytes>(16);
            let (never, answers) = mpsc::channel(1);
            tokio::spawn(async move {
                let _never = never;
                while let Some(message) = said.recv().await {
                    varint::put_bytes(&mut kept.0.lock().expect("nobody panics"), &message);
                }
            });
            Ok(Duplex { messages, answers })
        })
    }

    fn know(&self, _: Incarnation, _: &[String]) {}
}

/// What a coordinator sends: two scrapes of some series, with everything that a request can carry.
pub(crate) fn sent() -> Vec<u8> {
    let kept = Kept::default();
    let writer = Writer::of_cluster(WriterParts {
        me: Incarnation(1),
        replica: Arc::new(Judge::default()),
        gate: Arc::new(Gate::default()),
        transport: Arc::new(kept.clone()),
        runtime: runtime().handle().clone(),
        settings: WriteSettings {
            patience: Duration::from_millis(300),
            ..WriteSettings::default()
        },
        metrics: WriteMetrics::default(),
        clock: Arc::new(ManualClock::at(TimestampMs(0))),
        chance: Arc::new(SeededChance::new(1)),
    });
    writer.set_ring(&ring());
    let tenant = TenantId::anonymous();
    let labels = |name: &str| LabelSet::from_pairs(&[("__name__", name), ("job", "j")]);
    let ids: Vec<SeriesId> = ["up", "one", "two"]
        .iter()
        .map(|name| {
            let labels = labels(name).expect("labels");
            writer.register(&tenant, &labels).expect("a series")
        })
        .collect();
    for at in [1_000, 16_000] {
        let at = TimestampMs(at);
        let values = [1.0, at.0 as f64 / 7.0, 0.25];
        let floats: Vec<FloatSample> = ids
            .iter()
            .zip(values)
            .map(|(series, value)| FloatSample {
                series: *series,
                at,
                value,
            })
            .collect();
        let start = TimestampMs(500);
        let value = Value::Float(2.0);
        let other = OtherSample {
            series: ids[1],
            at,
            value,
            start,
        };
        let exemplar = Exemplar {
            labels: labels("trace").expect("labels"),
            value: 1.0,
            timestamp: at,
        };
        let family = (tenant.clone(), "up".to_owned(), Metadata::default());
        let batch = AppendBatch {
            floats: &floats,
            others: &[other],
            exemplars: &[(ids[2], exemplar)],
            metadata: &[family],
        };
        let pending = writer.append(&batch).expect("it is under way");
        // Nobody answers.
        assert!(runtime().block_on(pending.wait()).is_err());
    }
    drop(writer);
    kept.0.lock().expect("nobody panics").clone()
}
