//! How far a store's log is on the disk.

use super::error::Error;
use super::whole::Store;

impl Store {
    /// Whether an append might wait for the disk before it is taken.
    #[must_use]
    pub fn is_pressed(&self) -> bool {
        self.head.is_pressed()
    }

    /// Has the log go on behind a position, durably: others remember that it was there. To be called
    /// before anything is appended.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn jump_log(&self, beyond: u64) -> Result<(), Error> {
        self.head.jump(beyond)
    }

    /// The log position up to which everything may be acknowledged.
    #[must_use]
    pub fn durable_position(&self) -> u64 {
        self.head.durable_position()
    }

    /// Why this node will acknowledge no sample until it has restarted, if its log has failed.
    #[must_use]
    pub fn log_failure(&self) -> Option<String> {
        self.head.log_failure()
    }

    /// Waits until everything up to a log position is durable.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub async fn durable(&self, position: u64) -> Result<(), Error> {
        self.head.durable(position).await
    }

    /// The same, blocking the thread.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn wait_durable(&self, position: u64) -> Result<(), Error> {
        self.head.wait_durable(position)
    }
}
