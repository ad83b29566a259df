//! What surrounds a member that has no peers.

use std::sync::Arc;

use crate::cluster::{Starting, World};
use crate::runtime::{CancelToken, Chance, Clock, Rush};

/// What a member without peers is handed of the world.
pub(super) fn world_of(clock: Arc<dyn Clock>, chance: Arc<dyn Chance>) -> World {
    World {
        clock,
        chance,
        runtime: idle_runtime(),
        cancel: CancelToken::new(),
        starting: Starting::default(),
        rush: Rush::new(2),
    }
}

/// A runtime on which nothing but requests to a bucket runs: nobody else is talked to.
fn idle_runtime() -> tokio::runtime::Handle {
    static IDLE: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
    let runtime = IDLE.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    });
    runtime.handle().clone()
}
