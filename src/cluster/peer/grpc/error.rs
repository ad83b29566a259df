//! Why the wire cannot be set up.

/// What a person can do about it is the variant.
#[derive(Debug, thiserror::Error)]
pub enum PeerSetupError {
    /// A setting, or the file that it names.
    #[error("{key} = {value:?}: {reason}")]
    Setting {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The port.
    #[error(
        "cannot listen for peers on {address}: {reason}; is another cairn running, or peer.listen taken?"
    )]
    Listen {
        /// Where.
        address: String,
        /// What the system says.
        reason: String,
    },
}
