//! A storage that can only be read: whatever would put, copy or remove an object is refused here,
//! before any request is made, whoever asks for it. A node that only looks at another cluster's
//! bucket has no other one.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// Why not.
const REFUSED: &str = "this node only reads the bucket (--read-only) and changes nothing there";

fn refused() -> Error {
    Error::NotSupported {
        source: REFUSED.into(),
    }
}

/// The reading half of a storage.
#[derive(Debug)]
pub(super) struct ReadOnly(Arc<dyn ObjectStore>);

impl ReadOnly {
    pub(super) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self(store)
    }
}

impl fmt::Display for ReadOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (read-only)", self.0)
    }
}

#[async_trait]
impl ObjectStore for ReadOnly {
    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(refused())
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(refused())
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        locations.map(|_| Err(refused())).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(refused())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path as FilePath;
    use std::sync::Arc;

    use crate::archive::{
        ArchiveKind, ArchiveMetrics, ArchiveSettings, Bucket, ClusterRecord, Upload,
    };
    use crate::runtime::{Clock, SystemClock};

    fn bucket(directory: &FilePath, read_only: bool) -> Bucket {
        let mut settings = ArchiveSettings {
            read_only,
            ..ArchiveSettings::default()
        };
        settings.main.kind = ArchiveKind::Local;
        settings.local.path = Some(directory.to_owned());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let bucket = Bucket::open(&settings, &clock, ArchiveMetrics::default());
        bucket.unwrap().unwrap()
    }

    fn content(directory: &FilePath) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(content(&path));
            } else {
                let name = path.display().to_string();
                found.push((name, std::fs::read(&path).unwrap()));
            }
        }
        found.sort();
        found
    }

    /// Would catch a way to change the bucket that is not refused.
    #[tokio::test]
    async fn whatever_changes_the_bucket_is_refused_and_reading_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let own = bucket(directory.path(), false);
        let record = ClusterRecord {
            cluster: 7,
            ancestors: Vec::new(),
        };
        record.write(&own).await.unwrap();
        own.put("a/b", "some bytes".into()).await.unwrap();
        let before = content(directory.path());
        let other = bucket(directory.path(), true);
        let names = ["a/b".to_owned(), "a/c".to_owned()];
        let heir = ClusterRecord {
            cluster: 8,
            ancestors: vec![7],
        };
        let mut upload = Upload::new(&other, "a/c".to_owned());
        let large = upload.write(&vec![0; 11 << 20]).await;
        let refusals = [
            other.put("a/b", "other".into()).await.err(),
            other.put("a/c", "more".into()).await.err(),
            other.delete("a/b").await.err(),
            other.delete_all(&names).await.err(),
            heir.write(&other).await.err(),
            large.err(),
        ];
        for (nth, refusal) in refusals.into_iter().enumerate() {
            let text = refusal.map(|error| error.to_string()).unwrap_or_default();
            assert!(text.contains("only reads the bucket"), "{nth}: {text}");
        }
        assert_eq!(content(directory.path()), before);
        other.probe().await.unwrap();
        assert_eq!(ClusterRecord::read(&other).await.unwrap(), Some(record));
        let bytes = other.read("a/b", 5..10).await.unwrap().unwrap();
        assert_eq!(&*bytes, b"bytes");
        let mut listed = 0;
        other.list("a", |_| listed += 1).await.unwrap();
        assert_eq!(listed, 1);
    }
}
