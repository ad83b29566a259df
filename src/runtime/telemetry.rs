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

/// Changes what is logged, while the process runs.
pub struct LogLevel(Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>);

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogLevel")
    }
}

impl LogLevel {
    /// Logs by `settings.level` from now on.
    ///
    /// # Errors
    /// When the level cannot be read.
    pub fn set(&self, settings: &LogSettings) -> Result<(), LogError> {
        (self.0)(filter(settings)?).map_err(LogError)
    }
}

/// Whether a level can be read.
///
/// # Errors
/// When it cannot.
pub fn check_level(settings: &LogSettings) -> Result<(), LogError> {
    filter(settings).map(|_| ())
}

/// The levels there are.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

fn filter(settings: &LogSettings) -> Result<EnvFilter, LogError> {
    // A bare word that is no level would be taken for a part, and log everything of it.
    let mut words = settings.level.split(',').map(str::trim);
    let is_level = |word: &str| LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level));
    if let Some(word) = words.find(|word| !word.contains(['=', '[']) && !is_level(word)) {
        return Err(LogError(format!(
            "telemetry.level = {:?}: {word:?} is no level: write \"error\", \"warn\", \"info\" or \"debug\", or \"info,cairn::query=debug\"",
            settings.level
        )));
    }
    // The Raft library calls errors what is part of its life: a peer that is away, a vote that is
    // lost. What matters of it is said by whoever uses it. Who wants more names it.
    EnvFilter::try_new(format!("openraft=off,{}", settings.level)).map_err(|error| {
        LogError(format!(
            "telemetry.level = {:?} cannot be read ({error}): write \"info\" or \"info,cairn::query=debug\"",
            settings.level
        ))
    })
}

/// Starts logging for this process.
///
/// # Errors
/// When the level cannot be read, or logging runs already.
pub fn start_logging(settings: &LogSettings) -> Result<LogLevel, LogError> {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter(settings)?)
        .with_span_events(FmtSpan::NONE)
        .with_writer(std::io::stderr);
    let failed = |error: &dyn fmt::Display| LogError(format!("logging cannot be started: {error}"));
    match settings.format {
        LogFormat::Human => {
            let lines = lines
                .with_ansi(std::io::stderr().is_terminal())
                .with_target(false)
                .with_filter_reloading();
            let handle = lines.reload_handle();
            lines.try_init().map_err(|error| failed(&error))?;
            let set = move |filter| handle.reload(filter).map_err(|error| error.to_string());
            Ok(LogLevel(Box::new(set)))
        }
        LogFormat::Json => {
            let lines = lines
                .json()
                .flatten_event(true)
                .with_current_span(true)
                .with_filter_reloading();
            let handle = lines.reload_handle();
            lines.try_init().map_err(|error| failed(&error))?;
            let set = move |filter| handle.reload(filter).map_err(|error| error.to_string());
            Ok(LogLevel(Box::new(set)))
        }
    }
}
