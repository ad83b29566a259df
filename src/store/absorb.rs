//! Content that other replicas had: pulled, and appended here as any other.

use super::error::Error;
use super::head::{AppendBatch, FloatSample, OtherSample, SeriesId};
use super::pull::Pulled;
use super::whole::Store;
use crate::model::{LabelSet, Metadata, Samples, TenantId, Value};

/// Samples that are appended in one batch: some 100 KiB.
const BATCH_SAMPLES: usize = 4096;
/// Metadata that are appended in one batch.
const BATCH_METADATA: usize = 256;
/// A series that is forgotten this often between two steps is being forgotten on purpose.
const ATTEMPTS_MAX: usize = 4;

/// Appends series after series in batches.
pub(super) struct Appender<'a> {
    store: &'a Store,
    floats: Vec<FloatSample>,
    others: Vec<OtherSample>,
    /// Whose samples wait: first and last position of each in the batch do not matter, only that
    /// a forgotten one can be registered again.
    series: Vec<(SeriesId, TenantId, LabelSet)>,
    position: Option<u64>,
}

impl<'a> Appender<'a> {
    pub(super) const fn new(store: &'a Store) -> Self {
        Self {
            store,
            floats: Vec::new(),
            others: Vec::new(),
            series: Vec::new(),
            position: None,
        }
    }

    /// Adds a series' samples.
    pub(super) fn series(
        &mut self,
        tenant: &TenantId,
        labels: &LabelSet,
        samples: &Samples,
    ) -> Result<(), Error> {
        let id = self.store.head.register_unbounded(tenant, labels)?;
        self.series.push((id, tenant.clone(), labels.clone()));
        for (at, value, start) in samples.iter() {
            match value {
                Value::Float(value) if start.0 == 0 => self.floats.push(FloatSample {
                    series: id,
                    at,
                    value,
                }),
                value => self.others.push(OtherSample {
                    series: id,
                    at,
                    value,
                    start,
                }),
            }
            if self.floats.len() + self.others.len() >= BATCH_SAMPLES {
                self.flush()?;
                self.series.push((id, tenant.clone(), labels.clone()));
            }
        }
        Ok(())
    }

    /// Adds metadata of a family, given newest first.
    pub(super) fn metadata(
        &mut self,
        tenant: &TenantId,
        family: &str,
        list: &[Metadata],
    ) -> Result<(), Error> {
        let all: Vec<(TenantId, String, Metadata)> = list
            .iter()
            .rev()
            .map(|metadata| (tenant.clone(), family.to_owned(), metadata.clone()))
            .collect();
        for metadata in all.chunks(BATCH_METADATA) {
            let appended = self.store.head.append(&AppendBatch {
                metadata,
                ..AppendBatch::default()
            })?;
            self.position = self.position.max(Some(appended.position));
        }
        Ok(())
    }

    /// Appends what waits; series that were forgotten meanwhile are registered again.
    fn flush(&mut self) -> Result<(), Error> {
        for _ in 0..ATTEMPTS_MAX {
            if self.floats.is_empty() && self.others.is_empty() {
                self.series.clear();
                return Ok(());
            }
            let appended = self.store.head.append(&AppendBatch {
                floats: &self.floats,
                others: &self.others,
                ..AppendBatch::default()
            })?;
            self.position = self.position.max(Some(appended.position));
            self.floats = again(&self.floats, &appended.stale_floats);
            self.others = again(&self.others, &appended.stale_others);
            if !self.floats.is_empty() || !self.others.is_empty() {
                self.register_again()?;
            }
        }
        Err(Error::Unavailable(
            "series are forgotten again and again while they are written: try again".to_owned(),
        ))
    }

    fn register_again(&mut self) -> Result<(), Error> {
        let mut renamed = Vec::with_capacity(self.series.len());
        for (id, tenant, labels) in &mut self.series {
            let fresh = self.store.head.register_unbounded(tenant, labels)?;
            renamed.push((*id, fresh));
            *id = fresh;
        }
        let rename = |id: &mut SeriesId| {
            if let Some((_, fresh)) = renamed.iter().find(|(old, _)| old == id) {
                *id = *fresh;
            }
        };
        self.floats
            .iter_mut()
            .for_each(|one| rename(&mut one.series));
        self.others
            .iter_mut()
            .for_each(|one| rename(&mut one.series));
        Ok(())
    }

    /// Appends the last, and waits until everything is durable.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.flush()?;
        match self.position {
            Some(position) => self.store.head.wait_durable(position),
            None => Ok(()),
        }
    }
}

/// Those of a batch that are to be appended again.
fn again<T: Clone>(all: &[T], stale: &[u32]) -> Vec<T> {
    let at = |at: &u32| all.get(usize::try_from(*at).ok()?).cloned();
    stale.iter().filter_map(at).collect()
}

impl Store {
    /// Appends content that another replica had, as any other, and waits until it is durable. What
    /// is here already is not taken twice, so it may be called again with the same. Bounds on new
    /// series do not count: others have taken it already.
    ///
    /// # Errors
    /// When it cannot be had, or the log cannot be written; part of it may be here then.
    pub fn absorb<E: From<Error>>(
        &self,
        content: impl IntoIterator<Item = Result<Pulled, E>>,
    ) -> Result<(), E> {
        let mut appender = Appender::new(self);
        for item in content {
            match item? {
                Pulled::Series(one) => {
                    appender.series(&one.tenant, &one.labels, &one.samples)?;
                }
                Pulled::Metadata(tenant, family, list) => {
                    appender.metadata(&tenant, &family, &list)?;
                }
            }
        }
        Ok(appender.finish()?)
    }

    /// The id of a series, as [`Store::register`], whatever the bounds say: for what a coordinator
    /// has admitted already. Replicas must not disagree on that.
    ///
    /// # Errors
    /// When numbers run out.
    pub fn register_admitted(
        &self,
        tenant: &TenantId,
        labels: &LabelSet,
    ) -> Result<SeriesId, Error> {
        self.head.register_unbounded(tenant, labels)
    }
}
