//! Answers the leader's questions about moves.

use std::sync::Arc;

use bytes::Bytes;

use super::mover::Mover;
use super::wire;
use crate::cluster::peer::{Caller, Method, Refused, Service, Serving};
use crate::runtime::on_thread;

/// Answers [`Method::Move`].
pub(in crate::cluster) struct MoveService(pub(in crate::cluster) Arc<Mover>);

impl Service for MoveService {
    fn call<'a>(&'a self, _: &'a Caller, _: Method, body: Bytes) -> Serving<'a, Bytes> {
        Box::pin(async move {
            let arc = wire::decode_request(body)?;
            let mover = Arc::clone(&self.0);
            let report = on_thread(move || mover.report(arc)).await;
            let report = report.map_err(|error| Refused::Unavailable(error.to_string()))?;
            let report = report.map_err(|error| Refused::Unavailable(error.to_string()))?;
            Ok(wire::encode_report(&report))
        })
    }
}
