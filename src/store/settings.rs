//! Settings of the store: how long data are kept, and how much of the disk stays free.

use std::time::Duration;

use crate::runtime::ByteSize;

crate::settings! {
    /// What is kept.
    pub struct RetentionSettings at "retention." {
        /// Samples older than this are deleted, a block at a time. Unset: nothing is deleted by
        /// age.
        total: Option<Duration> = None,
        /// When sealed blocks take more than this, the oldest are deleted. Unset: nothing is
        /// deleted by size.
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
