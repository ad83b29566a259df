//! The calls of the agent's HTTP API that discovery needs, and their answers as our types.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::client::{Call, Client, Reply};
use super::follow::WAIT;
use super::registration::{Registered, Registration};
use crate::cluster::discovery::peer::authority;
use crate::cluster::discovery::{DiscoveryError, Operation, Peer, PeerSaid};

/// How long an answer may take that waits for nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long one may take while the node stops.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// A blocking query takes the wait, a sixteenth of it, and then some for slow servers.
const WATCH_PATIENCE: Duration = WAIT.saturating_add(Duration::from_secs(60));

/// How long a session lives that nobody renews (Consul takes up to twice that). Who is slower than
/// this loses the lock, and asks again.
const SESSION_TTL: &str = "15s";

/// How long nobody gets a lock whose session ended without giving it back.
const LOCK_DELAY: &str = "1s";

/// The calls.
pub(super) struct Api {
    client: Client,
    namespace: Option<String>,
}

/// Peers, and the index to wait for others with.
pub(super) struct Watched {
    pub(super) peers: Vec<Peer>,
    pub(super) index: Option<u64>,
}

/// A key, and the datacenter in which it is; `None`: the agent's own.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    pub(super) name: &'a str,
    pub(super) datacenter: Option<&'a str>,
}

/// A session by its id.
pub(super) struct SessionId(String);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HealthEntry {
    node: HealthNode,
    service: HealthService,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HealthNode {
    #[serde(default)]
    address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HealthService {
    #[serde(default)]
    address: String,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    meta: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Created {
    #[serde(rename = "ID")]
    id: String,
}

impl Api {
    pub(super) const fn new(client: Client, namespace: Option<String>) -> Self {
        Self { client, namespace }
    }

    pub(super) fn now(&self) -> Duration {
        self.client.clock().elapsed()
    }

    /// Healthy instances of a service; with an index, as soon as there are others, or after
    /// [`WAIT`]. Any server may answer, also one that lags: asking the leader from every node has
    /// melted clusters.
    pub(super) async fn watch(
        &self,
        service: &str,
        datacenter: Option<&str>,
        index: Option<u64>,
    ) -> Result<Watched, DiscoveryError> {
        let mut target = self.target("/v1/health/service/");
        target.segment(service);
        target.flag("passing");
        target.flag("stale");
        target.optional("dc", datacenter);
        if let Some(index) = index {
            target.query("index", &index.to_string());
            target.query("wait", &format!("{}s", WAIT.as_secs()));
        }
        let patience = index.map_or(PATIENCE, |_| WATCH_PATIENCE);
        let call = self.get(Operation::Watch, target, patience);
        let reply = self.client.send(call).await?;
        let entries: Vec<HealthEntry> = self.json(Operation::Watch, &reply)?;
        Ok(Watched {
            peers: entries.into_iter().filter_map(peer_of).collect(),
            index: reply.index,
        })
    }

    /// What the agent knows of two services of its own machine, by id.
    pub(super) async fn registered(
        &self,
        services: [&str; 2],
    ) -> Result<BTreeMap<String, Registered>, DiscoveryError> {
        let mut target = self.target("/v1/agent/services");
        let [one, other] = services;
        let filter = format!("Service == \"{one}\" or Service == \"{other}\"");
        target.query("filter", &filter);
        let call = self.get(Operation::Registered, target, PATIENCE);
        let reply = self.client.send(call).await?;
        self.json(Operation::Registered, &reply)
    }

    pub(super) async fn register(&self, service: &Registration) -> Result<(), DiscoveryError> {
        let mut target = self.target("/v1/agent/service/register");
        target.query("replace-existing-checks", "true");
        let body = self.written(Operation::Register, service)?;
        let call = self.put(Operation::Register, target, body);
        let reply = self.client.send(call).await?;
        self.found(Operation::Register, reply).map(drop)
    }

    /// Takes a service off; also when there is none. Does not wait for its turn.
    pub(super) async fn deregister(&self, id: &str) -> Result<(), DiscoveryError> {
        let mut target = self.target("/v1/agent/service/deregister/");
        target.segment(id);
        let mut call = self.put(Operation::Deregister, target, Vec::new());
        call.patience = LAST_PATIENCE;
        call.at_once = true;
        self.client.send(call).await.map(drop)
    }

    /// A key's value, as the leader knows it now.
    pub(super) async fn read(&self, key: Key<'_>) -> Result<Option<Bytes>, DiscoveryError> {
        let mut target = self.key_target(key);
        target.flag("raw");
        target.flag("consistent");
        let call = self.get(Operation::ReadFounding, target, PATIENCE);
        let reply = self.client.send(call).await?;
        Ok((reply.status != 404).then_some(reply.body))
    }

    /// Writes a key that does not exist. `false`: it does.
    pub(super) async fn create(&self, key: Key<'_>, value: &[u8]) -> Result<bool, DiscoveryError> {
        let mut target = self.key_target(key);
        target.query("cas", "0");
        self.truth(target, value.to_vec()).await
    }

    pub(super) async fn create_session(&self, name: &str) -> Result<SessionId, DiscoveryError> {
        let target = self.target("/v1/session/create");
        let session = serde_json::json!({
            "Name": name,
            "TTL": SESSION_TTL,
            "LockDelay": LOCK_DELAY,
            "Behavior": "delete",
        });
        let body = self.written(Operation::Found, &session)?;
        let reply = self
            .client
            .send(self.put(Operation::Found, target, body))
            .await?;
        let created: Created = self.json(Operation::Found, &reply)?;
        Ok(SessionId(created.id))
    }

    /// Ends a session, and with it the lock that it holds.
    pub(super) async fn destroy_session(&self, session: &SessionId) -> Result<(), DiscoveryError> {
        let mut target = self.target("/v1/session/destroy/");
        target.segment(&session.0);
        let call = self.put(Operation::Found, target, Vec::new());
        self.client.send(call).await.map(drop)
    }

    /// Locks a key for a session. `false`: another one holds it.
    pub(super) async fn lock(
        &self,
        key: Key<'_>,
        session: &SessionId,
    ) -> Result<bool, DiscoveryError> {
        let mut target = self.key_target(key);
        target.query("acquire", &session.0);
        self.truth(target, Vec::new()).await
    }

    /// Writes `key` if it does not exist and `session` still holds `lock`, in one step. `false`:
    /// one of the two is not so.
    pub(super) async fn create_under_lock(
        &self,
        key: Key<'_>,
        value: &[u8],
        lock: Key<'_>,
        session: &SessionId,
    ) -> Result<bool, DiscoveryError> {
        let mut target = self.target("/v1/txn");
        target.optional("dc", key.datacenter);
        let steps = serde_json::json!([
            {"KV": {"Verb": "check-session", "Key": lock.name, "Session": session.0}},
            {"KV": {"Verb": "cas", "Key": key.name, "Index": 0, "Value": base64(value)}},
        ]);
        let body = self.written(Operation::Found, &steps)?;
        let reply = self
            .client
            .send(self.put(Operation::Found, target, body))
            .await?;
        let reply = self.found(Operation::Found, reply)?;
        Ok(reply.status != 409)
    }

    /// A PUT that answers `true` or `false`.
    async fn truth(&self, target: Target, body: Vec<u8>) -> Result<bool, DiscoveryError> {
        let reply = self
            .client
            .send(self.put(Operation::Found, target, body))
            .await?;
        self.json(Operation::Found, &reply)
    }

    fn target(&self, path: &str) -> Target {
        let mut target = Target::new(path);
        target.optional("ns", self.namespace.as_deref());
        target
    }

    fn key_target(&self, key: Key<'_>) -> Target {
        let mut target = self.target("/v1/kv/");
        for (place, part) in key.name.split('/').enumerate() {
            if place > 0 {
                target.path.push('/');
            }
            target.segment(part);
        }
        target.optional("dc", key.datacenter);
        target
    }

    fn get(&self, operation: Operation, target: Target, patience: Duration) -> Call {
        Call {
            operation,
            method: Method::GET,
            target: target.text(),
            body: Vec::new(),
            patience,
            at_once: false,
        }
    }

    fn put(&self, operation: Operation, target: Target, body: Vec<u8>) -> Call {
        Call {
            operation,
            method: Method::PUT,
            target: target.text(),
            body,
            patience: PATIENCE,
            at_once: false,
        }
    }

    fn unreadable(&self, operation: Operation, reason: String) -> DiscoveryError {
        DiscoveryError::Answer {
            operation,
            place: self.client.place().to_owned(),
            reason,
        }
    }

    /// An answer to a call for which "not found" is none.
    fn found(&self, operation: Operation, reply: Reply) -> Result<Reply, DiscoveryError> {
        if reply.status == 404 {
            return Err(self.unreadable(operation, "status 404".to_owned()));
        }
        Ok(reply)
    }

    fn json<T: DeserializeOwned>(
        &self,
        operation: Operation,
        reply: &Reply,
    ) -> Result<T, DiscoveryError> {
        if reply.status >= 400 {
            return Err(self.unreadable(operation, format!("status {}", reply.status)));
        }
        serde_json::from_slice(&reply.body)
            .map_err(|error| self.unreadable(operation, error.to_string()))
    }

    fn written<T: serde::Serialize>(
        &self,
        operation: Operation,
        value: &T,
    ) -> Result<Vec<u8>, DiscoveryError> {
        serde_json::to_vec(value).map_err(|error| self.unreadable(operation, error.to_string()))
    }
}

/// The peer of an entry; none of an entry without address or port, which cannot be reached.
fn peer_of(entry: HealthEntry) -> Option<Peer> {
    let host = [entry.service.address, entry.node.address]
        .into_iter()
        .find(|address| !address.is_empty())?;
    (entry.service.port > 0).then(|| Peer {
        address: authority(&host, entry.service.port),
        said: entry.service.meta.as_ref().and_then(PeerSaid::read),
    })
}

/// Path and query of a request, escaped as they are put together.
struct Target {
    path: String,
    query: String,
}

impl Target {
    fn new(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            query: String::new(),
        }
    }

    fn segment(&mut self, text: &str) {
        escape(text, &mut self.path);
    }

    fn flag(&mut self, name: &str) {
        self.query
            .push(if self.query.is_empty() { '?' } else { '&' });
        self.query.push_str(name);
    }

    fn query(&mut self, name: &str, value: &str) {
        self.flag(name);
        self.query.push('=');
        escape(value, &mut self.query);
    }

    fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.query(name, value);
        }
    }

    fn text(self) -> String {
        self.path + &self.query
    }
}

/// Percent-encodes all but what RFC 3986 leaves alone.
fn escape(text: &str, into: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                into.push(char::from(byte));
            }
            other => into.push_str(&format!("%{other:02X}")),
        }
    }
}

/// RFC 4648, with padding: what a transaction wants its values in.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |place: usize| u32::from(three.get(place).copied().unwrap_or(0));
        let bits = (at(0) << 16) | (at(1) << 8) | at(2);
        for place in 0..4 {
            let six = (bits >> (18 - 6 * place)) & 63;
            let letter = usize::try_from(six).ok().and_then(|six| LETTERS.get(six));
            let is_padding = place > three.len();
            text.push(
                letter
                    .filter(|_| !is_padding)
                    .map_or('=', |l| char::from(*l)),
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        // RFC 4648, section 10.
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    }

    #[test]
    fn what_a_name_holds_cannot_leave_its_place() {
        let mut target = Target::new("/v1/agent/service/deregister/");
        target.segment("a/b?c=d&é");
        target.flag("stale");
        target.query("dc", "x&y");
        assert_eq!(
            target.text(),
            "/v1/agent/service/deregister/a%2Fb%3Fc%3Dd%26%C3%A9?stale&dc=x%26y"
        );
    }

    #[test]
    fn a_peer_is_where_its_service_says_or_where_its_machine_is() {
        let check = |node: &str, service: &str, port: u16, address: Option<&str>| {
            let entry = serde_json::from_value(serde_json::json!({
                "Node": {"Node": "n1", "Address": node},
                "Service": {"ID": "x", "Address": service, "Port": port, "Meta": null},
                "Checks": [],
            }));
            let peer = peer_of(entry.unwrap());
            assert_eq!(peer.map(|peer| peer.address).as_deref(), address);
        };
        check("10.0.0.1", "10.1.0.1", 9095, Some("10.1.0.1:9095"));
        check("10.0.0.1", "", 9095, Some("10.0.0.1:9095"));
        check("10.0.0.1", "fd00::1", 9095, Some("[fd00::1]:9095"));
        check("10.0.0.1", "", 0, None);
        check("", "", 9095, None);
    }
}
