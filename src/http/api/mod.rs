//! The endpoints below `/api/v1`, one file per group. Each is a plain function that runs on a pool
//! thread: it reads parameters, asks engine or source, and writes its data as JSON.

pub(super) mod archive;
pub(super) mod call;
pub(super) mod cluster;
pub(super) mod deletes;
pub(super) mod empty;
pub(super) mod federate;
pub(super) mod metadata;
pub(super) mod plain_call;
pub(super) mod queries;
pub(super) mod query;
pub(super) mod remote_read;
pub(super) mod series;
pub(super) mod status;
pub(super) mod text;
pub(super) mod verify;
pub(super) mod write;
