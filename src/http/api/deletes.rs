//! `admin/tsdb/...`: samples are deleted and shown again, and snapshots made, where the configuration
//! allows it.

use crate::cluster::{ControlError, DeleteRow, Deletes, Error};
use crate::model::{Samples, TimeRange};

use super::super::answer::{Remarks, Sink};
use super::super::json::{self, Fields};
use super::super::reply::{ApiError, Kind};
use super::call::{Answered, Call};

/// Prometheus' words.
const DISABLED: &str =
    "admin APIs disabled: set http.enable_admin_api = true, and mind who reaches the port";

fn enabled(call: &Call) -> Result<&Deletes, ApiError> {
    let admin = call.state.admin.as_ref();
    admin.ok_or_else(|| ApiError::new(Kind::Unavailable, DISABLED))
}

fn failed(error: &Error) -> ApiError {
    let kind = match error {
        Error::Setting(_) | Error::Control(ControlError::Refused { .. }) => Kind::BadData,
        _ => Kind::Unavailable,
    };
    ApiError::new(kind, error.to_string())
}

/// `delete_series`.
pub(in super::super) fn delete(call: &Call, sink: &mut Sink) -> Answered {
    let deletes = enabled(call)?;
    if call.params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let range = call.range()?;
    let sets = call.matcher_sets();
    let sets = sets.map_err(|reason| ApiError::parameter("match[]", reason))?;
    if call.params.flag("dry_run")? {
        let range = TimeRange::new(range.start, range.end.min(call.state.clock.now()));
        let (mut series, mut samples) = (0u64, 0u64);
        let (context, mut read) = (call.context(), Samples::default());
        for matchers in sets {
            let selection = call.selection(matchers, range);
            let mut stream = call.state.source.select(&selection, &context)?;
            while stream.next(&mut read)?.is_some() {
                series += 1;
                samples += read.len() as u64;
            }
        }
        let mut fields = Fields::new(sink.out());
        fields.number("series", series);
        fields.number("samples", samples);
        fields.end();
        return Ok(Remarks::default());
    }
    for matchers in sets {
        let deleted = deletes.delete(&call.tenant, matchers, range);
        deleted.map_err(|error| failed(&error))?;
    }
    Ok(Remarks::default())
}

/// `clean_tombstones`.
pub(in super::super) fn clean(call: &Call, _: &mut Sink) -> Answered {
    let cleaned = enabled(call)?.clean(&call.tenant);
    cleaned.map_err(|error| failed(&error))?;
    Ok(Remarks::default())
}

/// `snapshot`.
pub(in super::super) fn snapshot(call: &Call, sink: &mut Sink) -> Answered {
    enabled(call)?;
    if call.params.flag("skip_head")? {
        return Err(ApiError::bad_data(
            "skip_head is not offered: what is in no block yet is in every snapshot",
        ));
    }
    let name = call.state.status.snapshot();
    let name = name.map_err(|reason| ApiError::new(Kind::Unavailable, reason))?;
    let mut fields = Fields::new(sink.out());
    fields.text("name", &name);
    fields.end();
    Ok(Remarks::default())
}

/// `tombstones`.
pub(in super::super) fn list(call: &Call, sink: &mut Sink) -> Answered {
    let rows = enabled(call)?.list(&call.tenant);
    json::list(sink.out(), &rows, write);
    Ok(Remarks::default())
}

/// `undelete`.
pub(in super::super) fn undo(call: &Call, _: &mut Sink) -> Answered {
    let deletes = enabled(call)?;
    let id = match call.params.get("id") {
        "" => {
            return Err(ApiError::bad_data(
                "name the delete: id=... as admin/tsdb/tombstones lists it",
            ));
        }
        id => id,
    };
    deletes
        .undo(&call.tenant, id)
        .map_err(|error| failed(&error))?;
    Ok(Remarks::default())
}

pub(super) fn write(out: &mut Vec<u8>, row: &DeleteRow) {
    let mut fields = Fields::new(out);
    fields.text("id", &row.id);
    fields.text("selector", &row.selector);
    for (name, time) in [
        ("start", row.range.start),
        ("end", row.range.end),
        ("at", row.at),
        ("undoUntil", row.undo_until),
    ] {
        fields.text(name, &time.0.to_string());
    }
    fields.flag("begun", row.begun);
    for (name, count) in [
        ("partitionsDone", row.partitions_done),
        ("partitions", row.partitions),
    ] {
        fields.number(name, u64::try_from(count).unwrap_or(u64::MAX));
    }
    fields.end();
}
