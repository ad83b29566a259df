//! `metadata`: what metric families say of themselves.

use crate::model::Metadata;

use super::super::answer::{Remarks, Sink};
use super::super::json;
use super::call::{Answered, Call};

/// `metadata`: by family, for one or for all.
pub(in super::super) fn metadata(call: &Call, sink: &mut Sink) -> Answered {
    let params = &call.params;
    let limit = params.whole("limit", "limit must be a number")?;
    let per_metric = params.whole("limit_per_metric", "limit_per_metric must be a number")?;
    let family = Some(params.get("metric")).filter(|family| !family.is_empty());
    let source = &call.state.source;
    let mut found = source.metadata(&call.tenant, family, &call.context())?;
    if let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) {
        found.truncate(limit);
    }
    let per_metric = per_metric
        .and_then(|limit| usize::try_from(limit).ok())
        .filter(|limit| *limit > 0)
        .unwrap_or(usize::MAX);
    sink.out().push(b'{');
    for (at, (family, entries)) in found.iter().enumerate() {
        let out = sink.out();
        if at > 0 {
            out.push(b',');
        }
        json::key(out, family);
        json::list(out, entries.iter().take(per_metric), write_entry);
        sink.breathe()?;
    }
    sink.out().push(b'}');
    Ok(Remarks::default())
}

fn write_entry(out: &mut Vec<u8>, entry: &Metadata) {
    out.push(b'{');
    json::text_field(out, "type", entry.kind.name());
    out.push(b',');
    json::text_field(out, "help", &entry.help);
    out.push(b',');
    json::text_field(out, "unit", &entry.unit);
    out.push(b'}');
}
