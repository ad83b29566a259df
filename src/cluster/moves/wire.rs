//! `proto/moves.proto` as values.

use bytes::Bytes;
use prost::Message;

use super::conductor::Report;
use crate::cluster::peer::Refused;
use crate::model::{Epoch, RingArc};

mod message {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        reason = "written by prost from proto/moves.proto"
    )]
    include!(concat!(env!("OUT_DIR"), "/cairn.moves.v1.rs"));
}

pub(super) fn encode_request(arc: RingArc) -> Bytes {
    let request = message::MoveRequest {
        prefix: arc.prefix(),
        depth: u32::from(arc.depth()),
    };
    request.encode_to_vec().into()
}

pub(super) fn decode_request(bytes: Bytes) -> Result<RingArc, Refused> {
    let request = message::MoveRequest::decode(bytes);
    let request = request.map_err(|error| Refused::Invalid(error.to_string()))?;
    let depth = u8::try_from(request.depth).ok();
    depth
        .and_then(|depth| RingArc::new(request.prefix, depth))
        .ok_or_else(|| {
            Refused::Invalid(format!(
                "{:08x}/{} is no arc of the ring",
                request.prefix, request.depth
            ))
        })
}

pub(super) fn encode_report(report: &Report) -> Bytes {
    let report = message::MoveReport {
        epoch: report.epoch.0,
        gathered: report.gathered,
        version: report.version,
        missing_blocks: report.missing_blocks,
        missing_bytes: report.missing_bytes,
    };
    report.encode_to_vec().into()
}

pub(super) fn decode_report(bytes: Bytes) -> Result<Report, String> {
    let report = message::MoveReport::decode(bytes).map_err(|error| error.to_string())?;
    Ok(Report {
        epoch: Epoch(report.epoch),
        gathered: report.gathered,
        version: report.version,
        missing_blocks: report.missing_blocks,
        missing_bytes: report.missing_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard() {
        let arc = RingArc::new(0xa000_0000, 4).unwrap();
        assert_eq!(decode_request(encode_request(arc)), Ok(arc));
        for (prefix, depth) in [(1, 4), (0, 29), (0, 300)] {
            let wrong = message::MoveRequest { prefix, depth };
            assert!(decode_request(wrong.encode_to_vec().into()).is_err());
        }
        let report = Report {
            epoch: Epoch(7),
            gathered: true,
            version: 9,
            missing_blocks: 2,
            missing_bytes: 1 << 40,
        };
        assert_eq!(decode_report(encode_report(&report)), Ok(report));
        assert!(decode_report(Bytes::from_static(&[0xff])).is_err());
    }
}
