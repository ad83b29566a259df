//! Replicated writes in one process: what routing, encoding, decoding and appending cost a sample,
//! and how many bytes go between nodes. `cargo bench --bench write`. Requests of 5,000 samples,
//! one after the other; CPU is the whole process'. The network is a queue.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench: it says what it measures, and a panic is how it fails"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn::cluster::{
    Answering, AppendBatch, AppendService, Appended, Caller, ControlState, Duplex, Durable,
    FloatSample, Gate, Incoming, MemberId, Method, Partition, PeerError, Replica, SeriesId,
    Service, Session, Transport, WriteMetrics, WriteSettings, Writer, WriterParts,
};
use cairn::model::{Epoch, Incarnation, LabelSet, RingArc, TenantId, TimestampMs};
use cairn::runtime::{
    ByteSize, Chance, Rush, SeededChance, SystemChance, SystemClock, cpu_seconds,
};
use cairn::store::{DirDisk, Error, Head, HeadSettings, SyncMode, WriteLogSettings};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

const BATCH: usize = 5_000;
const SERIES: usize = 50_000;
const SCRAPES: i64 = 60;
const NOW: i64 = 1_699_999_200_000;

/// A head with its log, or nothing at all.
struct Copy {
    head: Option<Head>,
    numbers: AtomicU32,
}

impl Replica for Copy {
    fn register(&self, tenant: &TenantId, labels: &LabelSet) -> Result<SeriesId, Error> {
        match &self.head {
            Some(head) => head.register(tenant, labels),
            None => Ok(SeriesId::of_double(
                self.numbers.fetch_add(1, Ordering::Relaxed),
            )),
        }
    }

    fn describe(&self, series: SeriesId) -> Option<(TenantId, LabelSet)> {
        match &self.head {
            Some(head) => head.describe(series),
            None => Some((
                TenantId::anonymous(),
                LABELS.lock().unwrap()[&series].clone(),
            )),
        }
    }

    fn append(&self, batch: &AppendBatch<'_>) -> Result<Appended, Error> {
        match &self.head {
            Some(head) => head.append(batch),
            None => Ok(Appended::default()),
        }
    }

    fn durable(&self, position: u64) -> Durable<'_> {
        Box::pin(async move {
            match &self.head {
                Some(head) => head.durable(position).await,
                None => Ok(()),
            }
        })
    }
}

/// What copies without a head tell of their series.
static LABELS: Mutex<BTreeMap<SeriesId, LabelSet>> = Mutex::new(BTreeMap::new());

/// Queues instead of a network.
#[derive(Default)]
struct Queues(Mutex<BTreeMap<Incarnation, Arc<dyn Service>>>);

fn nowhere<'a, T: Send + 'a>() -> Answering<'a, T> {
    Box::pin(async {
        Err(PeerError::Unreachable {
            peer: String::new(),
            reason: "only streams".to_owned(),
        })
    })
}

impl Transport for Queues {
    fn call(&self, _: Incarnation, _: Method, _: Bytes, _: Duration) -> Answering<'_, Bytes> {
        nowhere()
    }

    fn call_at(&self, _: &str, _: Method, _: Bytes, _: Duration) -> Answering<'_, Bytes> {
        nowhere()
    }

    fn stream(&self, _: Incarnation, _: Method, _: Bytes, _: Duration) -> Answering<'_, Incoming> {
        nowhere()
    }

    fn duplex(&self, to: Incarnation, method: Method) -> Answering<'_, Duplex> {
        let service = Arc::clone(&self.0.lock().unwrap()[&to]);
        Box::pin(async move {
            let (messages, mut said) = mpsc::channel::<Bytes>(16);
            let (heard, incoming) = mpsc::channel(16);
            let (answers, mut made) = mpsc::channel::<Bytes>(16);
            let (out, received) = mpsc::channel(16);
            tokio::spawn(async move {
                while let Some(message) = said.recv().await {
                    heard.send(Ok(message)).await.unwrap();
                }
            });
            tokio::spawn(async move {
                while let Some(answer) = made.recv().await {
                    let _ = out.send(Ok(answer)).await;
                }
            });
            tokio::spawn(async move {
                let caller = Caller {
                    cluster: None,
                    generation: 0,
                    incarnation: Incarnation(1),
                    session: Session {
                        starts: 1,
                        nonce: 1,
                    },
                };
                service
                    .duplex(&caller, method, incoming, answers)
                    .await
                    .unwrap();
            });
            Ok(Duplex {
                messages,
                answers: received,
            })
        })
    }

    fn know(&self, _: Incarnation, _: &[String]) {}
}

fn labels(number: usize) -> LabelSet {
    let (target, own) = (number / 1000, number % 1000);
    LabelSet::from_pairs(&[
        (
            "__name__",
            format!("metric_name_of_some_length_{}", own / 5),
        ),
        ("instance", format!("node-{target}.example.org:9100")),
        ("job", "node".to_owned()),
        ("cluster", "home".to_owned()),
        ("device", format!("device{}", own % 5)),
        ("mode", ["user", "system", "idle"][own % 3].to_owned()),
        ("zone", format!("shelf-{}", target % 4)),
    ])
    .unwrap()
}

/// Values of the kinds that scrapes have: constants, counters, gauges, and 8 % noise.
fn advance(values: &mut [f64], chance: &SeededChance) {
    for (at, value) in values.iter_mut().enumerate() {
        match at % 25 {
            0..10 => {}
            10..18 => *value += chance.below(100) as f64,
            18..23 => *value = chance.below(100_000) as f64 / 100.0,
            _ => *value = f64::from_bits(chance.next_u64() >> 12 | 0x3ff0 << 48),
        }
    }
}

struct Rig {
    writer: Writer,
    registry: Registry,
    _directories: Vec<tempfile::TempDir>,
}

fn copy(directory: &std::path::Path, has_head: bool) -> Arc<Copy> {
    let log = WriteLogSettings {
        sync: SyncMode::Os,
        segment_size: ByteSize::mib(64),
        ..WriteLogSettings::default()
    };
    let head = has_head.then(|| {
        let disk = Arc::new(DirDisk::new(directory).unwrap());
        let clock = Arc::new(SystemClock::new());
        Head::open(HeadSettings::default(), &log, disk, &[], clock).unwrap()
    });
    Arc::new(Copy {
        head,
        numbers: AtomicU32::new(0),
    })
}

/// So many nodes, all of them members; 0: a writer without a cluster.
fn rig(nodes: u128, has_head: bool, runtime: &tokio::runtime::Runtime) -> Rig {
    let directories: Vec<_> = (0..nodes.max(1))
        .map(|_| tempfile::tempdir().unwrap())
        .collect();
    let mut registry = Registry::default();
    let metrics = WriteMetrics::register(&mut registry);
    let mut state = ControlState::default();
    for arc in RingArc::all(4) {
        let member = |number| MemberId {
            incarnation: Incarnation(number),
            life: 0,
        };
        let members = (1..=nodes.max(1)).map(member).collect();
        let partition = Partition::new(Epoch(1), members);
        state.partitions.insert(arc, Arc::new(partition));
    }
    let queues = Arc::new(Queues::default());
    for number in 2..=nodes {
        let gate = Arc::new(Gate::default());
        gate.set_ring(&state, Incarnation(number));
        let service: Arc<dyn Service> = Arc::new(AppendService::new(
            copy(directories[number as usize - 1].path(), has_head),
            gate,
            WriteSettings::default(),
            WriteMetrics::default(),
            Rush::new(2),
        ));
        queues
            .0
            .lock()
            .unwrap()
            .insert(Incarnation(number), service);
    }
    let (replica, gate) = (
        copy(directories[0].path(), has_head),
        Arc::new(Gate::default()),
    );
    let writer = if nodes == 0 {
        Writer::new(replica, gate)
    } else {
        let writer = Writer::of_cluster(WriterParts {
            me: Incarnation(1),
            replica,
            gate,
            transport: queues,
            runtime: runtime.handle().clone(),
            settings: WriteSettings::default(),
            metrics,
            clock: Arc::new(SystemClock::new()),
            chance: Arc::new(SystemChance),
        });
        writer.set_ring(&state);
        writer
    };
    Rig {
        writer,
        registry,
        _directories: directories,
    }
}

fn counter(registry: &Registry, name: &str) -> f64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with(name))
        .unwrap_or("x 0");
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn run(title: &str, nodes: u128, has_head: bool) -> f64 {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let rig = rig(nodes, has_head, &runtime);
    let tenant = TenantId::anonymous();
    for number in 0..SERIES {
        let id = SeriesId::of_double(number as u32);
        LABELS.lock().unwrap().insert(id, labels(number));
    }
    let ids: Vec<SeriesId> = (0..SERIES)
        .map(|number| rig.writer.register(&tenant, &labels(number)).unwrap())
        .collect();
    let (mut values, chance) = (vec![0.0; SERIES], SeededChance::new(1));
    let (mut cpu, mut samples, mut bytes) = (0.0, 0.0, 0.0);
    let mut appends = Vec::new();
    for scrape in 0..SCRAPES {
        advance(&mut values, &chance);
        let floats: Vec<FloatSample> = ids
            .iter()
            .zip(&values)
            .map(|(series, value)| FloatSample {
                series: *series,
                at: TimestampMs(NOW + scrape * 15_000),
                value: *value,
            })
            .collect();
        // The first two define everything.
        if scrape == 2 {
            (cpu, samples) = (cpu_seconds(), 0.0);
            bytes = counter(&rig.registry, "cairn_append_sent_bytes_total");
        }
        for floats in floats.chunks(BATCH) {
            let batch = AppendBatch {
                floats,
                ..AppendBatch::default()
            };
            let began = Instant::now();
            let pending = rig.writer.append(&batch).unwrap();
            appends.push(began.elapsed());
            assert!(pending.appended().stale_floats.is_empty());
            runtime.block_on(pending.wait()).unwrap();
            samples += floats.len() as f64;
        }
    }
    // Stragglers.
    std::thread::sleep(Duration::from_millis(200));
    let cpu = (cpu_seconds() - cpu) * 1e9 / samples;
    let bytes = counter(&rig.registry, "cairn_append_sent_bytes_total") - bytes;
    appends.sort_unstable();
    let append = appends[appends.len() / 4].as_secs_f64() * 1e9 / BATCH as f64;
    let copies = nodes.saturating_sub(1).max(1) as f64;
    println!(
        "{title:44} CPU {cpu:6.1} ns/sample; append() {append:6.1} ns/sample (p25); {:.2} B/sample and copy",
        bytes / samples / copies
    );
    cpu
}

fn main() {
    run("alone, no head", 0, false);
    run("three nodes, no head", 3, false);
    let alone = run("alone, head and log", 0, true);
    run("one node of a cluster, head and log", 1, true);
    let three = run("three nodes, head and log", 3, true);
    println!("what two more copies add: {:.1} ns/sample", three - alone);
}
