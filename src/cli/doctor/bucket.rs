//! The bucket: whether it is there, takes this machine's key, and agrees on the time.

use super::{Finding, Patient};
use crate::node::{BucketSeen, look_at_bucket};

pub(super) fn examine(patient: &Patient) -> Option<Finding> {
    let finding = match look_at_bucket(&patient.settings)? {
        Ok(seen) => well(&seen),
        Err(error) => Finding::fail(
            "bucket",
            error,
            "blocks are sealed and wait on the disks until it can be used",
        ),
    };
    Some(finding)
}

fn well(seen: &BucketSeen) -> Finding {
    if let Some(trouble) = &seen.clock {
        let remedy = "NTP sets it: `timedatectl`; most storages refuse every request until then";
        return Finding::fail("bucket", trouble.clone(), remedy);
    }
    let whose = match &seen.cluster {
        Some(cluster) => format!("holds the cluster {cluster}"),
        None => "is nobody's yet".to_owned(),
    };
    Finding::ok("bucket", format!("{} answers and {whose}", seen.place))
}
