//! Orders and reports as bytes: `proto/verify.proto`.

use bytes::Bytes;
use prost::{DecodeError, Message};

use super::report::{Order, VerifyFault, VerifyReport, VerifyStage};
use crate::model::{BlockId, RingArc, TimeRange, TimestampMs};

mod message {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::derive_partial_eq_without_eq,
        reason = "written by prost from proto/verify.proto"
    )]
    include!(concat!(env!("OUT_DIR"), "/cairn.verify.v1.rs"));
}

/// Faults of one answer: far more than are told.
const FAULTS_MAX: usize = 10_000;
/// Partitions of one answer: sixteen times as many as a thousand nodes have.
const COVERED_MAX: usize = 1 << 16;

/// What a peer wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// To know how far it is.
    HowFar,
    /// This to be done.
    Begin(Order),
    /// What was ordered not to be done any more.
    CallOff,
}

pub(super) fn encode_request(asked: Asked) -> Bytes {
    let message = match asked {
        Asked::HowFar => message::VerifyRequest::default(),
        Asked::Begin(order) => message::VerifyRequest {
            order: order.number,
            bytes_per_second: order.bytes_per_second,
            applied: order.applied,
            call_off: false,
        },
        Asked::CallOff => message::VerifyRequest {
            call_off: true,
            ..message::VerifyRequest::default()
        },
    };
    message.encode_to_vec().into()
}

pub(super) fn decode_request(body: Bytes) -> Result<Asked, DecodeError> {
    let request = message::VerifyRequest::decode(body)?;
    if request.call_off {
        return Ok(Asked::CallOff);
    }
    if request.order == 0 {
        return Ok(Asked::HowFar);
    }
    Ok(Asked::Begin(Order {
        number: request.order,
        bytes_per_second: request.bytes_per_second,
        applied: request.applied,
    }))
}

pub(super) fn encode_report(report: &VerifyReport) -> Bytes {
    let stage = match report.stage {
        VerifyStage::Waiting => message::Stage::Waiting,
        VerifyStage::Running => message::Stage::Running,
        VerifyStage::Done => message::Stage::Done,
        VerifyStage::CalledOff => message::Stage::CalledOff,
    };
    let covered = report.covered.iter();
    let message = message::VerifyAnswer {
        order: report.order,
        stage: stage.into(),
        bytes: report.bytes,
        bytes_all: report.bytes_all,
        blocks: report.blocks,
        objects: report.objects,
        elsewhere: report.elsewhere,
        waiting: report.waiting,
        faults: report.faults.iter().map(put_fault).collect(),
        faults_all: report.faults_all,
        covered: covered
            .map(|(arc, objects)| message::Covered {
                arc: Some(put_arc(*arc)),
                objects: *objects,
            })
            .collect(),
        has_bucket: report.has_bucket,
    };
    message.encode_to_vec().into()
}

pub(super) fn decode_report(body: Bytes) -> Result<VerifyReport, String> {
    let answer = message::VerifyAnswer::decode(body).map_err(|error| error.to_string())?;
    if answer.faults.len() > FAULTS_MAX || answer.covered.len() > COVERED_MAX {
        return Err("its answer is longer than any can be".to_owned());
    }
    let stage = match answer.stage() {
        message::Stage::Waiting => VerifyStage::Waiting,
        message::Stage::Running => VerifyStage::Running,
        message::Stage::Done => VerifyStage::Done,
        message::Stage::CalledOff => VerifyStage::CalledOff,
    };
    let faults = answer.faults.into_iter().map(take_fault);
    let covered = answer.covered.into_iter();
    let covered = covered.map(|one| Some((take_arc(one.arc)?, one.objects)));
    let wrong = || "it names what is no arc or no block".to_owned();
    Ok(VerifyReport {
        order: answer.order,
        stage,
        bytes: answer.bytes,
        bytes_all: answer.bytes_all,
        blocks: answer.blocks,
        objects: answer.objects,
        elsewhere: answer.elsewhere,
        waiting: answer.waiting,
        faults: faults.collect::<Option<_>>().ok_or_else(wrong)?,
        faults_all: answer.faults_all,
        covered: covered.collect::<Option<_>>().ok_or_else(wrong)?,
        has_bucket: answer.has_bucket,
    })
}

fn put_arc(arc: RingArc) -> message::Arc {
    message::Arc {
        prefix: arc.prefix(),
        depth: u32::from(arc.depth()),
    }
}

fn take_arc(arc: Option<message::Arc>) -> Option<RingArc> {
    let arc = arc?;
    RingArc::new(arc.prefix, u8::try_from(arc.depth).ok()?)
}

fn put_fault(fault: &VerifyFault) -> message::Fault {
    let mut message = message::Fault {
        arc: Some(put_arc(fault.arc)),
        in_bucket: fault.in_bucket,
        problem: fault.problem.clone(),
        ..message::Fault::default()
    };
    if let Some((id, range)) = fault.block {
        message.block = Bytes::copy_from_slice(&id.0.to_be_bytes());
        (message.start_ms, message.end_ms) = (range.start.0, range.end.0);
    }
    message
}

fn take_fault(fault: message::Fault) -> Option<VerifyFault> {
    let block = match fault.block.as_ref() {
        [] => None,
        bytes => {
            let id = BlockId(u128::from_be_bytes(bytes.try_into().ok()?));
            let (start, end) = (TimestampMs(fault.start_ms), TimestampMs(fault.end_ms));
            Some((id, TimeRange::new(start, end)))
        }
    };
    Some(VerifyFault {
        arc: take_arc(fault.arc)?,
        block,
        in_bucket: fault.in_bucket,
        problem: fault.problem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Window;

    #[test]
    fn orders_and_reports_are_heard_as_they_were_said() {
        let order = Order {
            number: u64::MAX,
            bytes_per_second: 3,
            applied: 9,
        };
        for asked in [Asked::HowFar, Asked::CallOff, Asked::Begin(order)] {
            assert_eq!(decode_request(encode_request(asked)), Ok(asked));
        }
        let arc = RingArc::new(0xa000_0000, 4).unwrap();
        let fault = |block| VerifyFault {
            arc,
            block,
            in_bucket: block.is_some(),
            problem: "its digest is another".to_owned(),
        };
        let block = (BlockId(u128::MAX - 5), Window(-3).range());
        let report = VerifyReport {
            order: 7,
            stage: VerifyStage::Done,
            bytes: 1,
            bytes_all: 2,
            blocks: 3,
            objects: 4,
            elsewhere: 5,
            waiting: 6,
            faults: vec![fault(None), fault(Some(block))],
            faults_all: 8,
            covered: vec![(arc, true), (arc, false)],
            has_bucket: true,
        };
        assert_eq!(decode_report(encode_report(&report)), Ok(report.clone()));
        let nothing = VerifyReport::default();
        assert_eq!(decode_report(encode_report(&nothing)), Ok(nothing));
        let mut bytes = encode_report(&report).to_vec();
        for cut in 1..bytes.len() {
            // Never a panic; a cut may be a shorter message.
            let _ = decode_report(Bytes::copy_from_slice(&bytes[..cut]));
        }
        bytes.fill(0xff);
        assert!(decode_report(bytes.into()).is_err());
    }
}
