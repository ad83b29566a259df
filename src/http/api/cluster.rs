//! The cluster: nodes, partitions, moves, and what is wrong; and draining a node.

use crate::cluster::{ClusterStatus, Liveness, LossRow, MoveRow, NodeRow, PartitionRow};

use super::super::answer::{Remarks, Sink};
use super::super::json::{self, Fields};
use super::super::reply::ApiError;
use super::call::{Answered, Call};

/// `status/cluster`.
pub(in super::super) fn status(call: &Call, sink: &mut Sink) -> Answered {
    let cluster = call.state.status.cluster();
    write(sink.out(), &cluster);
    Ok(Remarks::default())
}

/// `admin/cluster/drain`.
pub(in super::super) fn drain(call: &Call, sink: &mut Sink) -> Answered {
    let node = named(call)?;
    let drain = flag(call, "drain", true)?;
    let done = call.state.status.drain(node, drain);
    done.map_err(ApiError::bad_data)?;
    let mut fields = Fields::new(sink.out());
    fields.text("node", node);
    fields.flag("draining", drain);
    fields.end();
    Ok(Remarks::default())
}

/// `admin/cluster/forget`.
pub(in super::super) fn forget(call: &Call, sink: &mut Sink) -> Answered {
    let node = named(call)?;
    let done = call.state.status.forget(node);
    done.map_err(ApiError::bad_data)?;
    let mut fields = Fields::new(sink.out());
    fields.text("node", node);
    fields.end();
    Ok(Remarks::default())
}

/// `admin/cluster/split`.
pub(in super::super) fn split(call: &Call, sink: &mut Sink) -> Answered {
    let split = call.state.status.split_ring();
    let arc = split.map_err(ApiError::bad_data)?;
    let mut fields = Fields::new(sink.out());
    fields.text("partition", &arc.to_string());
    fields.end();
    Ok(Remarks::default())
}

/// `admin/cluster/recover`.
pub(in super::super) fn recover(call: &Call, sink: &mut Sink) -> Answered {
    let accept = flag(call, "accept_loss", false)?;
    let loss = call.state.status.recover_ring(accept);
    let loss = loss.map_err(ApiError::bad_data)?;
    let mut fields = Fields::new(sink.out());
    json::list(fields.field("partitions"), &loss.partitions, write_loss);
    let nodes = loss.nodes.iter().map(String::as_str);
    json::texts(fields.field("nodes"), nodes);
    fields.flag("done", loss.done);
    fields.end();
    Ok(Remarks::default())
}

fn named(call: &Call) -> Result<&str, ApiError> {
    match call.params.get("node") {
        "" => Err(ApiError::bad_data(
            "name the node, by its name or incarnation: node=board-1",
        )),
        node => Ok(node),
    }
}

fn flag(call: &Call, name: &str, unless: bool) -> Result<bool, ApiError> {
    match call.params.get(name) {
        "" => Ok(unless),
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        other => Err(ApiError::bad_data(format!(
            "{name}={other:?}: write true or false"
        ))),
    }
}

fn write_loss(out: &mut Vec<u8>, row: &LossRow) {
    let mut fields = Fields::new(out);
    fields.text("arc", &row.arc.to_string());
    let members = row.members.iter().map(String::as_str);
    json::texts(fields.field("members"), members);
    let left = row.left.iter().map(String::as_str);
    json::texts(fields.field("left"), left);
    fields.flag("empty", row.empty);
    fields.number("lostBlocks", wide(row.lost_blocks));
    fields.end();
}

fn write(out: &mut Vec<u8>, cluster: &ClusterStatus) {
    let mut fields = Fields::new(out);
    fields.text("cluster", &cluster.cluster);
    fields.text("incarnation", &cluster.incarnation);
    if let Some(leader) = &cluster.leader {
        fields.text("leader", leader);
    }
    fields.number("applied", cluster.applied);
    fields.number("generation", cluster.generation);
    fields.number("featureLevel", u64::from(cluster.feature_level));
    fields.number("replicationFactor", wide(cluster.replication_factor));
    fields.number("underReplicated", wide(cluster.under_replicated));
    fields.number("unavailable", wide(cluster.unavailable));
    json::list(fields.field("nodes"), &cluster.nodes, write_node);
    let partitions = &cluster.partitions;
    json::list(fields.field("partitions"), partitions, write_partition);
    json::list(fields.field("moves"), &cluster.moves, write_move);
    if let Some(archive) = &cluster.archive {
        super::archive::write(fields.field("archive"), archive);
    }
    json::list(
        fields.field("scrub"),
        &cluster.scrub,
        super::archive::write_scrub,
    );
    json::list(
        fields.field("deletes"),
        &cluster.deletes,
        super::deletes::write,
    );
    let trouble = cluster.trouble.iter().map(String::as_str);
    json::texts(fields.field("trouble"), trouble);
    fields.end();
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn write_node(out: &mut Vec<u8>, node: &NodeRow) {
    let mut fields = Fields::new(out);
    fields.text("name", &node.name);
    fields.text("incarnation", &node.incarnation.to_string());
    fields.text("zone", &node.zone);
    fields.text("address", &node.address);
    fields.text("version", &node.version);
    let health = match node.liveness {
        Liveness::Live => "live",
        Liveness::Down => "down",
        Liveness::Gone => "gone",
    };
    fields.text("health", health);
    fields.flag("voter", node.voter);
    fields.flag("draining", node.draining);
    fields.number("holds", u64::from(node.holds));
    fields.number("willHold", u64::from(node.will_hold));
    fields.end();
}

fn write_partition(out: &mut Vec<u8>, partition: &PartitionRow) {
    let mut fields = Fields::new(out);
    fields.text("arc", &partition.arc.to_string());
    fields.number("epoch", partition.epoch);
    fields.number("version", partition.version);
    if let Some(applied) = partition.applied {
        fields.number("applied", applied);
    }
    fields.number("blocks", wide(partition.blocks));
    let members = partition.members.iter().map(String::as_str);
    json::texts(fields.field("members"), members);
    fields.number("live", wide(partition.live));
    fields.flag("available", partition.available);
    fields.end();
}

fn write_move(out: &mut Vec<u8>, step: &MoveRow) {
    let mut fields = Fields::new(out);
    fields.text("arc", &step.arc.to_string());
    if let Some(join) = &step.join {
        fields.text("join", join);
    }
    if let Some(leave) = &step.leave {
        fields.text("leave", leave);
    }
    fields.flag("begun", step.begun);
    if let Some(missing) = step.missing_bytes {
        fields.number("missingBytes", missing);
    }
    fields.end();
}
