//! Sealing and uploading now, and how far it is.

use crate::cluster::{ArchiveStatus, ScrubStatus};

use super::super::answer::{Remarks, Sink};
use super::super::json::{self, Fields};
use super::call::{Answered, Call};

/// `admin/flush`.
pub(in super::super) fn flush(call: &Call, sink: &mut Sink) -> Answered {
    let order = call.state.status.order_flush();
    let mut fields = Fields::new(sink.out());
    fields.number("order", order);
    fields.end();
    Ok(Remarks::default())
}

/// `status/flush`.
pub(in super::super) fn status(call: &Call, sink: &mut Sink) -> Answered {
    let flush = call.state.status.flush();
    let mut fields = Fields::new(sink.out());
    fields.number("ordered", flush.ordered);
    fields.number("done", flush.done);
    fields.number("failed", flush.failed);
    fields.number("unsealedSamples", flush.unsealed_samples);
    if let Some(archive) = &flush.archive {
        write(fields.field("archive"), archive);
    }
    fields.end();
    Ok(Remarks::default())
}

pub(super) fn write(out: &mut Vec<u8>, archive: &ArchiveStatus) {
    let mut fields = Fields::new(out);
    fields.text("place", &archive.place);
    fields.number("waitingBlocks", archive.waiting_blocks);
    fields.number("waitingBytes", archive.waiting_bytes);
    fields.number("waitingSeconds", archive.waiting_seconds);
    fields.number("waitingCatalogs", archive.waiting_catalogs);
    if let Some(trouble) = &archive.trouble {
        fields.text("trouble", trouble);
    }
    fields.end();
}

/// What the scrub of one kind of copies has found.
pub(super) fn write_scrub(out: &mut Vec<u8>, scrub: &ScrubStatus) {
    let mut fields = Fields::new(out);
    fields.text("copies", scrub.copies);
    fields.number("beganMs", u64::try_from(scrub.began_ms).unwrap_or(0));
    fields.number("roundSeconds", scrub.round_seconds);
    fields.number("bytes", scrub.bytes);
    fields.number("found", scrub.found);
    fields.number("healed", scrub.healed);
    let unhealed = scrub.unhealed.iter().map(String::as_str);
    json::texts(fields.field("unhealed"), unhealed);
    fields.end();
}
