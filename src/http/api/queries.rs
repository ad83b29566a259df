//! `status/queries` and `admin/queries/cancel`: what runs, on all nodes at once.
//!
//! A query is called `node/number`. Where tenancy is on, a tenant sees and calls off its own alone.

use crate::cluster::{CancelQueries, NodeQueries};
use crate::model::TenantId;
use crate::runtime::Underway;

use super::super::answer::{Remarks, Sink};
use super::super::json::{self, Fields};
use super::super::reply::ApiError;
use super::call::{Answered, Call};

/// `status/queries`.
pub(in super::super) fn list(call: &Call, sink: &mut Sink) -> Answered {
    let nodes = call.state.status.queries(None);
    Ok(write(&nodes, own(call), sink))
}

/// `admin/queries/cancel`.
pub(in super::super) fn cancel(call: &Call, sink: &mut Sink) -> Answered {
    let mut wanted = CancelQueries {
        tenant: own(call).cloned(),
        ..CancelQueries::default()
    };
    let id = call.params.get("id");
    if id != "all" {
        let named = id.rsplit_once('/');
        let Some((node, number)) = named.and_then(|(node, id)| Some((node, id.parse().ok()?)))
        else {
            let reason = format!("{id:?} is no query: name one as listed (board-1/7), or all");
            return Err(ApiError::parameter("id", reason));
        };
        wanted.node = Some(node.to_owned());
        wanted.id = Some(number);
    }
    let nodes = call.state.status.queries(Some(&wanted));
    if id != "all" && nodes.iter().all(|node| node.cancelled == 0) {
        let reason = format!("there is no query {id:?}: it may have ended");
        return Err(ApiError::parameter("id", reason));
    }
    Ok(write(&nodes, own(call), sink))
}

/// Whose queries are shown, if not everybody's.
fn own(call: &Call) -> Option<&TenantId> {
    call.state.tenancy.then_some(&call.tenant)
}

fn write(nodes: &[NodeQueries], own: Option<&TenantId>, sink: &mut Sink) -> Remarks {
    let mut remarks = Remarks::default();
    let mut fields = Fields::new(sink.out());
    let cancelled: usize = nodes.iter().map(|node| node.cancelled).sum();
    fields.number("cancelled", cancelled as u64);
    let shown = nodes.iter().flat_map(|node| {
        let running = node.running.iter().flatten();
        let shown = running.filter(|query| own.is_none_or(|own| *own == query.tenant));
        shown.map(|query| (node.node.as_str(), query))
    });
    json::list(fields.field("queries"), shown, write_query);
    fields.end();
    for node in nodes {
        if let Err(reason) = &node.running {
            let text = format!("{} does not say what it runs: {reason}", node.node);
            remarks.warnings.push(text);
        }
    }
    remarks
}

fn write_query(out: &mut Vec<u8>, (node, query): (&str, &Underway)) {
    let mut fields = Fields::new(out);
    fields.text("id", &format!("{node}/{}", query.id));
    fields.text("tenant", query.tenant.as_str());
    fields.text("query", &query.text);
    fields.flag("waiting", query.waiting);
    json::timestamp(fields.field("began"), query.began.0);
    let seconds = format!("{:.3}", query.took.as_secs_f64());
    fields
        .field("seconds")
        .extend_from_slice(seconds.as_bytes());
    fields.number("samples", query.samples_read);
    fields.number("peakMemoryBytes", query.peak_memory_bytes);
    fields.end();
}
