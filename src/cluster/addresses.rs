//! Where this node is for others: what it announces, from what is set and what the machine says.

use super::control::Introduction;
use super::discovery::{self, Announcement, Endpoint};
use super::error::Error;
use super::opening::MemberSettings;
use crate::model::Incarnation;
use crate::runtime::outward_address;

/// Where peers reach this node.
pub(super) fn advertised(settings: &MemberSettings) -> Result<Endpoint, Error> {
    let named = settings.peer.advertise.as_deref();
    let text = named.unwrap_or(&settings.peer.listen);
    let endpoint = Endpoint::of_listen(text).ok_or_else(|| {
        Error::Setting(format!(
            "{} = {text:?} is no address with a port: write one such as \"10.0.0.1:9095\"",
            if named.is_some() {
                "peer.advertise"
            } else {
                "peer.listen"
            }
        ))
    })?;
    Ok(Endpoint {
        host: endpoint.host.or_else(outward_address),
        port: endpoint.port,
    })
}

/// What others find of this node.
pub(super) fn announcement(
    settings: &MemberSettings,
    incarnation: Incarnation,
    peer: &Endpoint,
) -> Announcement {
    let introduction = &settings.introduction;
    Announcement {
        name: introduction.name.clone(),
        incarnation,
        zone: introduction.zone.clone(),
        version: introduction.build.text.clone(),
        http: http_endpoint(settings, peer),
        peer: peer.clone(),
    }
}

/// Where senders and Grafana reach this node, where HTTP is not said to be elsewhere.
fn http_endpoint(settings: &MemberSettings, peer: &Endpoint) -> Endpoint {
    let endpoint = Endpoint::of_listen(&settings.http_listen);
    Endpoint {
        host: endpoint
            .as_ref()
            .and_then(|e| e.host.clone())
            .or_else(|| peer.host.clone()),
        port: endpoint.map_or(9009, |endpoint| endpoint.port),
    }
}

/// What the node says of itself.
pub(super) fn introduction(settings: &MemberSettings, peer: &Endpoint) -> Introduction {
    let host = peer.host.clone().unwrap_or_else(|| "127.0.0.1".to_owned());
    Introduction {
        addresses: vec![discovery::authority(&host, peer.port)],
        ..settings.introduction.clone()
    }
}
