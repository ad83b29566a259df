//! A bucket in memory, for many nodes of one simulation: every request takes some of its time, and
//! objects have the date of its clock.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use tokio::time::sleep;

use super::bucket::Bucket;
use super::faults::BucketFaults;
use crate::model::TimestampMs;
use crate::runtime::Clock;

/// An answer takes so long.
const ANSWERED_AFTER: Duration = Duration::from_millis(5);

/// The bucket that nodes share. Clones are the same.
#[derive(Clone)]
pub(crate) struct MemoryBucket {
    objects: Arc<Dated>,
    /// What any node asks of it.
    pub(crate) faults: BucketFaults,
}

impl MemoryBucket {
    /// An empty one that goes by this clock.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            objects: Arc::new(Dated {
                objects: InMemory::new(),
                dates: Dates::default(),
                clock,
            }),
            faults: BucketFaults::default(),
        }
    }

    /// As a node has it whose clock is this one.
    pub(crate) fn for_node(&self, clock: &Arc<dyn Clock>) -> Bucket {
        let objects: Arc<dyn ObjectStore> = Arc::clone(&self.objects) as _;
        Bucket::over(objects, clock, self.faults.clone())
    }
}

/// When objects were put.
#[derive(Clone, Default)]
struct Dates(Arc<Mutex<BTreeMap<Path, TimestampMs>>>);

impl Dates {
    fn note(&self, location: &Path, at: TimestampMs) {
        self.0.lock().insert(location.clone(), at);
    }

    fn date(&self, meta: &mut ObjectMeta) {
        if let Some(at) = self.0.lock().get(&meta.location) {
            let since = Duration::from_millis(u64::try_from(at.0).unwrap());
            meta.last_modified = (UNIX_EPOCH + since).into();
        }
    }
}

/// Objects in memory that are not dated by the machine's clock.
struct Dated {
    objects: InMemory,
    dates: Dates,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Dated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dated")
    }
}

impl fmt::Display for Dated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory")
    }
}

#[async_trait]
impl ObjectStore for Dated {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        sleep(ANSWERED_AFTER).await;
        self.dates.note(location, self.clock.now());
        self.objects.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.dates.note(location, self.clock.now());
        self.objects.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        sleep(ANSWERED_AFTER).await;
        let mut got = self.objects.get_opts(location, options).await?;
        self.dates.date(&mut got.meta);
        Ok(got)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.objects.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let dates = self.dates.clone();
        let dated = move |listed: Result<ObjectMeta>| {
            listed.map(|mut meta| {
                dates.date(&mut meta);
                meta
            })
        };
        self.objects.list(prefix).map(dated).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.dates.note(to, self.clock.now());
        self.objects.copy_opts(from, to, options).await
    }
}
