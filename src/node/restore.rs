//! A restore: the same settings and parts as a node's, without the node.

use std::sync::Arc;

use crate::cluster::{self, RestoreExtent, RestoreProgress, Restored};
use crate::config::Settings;
use crate::runtime::{SystemChance, SystemClock};

use super::Error;
use super::parts::Ground;
use super::run::runtime;

/// Prepares the data directory of some settings from their archive.
///
/// # Errors
/// When the directory is not empty, or the bucket does not give what is needed.
pub fn restore(
    settings: Settings,
    extent: RestoreExtent,
    show: &dyn Fn(RestoreProgress),
) -> Result<Restored, Error> {
    let clock = Arc::new(SystemClock::new());
    let ground = Ground::new(settings, clock, Arc::new(SystemChance));
    let runtime = runtime()?;
    let (settings, world) = (ground.member_settings(), ground.world(runtime.handle()));
    Ok(cluster::restore(&settings, &world, extent, show)?)
}
