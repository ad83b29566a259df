//! This program's own metrics, stored like anybody's: from the first second there is something to
//! look at, and what the node did in the night can be asked in the morning.
//!
//! The text that `/metrics` answers with is read and written through the same writer as everything
//! else, with `job="cairn"` and the node's name as `instance`, plus what a scrape by Prometheus
//! would add. A write that fails is skipped: the next one comes soon.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::{AppendBatch, FloatSample, Pending, SeriesId, WriteError, Writer};
use crate::model::{LabelSet, Metadata, MetricKind, TenantId, TimestampMs, stale_nan};
use crate::runtime::{Clock, Pool};

use super::openmetrics::{Exposition, labels, read};

/// The job of these series.
const JOB: &str = "cairn";

/// Writes the program's metrics as text; what `/metrics` answers with.
pub type Exposed = Arc<dyn Fn() -> String + Send + Sync>;

/// Stores the program's own metrics.
pub struct SelfScrape {
    source: Source,
    interval: Duration,
}

struct Source {
    writer: Writer,
    clock: Arc<dyn Clock>,
    exposed: Exposed,
    tenant: TenantId,
    instance: String,
    /// Series of the last scrape by their spelling: those that are gone get a stale marker.
    known: HashMap<String, SeriesId>,
    /// Metadata of the last scrape that was stored.
    families: Vec<(String, Metadata)>,
}

impl std::fmt::Debug for SelfScrape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SelfScrape")
    }
}

impl SelfScrape {
    /// Stores what `exposed` writes, every `interval`, for a tenant and under a node's name.
    #[must_use]
    pub fn new(
        writer: Writer,
        clock: Arc<dyn Clock>,
        exposed: Exposed,
        tenant: TenantId,
        instance: String,
        interval: Duration,
    ) -> Self {
        Self {
            source: Source {
                writer,
                clock,
                exposed,
                tenant,
                instance,
                known: HashMap::new(),
                families: Vec::new(),
            },
            interval,
        }
    }

    /// Scrapes until it is dropped, beginning now. An interval of zero: never.
    pub async fn run(self) {
        if self.interval.is_zero() {
            return;
        }
        let pool = Pool::new("self_scrape", 1, 0);
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut source = self.source;
        loop {
            ticks.tick().await;
            let job = move || {
                let result = source.scrape();
                (source, result)
            };
            let Ok((back, result)) = pool.run(job).await else {
                tracing::error!("storing our own metrics has stopped: the job panicked");
                return;
            };
            source = back;
            let stored = match result {
                Ok(pending) => pending.wait().await,
                Err(error) => Err(error),
            };
            if let Err(error) = stored {
                source.families.clear();
                tracing::debug!(%error, "our own metrics were not stored this time");
            }
        }
    }
}

impl Source {
    fn scrape(&mut self) -> Result<Pending, WriteError> {
        let started = self.clock.elapsed();
        let at = self.clock.now();
        let text = (self.exposed)();
        let exposition = read(&text);
        let count = exposition.samples.len() as f64;
        let took = self.clock.elapsed().saturating_sub(started).as_secs_f64();
        let own = [
            ("up", 1.0),
            ("scrape_duration_seconds", took),
            ("scrape_samples_scraped", count),
        ];
        let samples: Vec<(&str, f64)> = exposition.samples.iter().copied().chain(own).collect();
        let metadata = self.new_metadata(&exposition);
        let floats = self.floats(&samples, at)?;
        let pending = self.writer.append(&AppendBatch {
            floats: &floats,
            metadata: &metadata,
            ..AppendBatch::default()
        })?;
        self.families = exposition.families;
        if pending.appended().stale_floats.is_empty() {
            return Ok(pending);
        }
        // The store has forgotten some ids. Appending the rest once more changes nothing.
        self.known.clear();
        let floats = self.floats(&samples, at)?;
        self.writer.append(&AppendBatch {
            floats: &floats,
            ..AppendBatch::default()
        })
    }

    /// The samples under their ids, and stale markers for series that are gone since last time.
    fn floats(
        &mut self,
        samples: &[(&str, f64)],
        at: TimestampMs,
    ) -> Result<Vec<FloatSample>, WriteError> {
        let mut known = HashMap::with_capacity(samples.len());
        let mut floats = Vec::with_capacity(samples.len());
        for (spelling, value) in samples {
            if let Some(series) = self.series(spelling)? {
                let value = *value;
                floats.push(FloatSample { series, at, value });
                known.insert((*spelling).to_owned(), series);
            }
        }
        let is_gone = |spelling: &String| !known.contains_key(spelling);
        let mut gone: Vec<SeriesId> = self
            .known
            .iter()
            .filter_map(|(spelling, id)| is_gone(spelling).then_some(*id))
            .collect();
        gone.sort_unstable();
        let value = stale_nan();
        floats.extend(
            gone.into_iter()
                .map(|series| FloatSample { series, at, value }),
        );
        self.known = known;
        Ok(floats)
    }

    fn series(&self, spelling: &str) -> Result<Option<SeriesId>, WriteError> {
        if let Some(id) = self.known.get(spelling) {
            return Ok(Some(*id));
        }
        let Some(mut pairs) = labels(spelling) else {
            return Ok(None);
        };
        pairs.push(("job".to_owned(), JOB.to_owned()));
        pairs.push(("instance".to_owned(), self.instance.clone()));
        let Ok(labels) = LabelSet::from_pairs(&pairs) else {
            return Ok(None);
        };
        self.writer.register(&self.tenant, &labels).map(Some)
    }

    fn new_metadata(&self, exposition: &Exposition<'_>) -> Vec<(TenantId, String, Metadata)> {
        exposition
            .families
            .iter()
            .filter(|family| family.1.kind != MetricKind::Unknown)
            .filter(|family| !self.families.contains(family))
            .map(|(family, metadata)| (self.tenant.clone(), family.clone(), metadata.clone()))
            .collect()
    }
}
