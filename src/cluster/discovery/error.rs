//! Why peers cannot be found.

use super::metrics::Operation;

/// What a caller can do about it is the variant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// The configuration, or a file that it names, has to be changed.
    #[error("{key} = {value:?} cannot be used: {reason}")]
    Setting {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is wrong, and what to write instead.
        reason: String,
    },
    /// The backend is away; it is asked again by itself.
    #[error("{operation}: {place} gives no answer ({reason}); it is asked again")]
    Away {
        /// What was asked.
        operation: Operation,
        /// Who was asked.
        place: String,
        /// What happened.
        reason: String,
    },
    /// The backend is there and says no: mostly a matter of its access rules.
    #[error(
        "{operation}: {place} refuses with status {status} ({reason}); check the token and its policy"
    )]
    Refused {
        /// What was asked.
        operation: Operation,
        /// Who was asked.
        place: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        reason: String,
    },
    /// The backend answered something else than what was asked for.
    #[error(
        "{operation}: {place} gives an answer that cannot be read ({reason}); is it what the configuration says?"
    )]
    Answer {
        /// What was asked.
        operation: Operation,
        /// Who was asked.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another node is founding at this moment: ask again in a second or two.
    #[error("another node holds the founding lock: its decision will be there in a moment")]
    Held,
}
