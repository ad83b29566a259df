//! What is kept of why a cluster takes a data directory no more: it is an old image, or was given
//! up. The start that finds it out ends; the next one sets the directory aside.

use prost::Message;

use super::wire::{decode, messages as pb};
use crate::cluster::control::ControlError;
use crate::store::{Batch, Durability, Engine, Space};

/// Where it is kept that this directory is an old image.
const OLD_IMAGE_KEY: &[u8] = b"raft/old_image";
/// Where it is kept that the cluster has given this directory up.
const GIVEN_UP_KEY: &[u8] = b"raft/given_up";
/// The same in words.
const GIVEN_UP: &str = "the cluster has given this data directory up";

pub(super) fn rolled_back(image: pb::OldImage) -> ControlError {
    ControlError::RolledBack {
        what: match image.what {
            1 => "session counter",
            _ => "control log's end",
        },
        mine: image.mine,
        remembered: image.remembered,
        peer: image.peer,
    }
}

/// What was once found to be an old image stays one, although each start raises its counter.
pub(super) fn refuse_old_image(engine: &dyn Engine) -> Result<(), ControlError> {
    let Some(bytes) = engine.get(Space::Control, OLD_IMAGE_KEY)? else {
        return Ok(());
    };
    let image = decode::<pb::OldImage>(bytes.as_slice(), "the mark of an old image");
    let unreadable = |error| ControlError::Unreadable { index: 0, error };
    Err(rolled_back(image.map_err(unreadable)?))
}

/// Why the cluster takes this directory no more, however often it is started: it is to be set
/// aside.
///
/// # Errors
/// When it cannot be read.
pub(in crate::cluster) fn why_aside(engine: &dyn Engine) -> Result<Option<String>, ControlError> {
    if engine.get(Space::Control, GIVEN_UP_KEY)?.is_some() {
        return Ok(Some(GIVEN_UP.to_owned()));
    }
    match refuse_old_image(engine) {
        Ok(()) => Ok(None),
        Err(error @ ControlError::RolledBack { .. }) => Ok(Some(error.to_string())),
        Err(error) => Err(error),
    }
}

/// Notes that the cluster has given this directory up.
pub(super) fn note_given_up(engine: &dyn Engine) -> Result<(), ControlError> {
    let mut batch = Batch::new();
    batch.put(Space::Control, GIVEN_UP_KEY, b"");
    Ok(engine.write(batch, Durability::Synced)?)
}

/// Notes that this directory is an old image.
pub(super) fn note_old_image(
    engine: &dyn Engine,
    image: &pb::OldImage,
) -> Result<(), ControlError> {
    let mut batch = Batch::new();
    batch.put(Space::Control, OLD_IMAGE_KEY, &image.encode_to_vec());
    Ok(engine.write(batch, Durability::Synced)?)
}
