//! Our own log lines: human or JSON, on standard error.
//!
//! The text of a line is constant; what varies stands in fields with fixed names, listed in
//! `docs/reference/log-fields.md`.

use std::fmt;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use super::{RawValue, Setting};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

impl Setting for LogFormat {
    const FORM: &'static str = "\"human\" or \"json\"";

    fn read(raw: &RawValue) -> Result<Self, String> {
        match raw.to_string().as_str() {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            other => Err(format!(
                "{other:?} is no log format: write \"human\" or \"json\""
            )),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Human => "human",
            Self::Json => "json",
        }
        .to_owned()
    }
}

crate::settings! {
    /// What the process writes to standard error.
    pub struct LogSettings at "telemetry." {
        /// How log lines look: for people, or one JSON object a line for a log collector.
        format: LogFormat = LogFormat::Human,
        /// What is logged: `error`, `warn`, `info` or `debug`, also by part, such as
        /// `info,cairn::query=debug`.
        level: String = "info".to_owned(),
    }
}

/// Why logging could not be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogError(String);

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LogError {}

/// Starts logging for this process.
///
/// # Errors
/// When the level cannot be read, or logging runs already.
pub fn start_logging(settings: &LogSettings) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(&settings.level).map_err(|error| {
        LogError(format!(
            "telemetry.level = {:?} cannot be read ({error}): write \"info\" or \"info,cairn::query=debug\"",
            settings.level
        ))
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_writer(std::io::stderr);
    let started = match settings.format {
        LogFormat::Human => lines
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .try_init(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .try_init(),
    };
    started.map_err(|error| LogError(format!("logging cannot be started: {error}")))
}
