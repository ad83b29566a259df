//! The bucket for threads that may block.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::archive::{ArchiveMetrics, ArchiveSettings, Bucket, Error};
use crate::runtime::{CancelToken, Clock, wait};

/// Whoever waits looks so often whether anybody still wants it.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The bucket, and what drives its requests.
#[derive(Clone)]
pub(in crate::cluster) struct Archive {
    pub(super) bucket: Arc<Bucket>,
    runtime: Handle,
    /// The clusters below whose names its blocks lie, once somebody asked.
    pub(super) known_homes: Arc<Mutex<Option<Vec<u128>>>>,
}

impl fmt::Display for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.bucket, f)
    }
}

impl Archive {
    /// The bucket that settings name, if they name one.
    ///
    /// # Errors
    /// When a setting cannot be used.
    pub(in crate::cluster) fn open(
        settings: &ArchiveSettings,
        clock: &Arc<dyn Clock>,
        runtime: &Handle,
        metrics: ArchiveMetrics,
    ) -> Result<Option<Self>, Error> {
        let bucket = Bucket::open(settings, clock, metrics)?;
        Ok(bucket.map(|bucket| Self {
            bucket: Arc::new(bucket),
            runtime: runtime.clone(),
            known_homes: Arc::default(),
        }))
    }

    /// The same over a bucket that is there.
    #[cfg(test)]
    pub(in crate::cluster) fn over(bucket: Bucket, runtime: &Handle) -> Self {
        Self {
            bucket: Arc::new(bucket),
            runtime: runtime.clone(),
            known_homes: Arc::default(),
        }
    }

    /// The bucket, for those who do not block.
    pub(in crate::cluster) fn bucket(&self) -> Arc<Bucket> {
        Arc::clone(&self.bucket)
    }

    /// Waits for an answer as long as it is wanted.
    ///
    /// # Errors
    /// The answer's, or that it was called off.
    pub(super) fn wait<T>(
        &self,
        cancel: &CancelToken,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        wait(&self.runtime, async {
            let mut request = pin!(request);
            loop {
                if let Ok(answer) = timeout(LOOK_EVERY, request.as_mut()).await {
                    return answer;
                }
                cancel.check().map_err(|_| Error::CalledOff)?;
            }
        })
    }
}
