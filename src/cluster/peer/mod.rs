//! What peers say to each other, as far as it does not matter what it is: methods, callers,
//! carriers of messages.
//!
//! A message is bytes under a [`Method`]; whoever owns the method owns the bytes (versioned
//! protobuf of `proto/`). A [`Transport`] carries them to a peer, a [`Service`] answers them there.
//! Who a peer is (cluster, incarnation, session) is checked below, before a service sees anything.
//! On the wire it is gRPC (`grpc`); `memory` carries the same calls within one process for tests.

mod grpc;
#[cfg(test)]
mod memory;
mod message;
mod service;
mod transport;
#[cfg(test)]
mod weather;

pub use grpc::{
    Credentials, CredentialsError, GrpcTransport, Identity, PEER_MESSAGE_BYTES_MAX, PeerMetrics,
    PeerServer, PeerSetupError, PeerTls, PeerWiring, decode_envelope, encode_envelope,
};
#[cfg(test)]
#[allow(
    unused_imports,
    reason = "tests of the parts that talk to peers use it"
)]
pub(super) use memory::MemoryNetwork;
pub use message::{Caller, Method, PeerError, Refused};
pub use service::{Service, Services};
pub use transport::{Answering, Blocking, Duplex, Incoming, Outgoing, Serving, Transport};
#[cfg(test)]
#[allow(unused_imports, reason = "the simulation uses it")]
pub(super) use weather::{Conditions, Hold, Weather};
