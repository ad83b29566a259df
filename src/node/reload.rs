//! Reading the configuration again while the node runs: by SIGHUP or `/-/reload`.
//!
//! What is wrong is refused as a whole and the old one stays in force. `telemetry.level` takes
//! effect at once; other keys that differ are named in the log, and wait for the next start.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::config::Settings;
use crate::model::TimestampMs;
use crate::runtime::{Clock, LogLevel};

/// Reads the settings from where they came from.
pub type ReadSettings = Box<dyn Fn() -> Result<Settings, String> + Send + Sync>;

/// The key that changes while the node runs.
const LIVE: &str = "telemetry.level";

/// What is needed for it, and how it went last.
pub(super) struct Reload {
    read: ReadSettings,
    level: LogLevel,
    in_force: Settings,
    clock: Arc<dyn Clock>,
    succeeded: AtomicBool,
    at_ms: AtomicI64,
}

impl Reload {
    pub(super) fn new(
        read: ReadSettings,
        level: LogLevel,
        in_force: Settings,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            read,
            level,
            in_force,
            succeeded: AtomicBool::new(true),
            at_ms: AtomicI64::new(clock.now().0),
            clock,
        }
    }

    /// Whether the last reading succeeded.
    pub(super) fn succeeded(&self) -> bool {
        self.succeeded.load(Ordering::Relaxed)
    }

    /// When it was last read with success.
    pub(super) fn configured(&self) -> TimestampMs {
        TimestampMs(self.at_ms.load(Ordering::Relaxed))
    }

    /// Reads it again.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn run(&self) -> Result<(), String> {
        let result = self.apply();
        self.succeeded.store(result.is_ok(), Ordering::Relaxed);
        match &result {
            Ok(()) => self.at_ms.store(self.clock.now().0, Ordering::Relaxed),
            Err(error) => {
                tracing::error!(%error, "the configuration was not read again: the old one stays in force")
            }
        }
        result
    }

    fn apply(&self) -> Result<(), String> {
        let fresh = (self.read)()?;
        self.level
            .set(&fresh.telemetry)
            .map_err(|error| error.to_string())?;
        let pairs = fresh.shown().into_iter().zip(self.in_force.shown());
        let waiting: Vec<String> = pairs
            .filter(|(new, old)| new != old && new.0 != LIVE)
            .map(|((key, _), _)| key)
            .collect();
        if waiting.is_empty() {
            tracing::info!("the configuration was read again");
        } else {
            let keys = waiting.join(", ");
            tracing::warn!(%keys, "the configuration was read again; these keys take effect at the next start");
        }
        Ok(())
    }
}
