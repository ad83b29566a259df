//! Calls between nodes over gRPC: credentials on every request and every answer, checked before a
//! service sees anything; bounds on whatever comes from outside; mutual TLS where it is set.

mod answers;
mod connection;
mod credentials;
mod door;
mod driven;
mod envelope;
mod error;
mod identity;
mod lane;
mod limits;
mod link;
mod metrics;
mod reason;
mod refusals;
mod server;
mod sessions;
mod sniff;
mod status;
#[cfg(test)]
mod tests;
mod tls;
mod transport;
mod verifier;
mod wiring;

pub use credentials::{Credentials, CredentialsError};
pub use envelope::{decode_envelope, encode_envelope};
pub use error::PeerSetupError;
pub use identity::Identity;
pub use limits::PEER_MESSAGE_BYTES_MAX;
pub use metrics::PeerMetrics;
pub use server::PeerServer;
pub use tls::PeerTls;
pub use transport::GrpcTransport;
pub use wiring::PeerWiring;
