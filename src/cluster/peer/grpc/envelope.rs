//! The envelope of `proto/peer.proto`, and gRPC's two ends that the build makes of it.

use bytes::Bytes;
use prost::Message as _;

use crate::cluster::peer::{Method, Refused};

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::excessive_nesting,
    clippy::too_many_lines,
    reason = "written by the build"
)]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/cairn.peer.v1.rs"));
}

pub(super) use wire::Message;
pub(super) use wire::peer_client::PeerClient as Client;
pub(super) use wire::peer_server::{Peer as Answers, PeerServer as Answerer};

impl Message {
    /// A question.
    pub(super) fn ask(method: Method, body: Bytes) -> Self {
        Self {
            method: u32::from(method.number()),
            body,
        }
    }

    /// An answer, or a further message of a stream.
    pub(super) const fn more(body: Bytes) -> Self {
        Self { method: 0, body }
    }

    /// What is asked.
    pub(super) fn asked(&self) -> Result<Method, Refused> {
        let known = u16::try_from(self.method).ok().and_then(Method::of);
        known.ok_or_else(|| {
            Refused::Invalid(format!(
                "method {} is not known here: the caller runs another version",
                self.method
            ))
        })
    }
}

/// Reads an envelope as gRPC does: the number of what is asked, and the body. For fuzz targets.
///
/// # Errors
/// What cannot be read.
pub fn decode_envelope(bytes: Bytes) -> Result<(u32, Bytes), String> {
    let message = Message::decode(bytes).map_err(|error| error.to_string())?;
    if let Ok(method) = message.asked() {
        debug_assert_eq!(u32::from(method.number()), message.method);
    }
    Ok((message.method, message.body))
}

/// Writes an envelope as gRPC does.
#[must_use]
pub fn encode_envelope(method: u32, body: Bytes) -> Vec<u8> {
    Message { method, body }.encode_to_vec()
}
