//! Consul: this node registered with its agent, peers watched with blocking queries, and the
//! founding record in its key-value store. Nothing that grows with load or series is kept there.
//!
//! The client is our own, over hyper: `docs/decisions/0005-own-consul-client.md`.

mod api;
mod client;
mod follow;
mod founding;
mod keep;
mod registration;
#[cfg(test)]
mod tests;
mod tls;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch as channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::api::Api;
use self::client::Client;
use self::founding::Record;
use self::keep::Keep;
use self::watch::Watch;
use super::sightings::Sightings;
use super::{
    Announcement, ConsulSettings, Discovery, DiscoveryError, Founding, Later, Peer, Sighting,
    Surroundings,
};

/// The most datacenters that can be watched.
const DATACENTERS_MAX: usize = 16;

/// How long a loop may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// A node in Consul.
pub(super) struct Consul {
    api: Arc<Api>,
    record: Record,
    /// Ids of what is registered.
    ids: [String; 2],
    sightings: Arc<Sightings>,
    stop: channel::Sender<bool>,
    /// The loops; taken when they have been waited for.
    loops: Mutex<Vec<JoinHandle<()>>>,
}

impl Consul {
    /// Starts registering and watching.
    pub(super) fn open(
        settings: &ConsulSettings,
        node: &Announcement,
        surroundings: &Surroundings,
    ) -> Result<Self, DiscoveryError> {
        let services = registration::registrations(settings, node)?;
        let datacenters = datacenters(settings)?;
        let client = Client::new(settings, surroundings)?;
        let api = Arc::new(Api::new(client, settings.namespace.clone()));
        let sightings = Arc::new(Sightings::new(surroundings.metrics.clone()));
        let doubt = Arc::new(Notify::new());
        let stop = channel::Sender::new(false);
        let ids = services.each_ref().map(|service| service.id.clone());
        let keep = Keep {
            api: Arc::clone(&api),
            services,
            sightings: Arc::clone(&sightings),
            chance: Arc::clone(&surroundings.chance),
            doubt: Arc::clone(&doubt),
        };
        let mut loops = vec![tokio::spawn(keep.run(stop.subscribe()))];
        for datacenter in datacenters {
            let watch = Watch {
                api: Arc::clone(&api),
                service: registration::peer_service(settings),
                datacenter,
                sightings: Arc::clone(&sightings),
                chance: Arc::clone(&surroundings.chance),
                doubt: Arc::clone(&doubt),
            };
            loops.push(tokio::spawn(watch.run(stop.subscribe())));
        }
        Ok(Self {
            record: Record::new(Arc::clone(&api), settings, &node.name),
            api,
            ids,
            sightings,
            stop,
            loops: Mutex::new(loops),
        })
    }

    async fn withdraw(&self) {
        self.stop.send_replace(true);
        let loops = std::mem::take(&mut *self.loops.lock());
        for mut one in loops {
            if timeout(END_TIMEOUT, &mut one).await.is_err() {
                one.abort();
            }
        }
        let [peer, http] = &self.ids;
        let (peer, http) = tokio::join!(self.api.deregister(peer), self.api.deregister(http));
        match peer.and(http) {
            Ok(()) => tracing::info!("deregistered from consul"),
            Err(error) => tracing::warn!(
                %error,
                "this node stays registered in consul until its checks have failed for long enough"
            ),
        }
    }
}

/// Who is registered and healthy now.
pub(super) async fn look(
    settings: &ConsulSettings,
    surroundings: &Surroundings,
) -> Result<Vec<Peer>, DiscoveryError> {
    let client = Client::new(settings, surroundings)?;
    let api = Api::new(client, settings.namespace.clone());
    let service = registration::peer_service(settings);
    let mut peers = Vec::new();
    for datacenter in datacenters(settings)? {
        let found = api.watch(&service, datacenter.as_deref(), None).await?;
        peers.extend(found.peers);
    }
    Ok(peers)
}

/// The datacenters to watch; one `None` is the agent's own.
fn datacenters(settings: &ConsulSettings) -> Result<Vec<Option<String>>, DiscoveryError> {
    let named = &settings.datacenters;
    if named.len() > DATACENTERS_MAX {
        return Err(DiscoveryError::Setting {
            key: "discovery.consul.datacenters",
            value: named.join(","),
            reason: format!("at most {DATACENTERS_MAX} can be watched"),
        });
    }
    if named.is_empty() {
        return Ok(vec![None]);
    }
    Ok(named.iter().cloned().map(Some).collect())
}

impl Discovery for Consul {
    fn sightings(&self) -> channel::Receiver<Sighting> {
        self.sightings.subscribe()
    }

    fn founding(&self) -> Founding<'_> {
        Founding::Record(&self.record)
    }

    fn trouble(&self) -> Option<String> {
        self.sightings.trouble()
    }

    fn close(&self) -> Later<'_, ()> {
        Box::pin(self.withdraw())
    }
}

impl Drop for Consul {
    /// Without [`Discovery::close`] the loops end all the same; the registration stays.
    fn drop(&mut self) {
        for one in self.loops.get_mut().drain(..) {
            one.abort();
        }
    }
}
