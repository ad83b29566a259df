//! What senders write and readers read, and what they may expect.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::board::Up;
use crate::cluster::control::{ControlState, Hidden, Partition};
use crate::model::*;
use crate::runtime::{Budget, BudgetLimits, CancelToken, on_thread};
use crate::source::{ReadContext, Selection, SeriesStream, Source, SourceError};
use crate::store::{AppendBatch, FloatSample};

/// A series and a time.
pub(super) type Key = (u32, i64);

/// Samples as they are read.
pub(super) type Content = BTreeMap<Key, f64>;

/// A delete that stands, as its sender knows it.
pub(super) struct Deleting {
    /// As the cluster names it.
    pub(super) id: String,
    pub(super) series: BTreeSet<u32>,
    pub(super) range: TimeRange,
    /// What was owed of it before.
    pub(super) owed: Content,
}

impl Deleting {
    fn is_about(&self, key: &Key) -> bool {
        self.series.contains(&key.0) && self.range.contains(TimestampMs(key.1))
    }
}

/// What was ever written, and what of it was acknowledged.
#[derive(Default)]
pub(super) struct Model {
    pub(super) written: BTreeMap<Key, Vec<f64>>,
    /// The value that wins among the acknowledged ones.
    pub(super) acknowledged: Content,
    /// What is deleted and can still be shown again, or be held somewhere.
    pub(super) deleting: Vec<Deleting>,
    /// What is deleted for good: nobody has it.
    pub(super) gone: BTreeSet<Key>,
    /// How writes and reads have ended.
    pub(super) counts: BTreeMap<&'static str, u64>,
}

impl Model {
    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// What is deleted is not owed any more.
    pub(super) fn withdraw(&mut self, deleting: &mut Deleting) {
        let about: Vec<Key> = self
            .acknowledged
            .keys()
            .filter(|key| deleting.is_about(key))
            .copied()
            .collect();
        for key in about {
            let value = self.acknowledged.remove(&key);
            deleting.owed.extend(value.map(|value| (key, value)));
        }
    }

    /// What is shown again is owed, unless another delete is about it.
    pub(super) fn owe(&mut self, samples: Content) {
        let samples: Vec<(Key, f64)> = samples.into_iter().collect();
        self.acknowledge(&samples);
    }

    fn acknowledge(&mut self, samples: &[(Key, f64)]) {
        for (key, value) in samples {
            // A node that had not heard of a delete took it: whether it is shown when the delete is
            // undone or over depends on when it came.
            let mut deletes = self.deleting.iter_mut();
            if let Some(one) = deletes.find(|one| one.is_about(key)) {
                one.owed.remove(key);
                continue;
            }
            let known = self.acknowledged.entry(*key).or_insert(*value);
            if wins(*value, *known) {
                *known = *value;
            }
        }
    }

    /// What is wrong with something that was read after `before` had been acknowledged, if it must
    /// be whole.
    pub(super) fn judge(&self, read: &Content, before: Option<&Content>) -> Option<String> {
        for (key, value) in read {
            if self.gone.contains(key) {
                return Some(format!("{key:?} was deleted for good and is there again"));
            }
            let written = self.written.get(key);
            let bits = value.to_bits();
            if !written.is_some_and(|all| all.iter().any(|one| one.to_bits() == bits)) {
                return Some(format!("{key:?} is {value}, which nobody wrote"));
            }
        }
        let mut missing = before.into_iter().flatten().filter(|(key, value)| {
            let found = read.get(*key);
            found.is_none_or(|found| wins(**value, *found))
        });
        let (key, value) = missing.next()?;
        let more = missing.count();
        let (found, arc) = (read.get(key), arc_of(key.0));
        Some(format!(
            "{key:?} of {arc} is {found:?} and {value} was acknowledged; so are {more} more"
        ))
    }
}

/// Whether one value of a key wins over another.
pub(super) fn wins(one: f64, other: f64) -> bool {
    let none = TimestampMs(0);
    settle((&Value::Float(one), none), (&Value::Float(other), none)).is_gt()
}

/// From this number on so many series each are one scrape target.
pub(super) const TARGETS: u32 = 1000;
pub(super) const SERIES_OF_A_TARGET: u32 = 20;
/// From this number on each series has a metric name of its own, so that they lie in all partitions.
pub(super) const NAMES: u32 = 1_000_000;

pub(super) fn labels(series: u32) -> LabelSet {
    let target = match series.checked_sub(TARGETS) {
        None => format!("host-{}", series % 5),
        Some(number) => format!("target-{}", number / SERIES_OF_A_TARGET),
    };
    let name = if series < NAMES { series % 3 } else { series };
    LabelSet::from_pairs(&[
        ("__name__", format!("metric_{name}").as_str()),
        ("instance", target.as_str()),
        ("job", "node"),
        ("n", series.to_string().as_str()),
    ])
    .unwrap()
}

/// Whether a series lies in an arc.
pub(super) fn is_in(series: u32, arc: RingArc) -> bool {
    static KNOWN: Mutex<BTreeMap<u32, Fingerprint>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock();
    let new = || fingerprint(&TenantId::anonymous(), &labels(series));
    arc.contains(*known.entry(series).or_insert_with(new))
}

/// The partition in which a series lies now.
pub(super) fn partition_of(state: &ControlState, series: u32) -> Option<(RingArc, &Partition)> {
    let mut all = state.partitions.iter();
    let (arc, partition) = all.find(|(arc, _)| is_in(series, **arc))?;
    Some((*arc, partition.as_ref()))
}

/// The partition of a series at the founding depth.
pub(super) fn arc_of(series: u32) -> RingArc {
    let print = fingerprint(&TenantId::anonymous(), &labels(series));
    let mut arcs = RingArc::all(FOUNDING_DEPTH);
    arcs.find(|arc| arc.contains(print)).unwrap()
}

pub(super) fn everything() -> Selection {
    Selection {
        tenant: TenantId::anonymous(),
        matchers: Vec::new(),
        range: TimeRange::ALL,
    }
}

pub(super) fn context() -> ReadContext {
    ReadContext {
        cancel: CancelToken::new(),
        budget: Budget::new(BudgetLimits {
            memory_bytes: 1 << 30,
            samples: 1 << 26,
        }),
        partial: None,
        coarsest: Default::default(),
    }
}

/// All of a stream.
pub(super) fn drain(mut stream: Box<dyn SeriesStream>) -> Result<Content, SourceError> {
    let (mut all, mut samples) = (Content::new(), Samples::default());
    while let Some(labels) = stream.next(&mut samples)? {
        let series: u32 = labels.get("n").unwrap().parse().unwrap();
        for (at, value, _) in samples.iter() {
            let Value::Float(value) = value else {
                panic!("{value:?} of {series}")
            };
            let again = all.insert((series, at.0), value);
            assert!(again.is_none(), "{series} at {at} came twice");
        }
    }
    Ok(all)
}

/// What one node's store holds by itself.
pub(super) fn held(up: &Up) -> Content {
    let store = up.member.store();
    drain(store.select(&everything(), &context()).unwrap()).unwrap()
}

/// Writes through a node as `ingest` does. What is acknowledged by a node that has died meanwhile
/// was acknowledged to nobody.
pub(super) async fn write(model: Arc<Mutex<Model>>, up: Arc<Up>, samples: Vec<(Key, f64)>) -> bool {
    let samples = not_deleted(&model, &up, samples);
    {
        let mut model = model.lock();
        for (key, value) in &samples {
            model.written.entry(*key).or_default().push(*value);
            // From now on it may be there again.
            model.gone.remove(key);
        }
    }
    let (node, wanted) = (Arc::clone(&up), samples.clone());
    let begun = on_thread(move || begin(&node, wanted)).await.unwrap();
    let pending = match begun {
        Ok(pending) => pending,
        Err(error) => {
            tracing::debug!(%error, "a write is refused");
            model.lock().count("writes refused");
            return false;
        }
    };
    let mut is_acknowledged = true;
    for one in pending {
        if let Err(error) = one.wait().await {
            tracing::debug!(%error, "a write is not acknowledged");
            is_acknowledged = false;
        }
    }
    let mut model = model.lock();
    if !is_acknowledged || !up.is_heard() {
        model.count("writes not acknowledged");
        return false;
    }
    model.count("writes acknowledged");
    model.acknowledge(&samples);
    true
}

/// Leaves out what is being deleted, as the receiver does.
fn not_deleted(model: &Mutex<Model>, up: &Up, mut samples: Vec<(Key, f64)>) -> Vec<(Key, f64)> {
    let deleted = up.member.writer().deleted(&TenantId::anonymous());
    if !deleted.is_empty() {
        samples.retain(|((series, at), _)| {
            let about = deleted.of_series(&labels(*series));
            let refused = about.range_at(TimestampMs(*at)).is_some();
            if refused {
                model.lock().count("samples refused as deleted");
            }
            !refused
        });
    }
    samples
}

fn begin(
    up: &Up,
    mut left: Vec<(Key, f64)>,
) -> Result<Vec<crate::cluster::write::Pending>, crate::cluster::write::WriteError> {
    let writer = up.member.writer();
    let tenant = TenantId::anonymous();
    let mut pending = Vec::new();
    for _ in 0..5 {
        let mut floats = Vec::new();
        for ((series, at), value) in &left {
            let known = up.ids.lock().get(series).copied();
            let id = match known {
                Some(id) => id,
                None => writer.register(&tenant, &labels(*series))?,
            };
            up.ids.lock().insert(*series, id);
            floats.push(FloatSample {
                series: id,
                at: TimestampMs(*at),
                value: *value,
            });
        }
        let one = writer.append(&AppendBatch {
            floats: &floats,
            ..AppendBatch::default()
        })?;
        let stale = one.appended().stale_floats.clone();
        pending.push(one);
        if stale.is_empty() {
            return Ok(pending);
        }
        left = stale.iter().map(|at| left[*at as usize]).collect();
        for ((series, _), _) in &left {
            up.ids.lock().remove(series);
        }
    }
    Err(crate::cluster::write::WriteError::Unavailable {
        reason: "series are forgotten again and again".to_owned(),
    })
}

/// Reads everything through a node, and judges it. `Err`: what is wrong with what was read.
pub(super) async fn read(model: Arc<Mutex<Model>>, up: Arc<Up>) -> Result<bool, String> {
    let before = model.lock().acknowledged.clone();
    let state = up.member.control().state();
    let hidden = Hidden::of(&state, &TenantId::anonymous(), TimeRange::ALL);
    let node = Arc::clone(&up);
    let read = on_thread(move || {
        let source = node.member.source();
        drain(source.select(&everything(), &context())?)
    });
    let read = read.await.map_err(|error| error.to_string())?;
    let mut model = model.lock();
    if !up.is_heard() {
        return Ok(false);
    }
    match read {
        Ok(read) => {
            model.count("reads whole");
            let is_hidden = |(series, at): &Key| {
                let about = hidden.of_series(&labels(*series));
                about.range_at(TimestampMs(*at)).is_some()
            };
            let shown = read.keys().find(|key| !hidden.is_empty() && is_hidden(key));
            if let Some(key) = shown {
                return Err(format!("{key:?} is deleted and shown"));
            }
            match model.judge(&read, Some(&before)) {
                Some(wrong) => Err(wrong),
                None => Ok(true),
            }
        }
        Err(SourceError::Corrupt(reason)) => Err(reason),
        Err(_) => {
            model.count("reads refused");
            Ok(false)
        }
    }
}
