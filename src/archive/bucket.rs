//! The bucket itself: objects by name, and what can go wrong with them in words that help.
//!
//! Requests are repeated a few times within half a minute; whoever asks again after that does so
//! with pauses of its own. Nothing here is conditional, and listing is for restores and scrubs.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload};

use super::client::{s3, show_s3};
use super::clock_watch::{ClockWatch, OFF_S_MAX};
use super::error::{Error, shorten, whole_text};
#[cfg(test)]
use super::faults::{BucketFault, BucketFaults};
use super::judged::Judges;
use super::metrics::{ArchiveMetrics, Traffic};
use super::read_only::ReadOnly;
use super::retry_budget::RetryBudget;
use super::settings::{ArchiveKind, ArchiveSettings};
use crate::model::TimestampMs;
use crate::runtime::Clock;

/// Where objects are.
enum Place {
    Storage(Arc<dyn ObjectStore>),
    /// It may be mounted later, so it is looked for each time.
    Directory(PathBuf),
}

/// The bucket.
pub struct Bucket {
    place: Place,
    /// Whether nothing may be changed.
    read_only: bool,
    shown: String,
    watch: ClockWatch,
    clock: Arc<dyn Clock>,
    metrics: ArchiveMetrics,
    #[cfg(test)]
    pub(crate) faults: BucketFaults,
}

/// An object that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// When it was put, by the bucket's clock.
    pub modified: TimestampMs,
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.shown).finish()
    }
}

impl Bucket {
    /// The bucket that settings name. `None`: they name none. It is not asked anything yet.
    ///
    /// # Errors
    /// When a setting cannot be used.
    pub fn open(
        settings: &ArchiveSettings,
        clock: &Arc<dyn Clock>,
        metrics: ArchiveMetrics,
    ) -> Result<Option<Self>, Error> {
        let watch = ClockWatch::new(clock);
        let (place, shown) = match settings.main.kind {
            ArchiveKind::None => return Ok(None),
            ArchiveKind::Local => {
                let path = settings.local.path.clone().ok_or_else(|| {
                    let text = "archive.local.path is not set: name the directory";
                    Error::Setting(text.to_owned())
                })?;
                let shown = format!("the directory {}", path.display());
                (Place::Directory(path), shown)
            }
            ArchiveKind::S3 => {
                let judges = Judges {
                    clock: watch.clone(),
                    budget: RetryBudget::new(metrics.clone()),
                };
                let store = s3(&settings.s3, judges)?;
                (Place::Storage(store), show_s3(&settings.s3))
            }
        };
        Ok(Some(Self {
            place,
            read_only: settings.read_only,
            shown,
            watch,
            clock: Arc::clone(clock),
            metrics,
            #[cfg(test)]
            faults: BucketFaults::default(),
        }))
    }

    /// What it counts.
    #[must_use]
    pub const fn metrics(&self) -> &ArchiveMetrics {
        &self.metrics
    }

    /// What is wrong with the clocks, also where the storage does not mind (Garage allows a day).
    #[must_use]
    pub fn clock_trouble(&self) -> Option<String> {
        let off_s = self.watch.seconds();
        (off_s.abs() > OFF_S_MAX).then(|| {
            format!(
                "the clocks of this node and of {self} differ by {off_s} s (bound {OFF_S_MAX} s): set the one that is wrong"
            )
        })
    }

    /// Puts an object, whatever was there before.
    ///
    /// # Errors
    /// When the bucket does not take it.
    pub async fn put(&self, name: &str, bytes: Bytes) -> Result<(), Error> {
        let len = bytes.len() as u64;
        #[cfg(test)]
        let bytes = match self.faults.of(Traffic::Put, name) {
            Some(BucketFault::Fail) => return Err(self.away(Traffic::Put)),
            Some(BucketFault::Lose) => return Ok(()),
            Some(fault) => fault.spoil(bytes),
            None => bytes,
        };
        let at = self.path(name)?;
        let store = self.store()?;
        let put = async { store.put(&at, PutPayload::from(bytes)).await.map(|_| ()) };
        self.ask(Traffic::Put, put).await?;
        self.metrics.bytes(Traffic::Put, len);
        #[cfg(test)]
        self.date(name);
        Ok(())
    }

    /// Begins an object that is put in parts.
    pub(super) async fn put_in_parts(&self, name: &str) -> Result<Box<dyn MultipartUpload>, Error> {
        let at = self.path(name)?;
        let store = self.store()?;
        self.ask(Traffic::Put, async { store.put_multipart(&at).await })
            .await
    }

    /// Puts the next part.
    pub(super) async fn put_part(
        &self,
        upload: &mut dyn MultipartUpload,
        bytes: Bytes,
    ) -> Result<(), Error> {
        #[cfg(test)]
        if self.faults.of(Traffic::Put, "part").is_some() {
            return Err(self.away(Traffic::Put));
        }
        let len = bytes.len() as u64;
        self.ask(Traffic::Put, upload.put_part(PutPayload::from(bytes)))
            .await?;
        self.metrics.bytes(Traffic::Put, len);
        Ok(())
    }

    /// Ends it: from here on the object is there.
    pub(super) async fn complete(&self, upload: &mut dyn MultipartUpload) -> Result<(), Error> {
        let complete = async { upload.complete().await.map(|_| ()) };
        self.ask(Traffic::Put, complete).await
    }

    /// A whole object of at most so many bytes. `None`: it is not there.
    ///
    /// # Errors
    /// When the bucket does not give it, or it is larger.
    pub async fn get(&self, name: &str, bytes_max: u64) -> Result<Option<Bytes>, Error> {
        let Some(size) = self.size(name).await? else {
            return Ok(None);
        };
        if size > bytes_max {
            return Err(self.corrupt(name, format!("it has {size} bytes (bound {bytes_max})")));
        }
        if size == 0 {
            return Ok(Some(Bytes::new()));
        }
        self.read(name, 0..size).await
    }

    /// Some bytes of an object. `None`: it is not there.
    ///
    /// # Errors
    /// When the bucket does not give them.
    pub async fn read(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>, Error> {
        #[cfg(test)]
        if self.faults.of(Traffic::Get, name).is_some() {
            return Err(self.away(Traffic::Get));
        }
        let at = self.path(name)?;
        let store = self.store()?;
        let got = self.ask(Traffic::Get, async { store.get_range(&at, range).await });
        let bytes = or_none(got.await)?;
        if let Some(bytes) = &bytes {
            self.metrics.bytes(Traffic::Get, bytes.len() as u64);
        }
        Ok(bytes)
    }

    /// How large an object is. `None`: it is not there. A missing bucket is told from a missing
    /// object by listing, because the answer to HEAD has no body.
    ///
    /// # Errors
    /// When the bucket does not say.
    pub async fn size(&self, name: &str) -> Result<Option<u64>, Error> {
        Ok(self.look(name).await?.map(|listed| listed.size))
    }

    /// How large an object is, and when it was put by the bucket's clock. `None`: it is not there.
    ///
    /// # Errors
    /// As [`Bucket::size`].
    pub async fn look(&self, name: &str) -> Result<Option<Listed>, Error> {
        #[cfg(test)]
        if self.faults.of(Traffic::Get, name).is_some() {
            return Err(self.away(Traffic::Get));
        }
        let at = self.path(name)?;
        let store = self.store()?;
        let head = self.ask(Traffic::Get, async { store.head(&at).await });
        Ok(or_none(head.await)?.map(|meta| listed(&meta)))
    }

    /// Whether the bucket is there and answers this node.
    ///
    /// # Errors
    /// When it does not.
    pub async fn probe(&self) -> Result<(), Error> {
        let store = self.store()?;
        let nothing = Path::from("probe");
        let list = async { store.list(Some(&nothing)).try_next().await.map(|_| ()) };
        self.ask(Traffic::List, list).await
    }

    /// Shows every object below a prefix, in no order.
    ///
    /// # Errors
    /// When the bucket does not name them.
    pub async fn list(
        &self,
        prefix: &str,
        mut visit: impl FnMut(Listed) + Send,
    ) -> Result<(), Error> {
        #[cfg(test)]
        if self.faults.of(Traffic::List, prefix).is_some() {
            return Err(self.away(Traffic::List));
        }
        let below = self.path(prefix)?;
        let store = self.store()?;
        let list = async {
            let mut objects = store.list(Some(&below));
            while let Some(meta) = objects.try_next().await? {
                visit(listed(&meta));
            }
            Ok(())
        };
        self.ask(Traffic::List, list).await
    }

    /// The same below several prefixes.
    ///
    /// # Errors
    /// As [`Bucket::list`].
    pub async fn list_all(
        &self,
        prefixes: &[String],
        mut visit: impl FnMut(Listed) + Send,
    ) -> Result<(), Error> {
        for prefix in prefixes {
            self.list(prefix, &mut visit).await?;
        }
        Ok(())
    }

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    /// When the bucket does not let go of it.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        #[cfg(test)]
        if self.faults.of(Traffic::Delete, name).is_some() {
            return Err(self.away(Traffic::Delete));
        }
        let at = self.path(name)?;
        let store = self.store()?;
        let gone = self.ask(Traffic::Delete, async { store.delete(&at).await });
        or_none(gone.await).map(|_| ())
    }

    /// Removes objects, many with one request where the storage can; some may be removed when it
    /// fails. Those that are not there are removed already.
    ///
    /// # Errors
    /// When the bucket does not let go of them.
    pub async fn delete_all(&self, names: &[String]) -> Result<(), Error> {
        #[cfg(test)]
        for name in names {
            if self.faults.of(Traffic::Delete, name).is_some() {
                return Err(self.away(Traffic::Delete));
            }
        }
        let paths: Result<Vec<Path>, Error> = names.iter().map(|name| self.path(name)).collect();
        let paths = futures_util::stream::iter(paths?.into_iter().map(Ok)).boxed();
        let store = self.store()?;
        let gone = async {
            let mut gone = store.delete_stream(paths);
            while let Some(one) = gone.next().await {
                match one {
                    Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        self.ask(Traffic::Delete, gone).await
    }

    /// What every request goes through.
    fn store(&self) -> Result<Arc<dyn ObjectStore>, Error> {
        match self.whole_store()? {
            store if self.read_only => Ok(Arc::new(ReadOnly::new(store))),
            store => Ok(store),
        }
    }

    fn whole_store(&self) -> Result<Arc<dyn ObjectStore>, Error> {
        match &self.place {
            Place::Storage(store) => Ok(Arc::clone(store)),
            Place::Directory(path) if !path.is_dir() => Err(Error::NoBucket {
                bucket: self.shown.clone(),
                remedy: "make it, or mount what belongs there",
            }),
            Place::Directory(path) => {
                let store = LocalFileSystem::new_with_prefix(path);
                let store = store.map_err(|error| self.unavailable(Traffic::List, &error))?;
                Ok(Arc::new(store.with_fsync(true)))
            }
        }
    }

    fn path(&self, name: &str) -> Result<Path, Error> {
        Path::parse(name).map_err(|error| self.corrupt(name, error.to_string()))
    }

    /// Waits for an answer, counts it, and says what an error means.
    async fn ask<T>(
        &self,
        operation: Traffic,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Error> {
        let begun = self.clock.elapsed();
        let answer = request.await;
        let took = self.clock.elapsed().saturating_sub(begun);
        let missing = matches!(&answer, Err(object_store::Error::NotFound { .. }));
        let failed = answer.is_err() && !missing;
        self.metrics.request(operation, took, failed);
        answer.map_err(|error| self.meaning(operation, &error))
    }

    fn meaning(&self, operation: Traffic, error: &object_store::Error) -> Error {
        let text = whole_text(error);
        let bucket = self.shown.clone();
        let off_s = self.watch.seconds();
        let refused = matches!(
            error,
            object_store::Error::PermissionDenied { .. }
                | object_store::Error::Unauthenticated { .. }
        );
        // What a listing is told comes without a kind of its own.
        let says = |code: &str| text.contains(&format!("status code: {code}"));
        let refused = refused || says("401") || says("403");
        if off_s.abs() > OFF_S_MAX && (refused || says("400")) {
            return Error::Clock { bucket, off_s };
        }
        if text.contains("NoSuchBucket") {
            return Error::NoBucket {
                bucket,
                remedy: "create it, and allow the key of archive.s3.access_key_file to read and write it",
            };
        }
        if refused {
            let reason = shorten(&text);
            return Error::Refused { bucket, reason };
        }
        if let object_store::Error::NotFound { path, .. } = error {
            let name = path.clone();
            return Error::Missing { bucket, name };
        }
        self.unavailable(operation, error)
    }

    fn unavailable(&self, operation: Traffic, error: &object_store::Error) -> Error {
        Error::Unavailable {
            bucket: self.shown.clone(),
            operation: operation.text(),
            reason: shorten(&whole_text(error)),
        }
    }

    pub(super) fn corrupt(&self, name: &str, problem: String) -> Error {
        Error::Corrupt {
            bucket: self.shown.clone(),
            name: name.to_owned(),
            problem,
        }
    }

    pub(super) fn missing(&self, name: &str) -> Error {
        Error::Missing {
            bucket: self.shown.clone(),
            name: name.to_owned(),
        }
    }
}

fn listed(meta: &ObjectMeta) -> Listed {
    Listed {
        name: meta.location.to_string(),
        size: meta.size,
        modified: TimestampMs(meta.last_modified.timestamp_millis()),
    }
}

fn or_none<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Error::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
impl Bucket {
    /// A bucket over any storage.
    pub(super) fn over(
        store: Arc<dyn ObjectStore>,
        clock: &Arc<dyn Clock>,
        faults: BucketFaults,
    ) -> Self {
        Self {
            shown: format!("the bucket in {store}"),
            place: Place::Storage(store),
            read_only: false,
            watch: ClockWatch::new(clock),
            clock: Arc::clone(clock),
            metrics: ArchiveMetrics::default(),
            faults,
        }
    }

    /// In tests a directory has the clock that they have, wrong by what they say.
    fn date(&self, name: &str) {
        if let Place::Directory(path) = &self.place
            && let Ok(file) = std::fs::File::options().write(true).open(path.join(name))
        {
            let ms = self.clock.now().0.saturating_add(self.faults.ahead_ms());
            let since = std::time::Duration::from_millis(u64::try_from(ms).unwrap());
            file.set_modified(std::time::UNIX_EPOCH + since).unwrap();
        }
    }

    fn away(&self, operation: Traffic) -> Error {
        self.metrics
            .request(operation, std::time::Duration::ZERO, true);
        Error::Unavailable {
            bucket: self.shown.clone(),
            operation: operation.text(),
            reason: "a test says so".to_owned(),
        }
    }
}
