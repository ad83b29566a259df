//! How the server itself fails. What single requests fail of stands in `reply.rs`.

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is no address.
    #[error("http.listen = {listen:?} is no address: write it as \"0.0.0.0:9009\" ({reason})")]
    Address {
        /// What was set.
        listen: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Somebody else listens there.
    #[error(
        "{listen} is in use: another program, perhaps another Cairn, listens there; stop it or set http.listen"
    )]
    Taken {
        /// The address.
        listen: String,
    },
    /// The system does not let us listen there.
    #[error("cannot listen at {listen}: {reason}; choose another http.listen")]
    Listen {
        /// The address.
        listen: String,
        /// What the system says.
        reason: String,
    },
}
