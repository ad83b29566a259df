//! `cairn recover control`: a survivor's data directory is opened by itself, without the node.

use std::path::Path;
use std::sync::Arc;

use super::control::{Survivor, rebuild};
use super::error::Error;
use crate::runtime::Chance;
use crate::store::{DataDir, Engine, RocksEngine};

/// Block files that are open at a time: none is needed.
const OPEN_FILES_MAX: i32 = 64;
/// Memory for what is read of the engine.
const CACHE_BYTES: usize = 8 << 20;

/// Says how far the control log in a data directory goes, or rebuilds the control group from it
/// without `lost`.
///
/// # Errors
/// When the directory is in use or not a node's, belongs to no group, or the group does not need it.
pub fn recover_control(
    data_dir: &Path,
    lost: &[String],
    accept_loss: bool,
    chance: &dyn Chance,
) -> Result<Survivor, Error> {
    if !data_dir.join("identity").exists() {
        return Err(Error::Setting(format!(
            "{} is no node's data directory",
            data_dir.display()
        )));
    }
    let directory = DataDir::open(data_dir, chance)?;
    let path = directory.path().join("engine");
    let engine: Arc<dyn Engine> = Arc::new(RocksEngine::open(&path, CACHE_BYTES, OPEN_FILES_MAX)?);
    Ok(rebuild(
        &engine,
        directory.incarnation(),
        lost,
        accept_loss,
    )?)
}
