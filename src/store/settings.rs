//! Settings of the store: how long data are kept, and how much of the disk stays free.

use std::time::Duration;

use crate::runtime::ByteSize;

crate::settings! {
    /// What is kept.
    pub struct RetentionSettings at "retention." {
        /// Samples older than this are deleted, a block at a time. Unset: nothing is deleted by
        /// age.
        total: Option<Duration> = None,
        /// Where there is an archive: blocks older than this leave this node's disk once the archive
        /// has them, and queries read them from there. Unset: they stay as long as
        /// `retention.local_size` lets them.
        local: Option<Duration> = None,
        /// What sealed blocks may take of this node's disk. Where there is an archive, the oldest
        /// leave the disk once the archive has them, and an eighth of this is for what queries
        /// fetched from there; without one, the oldest are deleted. Unset: no bound.
        local_size: Option<ByteSize> = None,
    }
}

crate::settings! {
    /// What of the disk stays free.
    pub struct DiskSettings at "disk." {
        /// With less than this free, writes are answered with 503 and the reason, until space is
        /// free again. Reads go on.
        min_free: ByteSize = ByteSize::mib(256),
        /// The size of the file `reserve` in the data directory. It is given up when others have
        /// filled the disk in spite of `disk.min_free`, so that what is in memory can still be
        /// sealed and the node can stop cleanly. 0: none.
        reserve: ByteSize = ByteSize::mib(32),
    }
}
