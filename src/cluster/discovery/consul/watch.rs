//! The watch: one loop per datacenter that asks who is healthy and writes down what changed.

use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::api::Api;
use super::follow::Follow;
use crate::cluster::discovery::sightings::Sightings;
use crate::runtime::Chance;

/// What a loop works with.
pub(super) struct Watch {
    pub(super) api: Arc<Api>,
    pub(super) service: String,
    /// `None`: the agent's own.
    pub(super) datacenter: Option<String>,
    pub(super) sightings: Arc<Sightings>,
    pub(super) chance: Arc<dyn Chance>,
    /// Told when the agent, or the servers, may have forgotten this node.
    pub(super) doubt: Arc<Notify>,
}

impl Watch {
    /// Watches until told to stop.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        let source = self.datacenter.clone().unwrap_or_default();
        let activity = match &self.datacenter {
            Some(datacenter) => format!("watching {datacenter}"),
            None => "watching".to_owned(),
        };
        let mut follow = Follow::new();
        loop {
            let asking = self
                .api
                .watch(&self.service, self.datacenter.as_deref(), follow.index());
            let answer = tokio::select! {
                answer = asking => answer,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let pause = match answer {
                Ok(watched) => {
                    let next = follow.answered(watched.index, self.api.now(), &*self.chance);
                    self.sightings.seen(&source, watched.peers);
                    if self.sightings.works(&activity) || next.went_back {
                        self.doubt.notify_one();
                    }
                    next.pause
                }
                Err(error) => {
                    self.sightings.fails(&activity, &error);
                    follow.failed(&*self.chance)
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }
}
