//! Whose a bucket is: one cluster's, and nothing is put into another's.

use super::archive::Archive;
use crate::archive::{self, ClusterRecord, Standing};
use crate::cluster::control::ControlState;
use crate::cluster::error::Error;
use crate::cluster::manifests::{Listed, Manifests, listed};
use crate::model::Uploaded;
use crate::runtime::CancelToken;

/// Makes sure that the bucket is a cluster's own, and makes it so where it is nobody's yet.
///
/// # Errors
/// When it is somebody else's, not the one that was used before, or cannot be used.
pub(super) fn own(
    archive: &Archive,
    state: &ControlState,
    manifests: &Manifests,
    cluster: u128,
    cancel: &CancelToken,
) -> Result<(), Error> {
    let bucket = &archive.bucket;
    // A bucket that is not there has no record either.
    archive.wait(cancel, bucket.probe())?;
    if let Some(reason) = bucket.clock_trouble() {
        tracing::warn!(%bucket, reason, "a clock is wrong");
    }
    let record = archive.wait(cancel, ClusterRecord::read(bucket))?;
    let foreign = match ClusterRecord::standing(record, cluster) {
        Standing::Own(_) => return Ok(()),
        Standing::Nobody => {
            // Of partitions whose manifest is not here the state has to do.
            let known = state.partitions.iter().map(|(arc, partition)| {
                let known = listed(manifests, *arc, partition);
                let known = known.unwrap_or_else(|_| Listed::of(partition, None));
                let entries = known.entries();
                let there = entries.filter(|entry| entry.uploaded != Uploaded::None);
                there.count()
            });
            match known.sum::<usize>() {
                0 => return take(archive, cluster, cancel),
                there => format!(
                    "{bucket} has no cluster.json, but {there} blocks of this cluster were put there: is it the right one, and is it mounted? Nothing is uploaded until it is"
                ),
            }
        }
        Standing::Restored(other) => format!(
            "this cluster was restored from {bucket} as the cluster {other:032x}: stop this one, nothing of it is uploaded any more"
        ),
        Standing::Other(other) => format!(
            "{bucket} holds another cluster, {other:032x}: choose another archive.s3.prefix or an empty directory"
        ),
    };
    Err(Error::Archive(archive::Error::Foreign(foreign)))
}

fn take(archive: &Archive, cluster: u128, cancel: &CancelToken) -> Result<(), Error> {
    let record = ClusterRecord {
        cluster,
        ancestors: Vec::new(),
    };
    archive.wait(cancel, record.write(&archive.bucket))?;
    tracing::info!(bucket = %archive, "the bucket is this cluster's from now on");
    Ok(())
}
