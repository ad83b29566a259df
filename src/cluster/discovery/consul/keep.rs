//! Keeps this node registered: registers when it starts, looks every few minutes whether the
//! agent still knows, and looks at once when the watch has met a restarted agent.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::api::Api;
use super::registration::Registration;
use crate::cluster::discovery::DiscoveryError;
use crate::cluster::discovery::sightings::Sightings;
use crate::runtime::{Backoff, Chance, jittered};

/// How often the agent is asked whether it still knows this node.
const LOOK_EVERY: Duration = Duration::from_secs(180);

/// Pauses after failures: from the first to the longest.
const AWAY_FIRST: Duration = Duration::from_secs(2);
const AWAY_MAX: Duration = Duration::from_secs(60);

const ACTIVITY: &str = "registering";

/// What the loop works with.
pub(super) struct Keep {
    pub(super) api: Arc<Api>,
    pub(super) services: [Registration; 2],
    pub(super) sightings: Arc<Sightings>,
    pub(super) chance: Arc<dyn Chance>,
    pub(super) doubt: Arc<Notify>,
}

impl Keep {
    /// Keeps until told to stop. A request under way is brought to its end, so that none of them
    /// arrives after the node has been taken off.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut backoff = Backoff::new(AWAY_FIRST, AWAY_MAX);
        let mut registered_once = false;
        loop {
            let outcome = if registered_once {
                self.mend().await
            } else {
                self.register_all().await
            };
            let pause = match outcome {
                Ok(()) => {
                    registered_once = true;
                    self.sightings.works(ACTIVITY);
                    backoff.reset();
                    jittered(LOOK_EVERY, &*self.chance)
                }
                Err(error) => {
                    self.sightings.fails(ACTIVITY, &error);
                    backoff.pause(&*self.chance)
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.doubt.notified() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            if *stop.borrow() {
                return;
            }
        }
    }

    /// Registers both, whatever the agent knows: what a crashed process left there counts as
    /// unhealthy until its next check.
    async fn register_all(&self) -> Result<(), DiscoveryError> {
        for service in &self.services {
            self.api.register(service).await?;
        }
        let [_, http] = &self.services;
        tracing::info!(service = http.id, "registered in consul");
        Ok(())
    }

    /// Registers what the agent does not know, or knows otherwise.
    async fn mend(&self) -> Result<(), DiscoveryError> {
        let [peer, http] = &self.services;
        let known = self.api.registered([&peer.name, &http.name]).await?;
        for service in &self.services {
            match known.get(&service.id) {
                Some(known) if service.is(known) => continue,
                Some(known) if service.is_taken_over(known) => tracing::warn!(
                    service = service.id,
                    "another node has registered under this node's name: give each its own node.name"
                ),
                Some(_) => tracing::info!(
                    service = service.id,
                    "the registration was changed; writing it again"
                ),
                None => tracing::info!(
                    service = service.id,
                    "consul has forgotten this node; registering again"
                ),
            }
            self.api.register(service).await?;
        }
        Ok(())
    }
}
