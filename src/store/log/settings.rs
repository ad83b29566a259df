//! What can be set of the log.

use std::time::Duration;

use crate::runtime::{ByteSize, RawValue, Setting};

/// When an append counts as durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SyncMode {
    /// After `fdatasync`.
    #[default]
    Fsync,
    /// After the write; `fdatasync` follows within an interval.
    Interval,
    /// After the write; the system decides when it reaches the disk.
    Os,
}

impl Setting for SyncMode {
    const FORM: &'static str = "\"fsync\", \"interval\" or \"os\"";

    fn read(raw: &RawValue) -> Result<Self, String> {
        match raw.to_string().as_str() {
            "fsync" => Ok(Self::Fsync),
            "interval" => Ok(Self::Interval),
            "os" => Ok(Self::Os),
            other => Err(format!(
                "{other:?} is no way to sync: write \"fsync\", \"interval\" or \"os\""
            )),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Fsync => "fsync",
            Self::Interval => "interval",
            Self::Os => "os",
        }
        .to_owned()
    }
}

crate::settings! {
    /// The log that makes samples durable before they are acknowledged.
    pub struct WriteLogSettings at "log." {
        /// What an acknowledgement promises: `fsync`: the samples are on the disk; `interval`: they
        /// are within `log.sync_interval` (a power cut loses what came since); `os`: they are when
        /// the system decides. A crash of Cairn alone loses nothing in any of them.
        sync: SyncMode = SyncMode::Fsync,
        /// How long samples may be in memory only when `log.sync` is `interval`.
        sync_interval: Duration = Duration::from_millis(200),
        /// The size of a log file, 8 MiB to 1 GiB; what lies outside counts as the nearest. Files are
        /// zeroed once and used again and again.
        segment_size: ByteSize = ByteSize(16 << 20)
    }
}
