//! `admin/verify` and `status/verify`: the copies of all blocks on all nodes are read and compared
//! with the catalog, and how far that is.

use crate::cluster::{
    NodeVerified, Verified, VerifyFault, VerifyOrder, VerifyReport, VerifyStage, VerifyStanding,
};
use crate::runtime::{ByteSize, RawValue, Setting};

use super::super::answer::{Remarks, Sink};
use super::super::json::{self, Fields};
use super::super::reply::ApiError;
use super::call::{Answered, Call};

/// Where the request does not say how fast: an eighth of what a SATA disk of a small board reads, a
/// quarter of its gigabit.
const RATE: ByteSize = ByteSize::mib(32);

/// `admin/verify`.
pub(in super::super) fn order(call: &Call, sink: &mut Sink) -> Answered {
    let order = if call.params.flag("call_off")? {
        VerifyOrder::CallOff
    } else {
        let rate = match call.params.get("rate") {
            "" => RATE,
            text => ByteSize::read(&RawValue::Text(text.to_owned()))
                .map_err(|reason| ApiError::parameter("rate", reason))?,
        };
        if rate.0 == 0 {
            let reason = "0 reads nothing: write 32MiB for so much a second on each node";
            return Err(ApiError::parameter("rate", reason));
        }
        VerifyOrder::Begin {
            bytes_per_second: rate.0,
        }
    };
    let verified = call.state.status.verification(Some(order));
    write(sink.out(), &verified);
    Ok(Remarks::default())
}

/// `status/verify`.
pub(in super::super) fn status(call: &Call, sink: &mut Sink) -> Answered {
    let verified = call.state.status.verification(None);
    write(sink.out(), &verified);
    Ok(Remarks::default())
}

fn write(out: &mut Vec<u8>, verified: &Verified) {
    let mut fields = Fields::new(out);
    // As a text: not every reader of JSON has 64 bits.
    fields.text("order", &format!("{:016x}", verified.order));
    fields.flag("over", verified.over);
    json::list(fields.field("nodes"), &verified.nodes, write_node);
    let unseen = verified.unseen.iter().map(String::as_str);
    json::texts(fields.field("unseen"), unseen);
    fields.end();
}

fn write_node(out: &mut Vec<u8>, node: &NodeVerified) {
    let mut fields = Fields::new(out);
    fields.text("node", &node.node);
    match &node.standing {
        VerifyStanding::Has(report) => write_report(&mut fields, report),
        VerifyStanding::Lost => fields.text("stage", "lost"),
        VerifyStanding::Down => fields.text("stage", "down"),
        VerifyStanding::Silent(reason) => {
            fields.text("stage", "silent");
            fields.text("reason", reason);
        }
    }
    fields.end();
}

fn write_report(fields: &mut Fields<'_>, report: &VerifyReport) {
    let stage = match report.stage {
        VerifyStage::Waiting => "waiting",
        VerifyStage::Running => "running",
        VerifyStage::Done => "done",
        VerifyStage::CalledOff => "called off",
    };
    fields.text("stage", stage);
    fields.number("bytes", report.bytes);
    fields.number("bytesAll", report.bytes_all);
    fields.number("blocks", report.blocks);
    fields.number("objects", report.objects);
    fields.number("elsewhere", report.elsewhere);
    fields.number("waiting", report.waiting);
    fields.number("faultsAll", report.faults_all);
    json::list(fields.field("faults"), &report.faults, write_fault);
}

fn write_fault(out: &mut Vec<u8>, fault: &VerifyFault) {
    let mut fields = Fields::new(out);
    fields.text("partition", &fault.arc.to_string());
    if let Some((id, range)) = fault.block {
        fields.text("block", &id.to_string());
        json::whole(fields.field("start"), range.start.0);
        // As in `status/tsdb/blocks`, ends are exclusive.
        json::whole(fields.field("end"), range.end.plus_ms(1).0);
    }
    fields.text("copy", if fault.in_bucket { "bucket" } else { "local" });
    fields.text("problem", &fault.problem);
    fields.end();
}
