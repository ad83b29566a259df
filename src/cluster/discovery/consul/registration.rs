//! What this node registers: the service that peers look for, and the one that senders and
//! Grafana look for, each with a health check that the agent runs.
//!
//! The ids are made of the service's and the node's name, so that a restart, or a wiped disk,
//! replaces what was there. The peers' service is healthy as soon as the process runs: those who
//! found a cluster have to see each other before any of them can serve. The other one is healthy
//! when the node is ready.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::cluster::discovery::peer::{SAID_KEYS, authority};
use crate::cluster::discovery::settings::ConsulSettings;
use crate::cluster::discovery::{Announcement, DiscoveryError, Endpoint};

/// What stands behind the name of the service that peers look for.
const PEER_SUFFIX: &str = "-peer";

/// The longest service name: a DNS label has 63, the suffix included.
const SERVICE_CHARS_MAX: usize = 58;

/// Consul's own bounds on metadata.
const META_PAIRS_MAX: usize = 60;
const META_KEY_CHARS_MAX: usize = 128;
const META_VALUE_CHARS_MAX: usize = 512;

/// How often the agent looks, and how long the node may take to answer it.
const CHECK_INTERVAL: &str = "10s";
const CHECK_TIMEOUT: &str = "5s";

/// When the agent drops a service whose check keeps failing: as long as a node may be away before
/// it is replaced (`cluster.replace_after`). Consul's least is a minute.
const DEREGISTER_AFTER: &str = "1h";

/// A service as the agent takes it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Registration {
    #[serde(rename = "ID")]
    pub(super) id: String,
    pub(super) name: String,
    tags: Vec<String>,
    meta: BTreeMap<String, String>,
    /// Empty: the agent's own.
    address: String,
    port: u16,
    check: Check,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    name: String,
    #[serde(rename = "HTTP")]
    http: String,
    interval: String,
    timeout: String,
    deregister_critical_service_after: String,
    status: String,
}

/// A service as the agent knows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Registered {
    service: String,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    meta: Option<BTreeMap<String, String>>,
    #[serde(default)]
    address: String,
    #[serde(default)]
    port: u16,
}

impl Registration {
    /// Whether the agent knows exactly this.
    pub(super) fn is(&self, known: &Registered) -> bool {
        let tags = |tags: &[String]| tags.iter().cloned().collect::<BTreeSet<_>>();
        self.name == known.service
            && self.address == known.address
            && self.port == known.port
            && self.meta == known.meta.clone().unwrap_or_default()
            && tags(&self.tags) == tags(known.tags.as_deref().unwrap_or_default())
    }

    /// Whether the agent knows this name of somebody else's: another node of the same name, or
    /// this one before its disk was wiped.
    pub(super) fn is_taken_over(&self, known: &Registered) -> bool {
        let incarnation = |meta: &BTreeMap<String, String>| meta.get("incarnation").cloned();
        let known = known.meta.as_ref().and_then(incarnation);
        known.is_some() && known != incarnation(&self.meta)
    }
}

/// The name of the service that peers look for.
pub(super) fn peer_service(settings: &ConsulSettings) -> String {
    format!("{}{PEER_SUFFIX}", settings.service_name)
}

/// Both services of a node: the peers' first.
pub(super) fn registrations(
    settings: &ConsulSettings,
    node: &Announcement,
) -> Result<[Registration; 2], DiscoveryError> {
    check_service_name(&settings.service_name)?;
    let mut meta = own_meta(&settings.meta)?;
    meta.extend(node.said());
    let one = |name: String, at: &Endpoint, path: &str, status: &str| Registration {
        id: format!("{name}-{}", node.name),
        tags: settings.tags.clone(),
        meta: meta.clone(),
        address: at.host.clone().unwrap_or_default(),
        port: at.port,
        check: Check {
            name: format!("{name} answers {path}"),
            http: check_url(&node.http, path),
            interval: CHECK_INTERVAL.to_owned(),
            timeout: CHECK_TIMEOUT.to_owned(),
            deregister_critical_service_after: DEREGISTER_AFTER.to_owned(),
            status: status.to_owned(),
        },
        name,
    };
    Ok([
        one(peer_service(settings), &node.peer, "/-/healthy", "passing"),
        one(
            settings.service_name.clone(),
            &node.http,
            "/-/ready",
            "critical",
        ),
    ])
}

/// Where the agent, on this machine, reaches the node.
fn check_url(http: &Endpoint, path: &str) -> String {
    let host = http.host.as_deref().unwrap_or("127.0.0.1");
    format!("http://{}{path}", authority(host, http.port))
}

fn check_service_name(name: &str) -> Result<(), DiscoveryError> {
    let is_label = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if !name.is_empty() && name.len() <= SERVICE_CHARS_MAX && is_label {
        return Ok(());
    }
    Err(DiscoveryError::Setting {
        key: "discovery.consul.service_name",
        value: name.to_owned(),
        reason: format!(
            "it becomes a name in DNS: write 1 to {SERVICE_CHARS_MAX} letters, digits and hyphens"
        ),
    })
}

/// Reads the user's `key=value` entries.
fn own_meta(entries: &[String]) -> Result<BTreeMap<String, String>, DiscoveryError> {
    let mut meta = BTreeMap::new();
    for entry in entries {
        let wrong = |reason: String| DiscoveryError::Setting {
            key: "discovery.consul.meta",
            value: entry.clone(),
            reason,
        };
        let (key, value) = entry
            .split_once('=')
            .ok_or_else(|| wrong("write \"key=value\"".to_owned()))?;
        let (key, value) = (key.trim(), value.trim());
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if key.is_empty() || key.len() > META_KEY_CHARS_MAX || !key.chars().all(plain) {
            return Err(wrong(format!(
                "a key has 1 to {META_KEY_CHARS_MAX} letters, digits, hyphens and underscores"
            )));
        }
        if value.len() > META_VALUE_CHARS_MAX {
            return Err(wrong(format!(
                "a value has at most {META_VALUE_CHARS_MAX} bytes"
            )));
        }
        if SAID_KEYS.contains(&key) {
            return Err(wrong(format!(
                "{key} is what the node says of itself: take another key"
            )));
        }
        meta.insert(key.to_owned(), value.to_owned());
    }
    if meta.len() > META_PAIRS_MAX {
        return Err(DiscoveryError::Setting {
            key: "discovery.consul.meta",
            value: format!("{} entries", meta.len()),
            reason: format!("at most {META_PAIRS_MAX} fit"),
        });
    }
    Ok(meta)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Incarnation;

    fn node() -> Announcement {
        Announcement {
            name: "board-1".to_owned(),
            incarnation: Incarnation(0xabc),
            zone: "shelf-a".to_owned(),
            version: "0.1.0".to_owned(),
            peer: Endpoint {
                host: Some("10.0.0.1".to_owned()),
                port: 9095,
            },
            http: Endpoint {
                host: None,
                port: 9009,
            },
        }
    }

    #[test]
    fn both_services_are_written_as_consul_reads_them() {
        let settings = ConsulSettings {
            tags: vec!["metrics".to_owned()],
            meta: vec!["rack = a1".to_owned()],
            ..ConsulSettings::default()
        };
        let [peer, http] = registrations(&settings, &node()).unwrap();
        let json = serde_json::to_value(&peer).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "ID": "cairn-peer-board-1",
                "Name": "cairn-peer",
                "Tags": ["metrics"],
                "Meta": {
                    "node": "board-1",
                    "incarnation": "00000000000000000000000000000abc",
                    "zone": "shelf-a",
                    "version": "0.1.0",
                    "rack": "a1",
                },
                "Address": "10.0.0.1",
                "Port": 9095,
                "Check": {
                    "Name": "cairn-peer answers /-/healthy",
                    "HTTP": "http://127.0.0.1:9009/-/healthy",
                    "Interval": "10s",
                    "Timeout": "5s",
                    "DeregisterCriticalServiceAfter": "1h",
                    "Status": "passing",
                },
            })
        );
        let json = serde_json::to_value(&http).unwrap();
        assert_eq!(json["ID"], "cairn-board-1");
        assert_eq!(
            (&json["Address"], &json["Port"]),
            (&"".into(), &9009.into())
        );
        assert_eq!(json["Check"]["HTTP"], "http://127.0.0.1:9009/-/ready");
        assert_eq!(json["Check"]["Status"], "critical");
    }

    #[test]
    fn what_the_agent_knows_is_compared() {
        let settings = ConsulSettings::default();
        let [peer, _] = registrations(&settings, &node()).unwrap();
        let known = |change: fn(&mut serde_json::Value)| -> Registered {
            let mut json = serde_json::to_value(&peer).unwrap();
            json["Service"] = json["Name"].clone();
            json["Tags"] = serde_json::Value::Null;
            change(&mut json);
            serde_json::from_value(json).unwrap()
        };
        assert!(peer.is(&known(|_| ())));
        assert!(!peer.is(&known(|json| json["Port"] = 1.into())));
        assert!(!peer.is(&known(|json| json["Meta"]["zone"] = "b".into())));
        assert!(!peer.is_taken_over(&known(|json| json["Meta"]["zone"] = "b".into())));
        assert!(peer.is_taken_over(&known(|json| json["Meta"]["incarnation"] = "1".into())));
        assert!(!peer.is_taken_over(&known(|json| json["Meta"] = serde_json::Value::Null)));
    }

    #[test]
    fn what_consul_would_refuse_is_refused_here() {
        let check = |settings: ConsulSettings, word: &str| {
            let error = registrations(&settings, &node()).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        };
        for service_name in ["", "a.b", "-a", "a b", &"a".repeat(59)] {
            let service_name = service_name.to_owned();
            let settings = ConsulSettings {
                service_name,
                ..ConsulSettings::default()
            };
            check(settings, "service_name");
        }
        for (entry, word) in [
            ("rack", "key=value"),
            ("=a", "a key has"),
            ("a.b=c", "a key has"),
            ("zone=c", "another key"),
        ] {
            let settings = ConsulSettings {
                meta: vec![entry.to_owned()],
                ..ConsulSettings::default()
            };
            check(settings, word);
        }
    }
}
