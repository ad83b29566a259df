//! A look at the bucket of some settings, without the node.

use std::sync::Arc;

use crate::archive::{ArchiveMetrics, Bucket, ClusterRecord};
use crate::config::Settings;
use crate::runtime::SystemClock;

use super::run::runtime;

/// What is seen of a bucket that answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BucketSeen {
    /// The bucket in words.
    pub place: String,
    /// The cluster that lives there, in hex digits; `None`: nobody's yet.
    pub cluster: Option<String>,
    /// What is wrong with the clocks, if anything.
    pub clock: Option<String>,
}

/// Asks the bucket that settings name whether it is there and answers this machine; nothing is put
/// there. `None`: they name none.
///
/// # Errors
/// What is wrong, with what to do about it.
pub fn look_at_bucket(settings: &Settings) -> Option<Result<BucketSeen, String>> {
    let archive = settings.all_archive();
    let clock: Arc<dyn crate::runtime::Clock> = Arc::new(SystemClock::new());
    let bucket = match Bucket::open(&archive, &clock, ArchiveMetrics::default()) {
        Ok(bucket) => bucket?,
        Err(error) => return Some(Err(error.to_string())),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return Some(Err(error.to_string())),
    };
    let seen = runtime.block_on(async {
        bucket.probe().await?;
        let record = ClusterRecord::read(&bucket).await?;
        Ok::<_, crate::archive::Error>(BucketSeen {
            place: bucket.to_string(),
            cluster: record.map(|record| format!("{:032x}", record.cluster)),
            clock: bucket.clock_trouble(),
        })
    });
    Some(seen.map_err(|error| error.to_string()))
}
