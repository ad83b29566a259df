//! A receiver over a double of the store that keeps what it is given.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;

use crate::cluster::{AppendBatch, Appended, Durable, Gate, Refusing, Replica, SeriesId, Writer};
use crate::model::{LabelSet, TenantId, TimestampMs, Value};
use crate::runtime::{ManualClock, Rush, SeededChance};
use crate::store::Error as StoreError;

use super::super::super::settings::IngestSettings;
use super::super::{Answer, Receiver, RequestHead};

/// What time it is in these tests.
pub(super) const NOW: i64 = 1_700_000_000_000;

/// A sample as text: value bits as given by `Debug`, start only when there is one.
pub(super) type Stored = (String, i64, String);

#[derive(Default)]
pub(super) struct Kept {
    pub(super) series: Vec<(TenantId, LabelSet)>,
    pub(super) samples: Vec<Stored>,
    pub(super) metadata: Vec<String>,
    pub(super) exemplars: Vec<String>,
    ids: BTreeMap<(TenantId, LabelSet), SeriesId>,
    names: BTreeMap<SeriesId, String>,
}

/// The double.
#[derive(Default)]
pub(super) struct Double {
    pub(super) kept: Mutex<Kept>,
    pub(super) series_max: AtomicU64,
    pub(super) appends: AtomicU64,
    pub(super) registers: AtomicU64,
    pub(super) log_fails: AtomicBool,
}

impl Double {
    /// Forgets all ids, as the head does with series that are long gone.
    pub(super) fn forget_ids(&self) {
        let mut kept = self.kept.lock();
        kept.ids.clear();
        kept.names.clear();
    }

    pub(super) fn samples(&self) -> Vec<Stored> {
        self.kept.lock().samples.clone()
    }
}

fn text(value: &Value, start: TimestampMs) -> String {
    let value = match value {
        Value::Float(value) if value.is_nan() => format!("NaN:{:x}", value.to_bits()),
        Value::Float(value) => format!("{value:?}"),
        Value::Histogram(histogram) => format!("{histogram:?}"),
    };
    match start.0 {
        0 => value,
        start => format!("{value} since {start}"),
    }
}

impl Replica for Double {
    fn register(&self, tenant: &TenantId, labels: &LabelSet) -> Result<SeriesId, StoreError> {
        let number = self.registers.fetch_add(1, Ordering::SeqCst);
        let mut kept = self.kept.lock();
        if let Some(id) = kept.ids.get(&(tenant.clone(), labels.clone())) {
            return Ok(*id);
        }
        let limit = self.series_max.load(Ordering::SeqCst);
        if limit > 0 && kept.series.len() as u64 >= limit {
            return Err(StoreError::Limit {
                what: "the number of series",
                value: limit + 1,
                limit,
                remedy: "raise store.max_series",
            });
        }
        let id = SeriesId::of_double(u32::try_from(number).unwrap());
        kept.series.push((tenant.clone(), labels.clone()));
        kept.ids.insert((tenant.clone(), labels.clone()), id);
        kept.names.insert(id, labels.to_string());
        Ok(id)
    }

    fn append(&self, batch: &AppendBatch<'_>) -> Result<Appended, StoreError> {
        let position = self.appends.fetch_add(1, Ordering::SeqCst) + 1;
        let mut appended = Appended {
            position,
            ..Appended::default()
        };
        let kept = &mut *self.kept.lock();
        for (at, float) in (0u32..).zip(batch.floats) {
            match kept.names.get(&float.series) {
                Some(name) => kept.samples.push((
                    name.clone(),
                    float.at.0,
                    text(&Value::Float(float.value), TimestampMs(0)),
                )),
                None => appended.stale_floats.push(at),
            }
        }
        for (at, other) in (0u32..).zip(batch.others) {
            match kept.names.get(&other.series) {
                Some(name) => {
                    let value = text(&other.value, other.start);
                    kept.samples.push((name.clone(), other.at.0, value));
                }
                None => appended.stale_others.push(at),
            }
        }
        for (at, (series, exemplar)) in (0u32..).zip(batch.exemplars) {
            match kept.names.get(series) {
                Some(name) => kept.exemplars.push(format!(
                    "{name} # {} {} {}",
                    exemplar.labels, exemplar.value, exemplar.timestamp.0
                )),
                None => appended.stale_exemplars.push(at),
            }
        }
        for (tenant, family, metadata) in batch.metadata {
            kept.metadata.push(format!(
                "{tenant} {family} {} {:?} {:?}",
                metadata.kind.name(),
                metadata.help,
                metadata.unit
            ));
        }
        Ok(appended)
    }

    fn durable(&self, _position: u64) -> Durable<'_> {
        let fails = self.log_fails.load(Ordering::SeqCst);
        Box::pin(async move {
            match fails {
                true => Err(StoreError::Unavailable("the log has failed".to_owned())),
                false => Ok(()),
            }
        })
    }
}

/// A receiver and all it stands on.
pub(super) struct Rig {
    pub(super) double: Arc<Double>,
    pub(super) gate: Arc<Gate>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) receiver: Receiver,
}

pub(super) const V1_TYPE: &str = "application/x-protobuf";
pub(super) const V2_TYPE: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(IngestSettings::default())
    }

    pub(super) fn with(settings: IngestSettings) -> Self {
        Self::over(settings, |writer| writer)
    }

    /// The same, its writer changed.
    pub(super) fn over(settings: IngestSettings, change: impl FnOnce(Writer) -> Writer) -> Self {
        let double = Arc::new(Double::default());
        let gate = Arc::new(Gate::closed("starting"));
        gate.refuse(Refusing::NotReady, None);
        let clock = Arc::new(ManualClock::at(TimestampMs(NOW)));
        let receiver = Receiver::new(
            change(Writer::new(double.clone(), gate.clone())),
            settings,
            clock.clone(),
            Arc::new(SeededChance::new(7)),
            Rush::new(2),
            &mut Registry::default(),
        );
        Self {
            double,
            gate,
            clock,
            receiver,
        }
    }

    /// Sends a message as its version is usually sent.
    pub(super) async fn send(&self, content_type: &str, message: &impl prost::Message) -> Answer {
        let body = snappy(&message.encode_to_vec());
        self.send_body(Some(content_type), Some("snappy"), body)
            .await
    }

    pub(super) async fn send_body(
        &self,
        content_type: Option<&str>,
        encoding: Option<&str>,
        body: Vec<u8>,
    ) -> Answer {
        let head = RequestHead {
            content_type: content_type.map(str::to_owned),
            content_encoding: encoding.map(str::to_owned),
        };
        self.receiver
            .receive(TenantId::anonymous(), head, Bytes::from(body))
            .await
    }
}

pub(super) fn snappy(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(message).unwrap()
}

/// Samples, histograms and exemplars written, as the headers say; `None` without all three.
pub(super) fn written(answer: &Answer) -> Option<[u64; 3]> {
    let header = |kind: &str| {
        let name = format!("X-Prometheus-Remote-Write-{kind}-Written");
        let found = answer.headers.iter().find(|(header, _)| *header == name);
        found.map(|(_, value)| value.parse::<u64>().unwrap())
    };
    Some([
        header("Samples")?,
        header("Histograms")?,
        header("Exemplars")?,
    ])
}
