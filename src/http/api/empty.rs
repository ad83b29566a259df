//! Endpoints of things that this node does not have: rules, alerts, Alertmanagers, notifications.
//! They answer in Prometheus' form, because dashboards and Grafana ask for them.

use super::super::answer::{Remarks, Sink};
use super::super::reply::ApiError;
use super::call::{Answered, Call};

fn write(sink: &mut Sink, data: &[u8]) -> Answered {
    sink.out().extend_from_slice(data);
    Ok(Remarks::default())
}

/// `rules`.
pub(in super::super) fn rules(call: &Call, sink: &mut Sink) -> Answered {
    let token = call.params.get("group_next_token");
    if !token.is_empty() {
        return Err(ApiError::bad_data(format!(
            "invalid group_next_token '{token}'. were rule groups changed?"
        )));
    }
    write(sink, b"{\"groups\":[]}")
}

/// `alerts`.
pub(in super::super) fn alerts(_: &Call, sink: &mut Sink) -> Answered {
    write(sink, b"{\"alerts\":[]}")
}

/// `alertmanagers`.
pub(in super::super) fn alertmanagers(_: &Call, sink: &mut Sink) -> Answered {
    write(
        sink,
        b"{\"activeAlertmanagers\":[],\"droppedAlertmanagers\":[]}",
    )
}

/// `notifications`, `targets/metadata`: lists without anything in them.
pub(in super::super) fn list(_: &Call, sink: &mut Sink) -> Answered {
    write(sink, b"[]")
}
