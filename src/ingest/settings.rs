//! What can be set about samples that arrive.

use std::time::Duration;

use crate::runtime::ByteSize;

crate::settings! {
    /// What senders may send. The names are those that Grafana Mimir's users know, where there is one.
    pub struct IngestSettings at "ingest." {
        /// The largest body of a write as it comes over the wire, compressed. A larger one is
        /// answered with 413.
        max_recv_msg_size: ByteSize = ByteSize::mib(32),
        /// The largest body of a write after decompression. A larger one is answered with 413
        /// before memory is taken for it.
        max_decompressed_size: ByteSize = ByteSize::mib(64),
        /// How far ahead of this node's clock a sample may be. Beyond it, it is refused with 400.
        creation_grace_period: Duration = Duration::from_secs(600),
        /// The most labels of one series.
        max_label_names_per_series: usize = 128,
        /// The longest label name, in bytes.
        max_label_name_length: usize = 1024,
        /// The longest label value, in bytes.
        max_label_value_length: usize = 8192,
        /// The most buckets of one native histogram, both sides together.
        max_native_histogram_buckets: usize = 10_000,
        /// The most series that may be active at a time: those with samples that no block holds
        /// yet. A new one beyond it is refused with 400, samples of known ones are taken. New
        /// ones are also refused when labels and index take a fifth of `memory_limit`.
        max_series: usize = 10_000_000,
        /// How often this node stores its own metrics. `0s`: never.
        self_scrape_interval: Duration = Duration::from_secs(15),
    }
}
