//! Nobody founds a cluster over a bucket that holds one: what lies there would be forgotten, and
//! whoever lost all disks would find an empty cluster instead of an answer.

use std::sync::Arc;

use super::archive::Archive;
use crate::archive::{self, Bucket, ClusterRecord};
use crate::cluster::control::FoundingLeave;
use crate::cluster::error::Error;
use crate::runtime::CancelToken;

/// Whether a cluster may be founded here, for a node that is alone.
///
/// # Errors
/// When the bucket holds a cluster, or cannot be asked.
pub(in crate::cluster) fn may_found(archive: &Archive, cancel: &CancelToken) -> Result<(), Error> {
    let look = archive.wait(cancel, look(&archive.bucket));
    match look {
        Ok(None) => Ok(()),
        Ok(Some(reason)) => Err(Error::Setting(reason)),
        Err(error) => Err(Error::Setting(format!(
            "no cluster is founded before the bucket was looked at: {error}"
        ))),
    }
}

/// The same, for nodes that found a cluster together.
pub(in crate::cluster) fn ask_leave(archive: &Archive) -> FoundingLeave {
    let bucket = archive.bucket();
    Arc::new(move || {
        let bucket = Arc::clone(&bucket);
        Box::pin(async move {
            match look(&bucket).await {
                Ok(None) => Ok(()),
                Ok(Some(reason)) => Err(reason),
                Err(error) => Err(format!(
                    "no cluster is founded before the bucket was looked at: {error}"
                )),
            }
        })
    })
}

/// Why not, if not.
async fn look(bucket: &Bucket) -> Result<Option<String>, archive::Error> {
    // Of a bucket that is not there nothing is there either.
    bucket.probe().await?;
    let record = ClusterRecord::read(bucket).await?;
    Ok(record.map(|record| {
        format!(
            "{bucket} holds the cluster {:032x} already: to have it back, run `cairn restore` on one node with this configuration, start that node, then the others; for a new cluster choose another archive.s3.prefix or an empty directory",
            record.cluster
        )
    }))
}
