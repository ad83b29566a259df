//! Settings of discovery. The names of Consul's are those that Garage's users know.

use std::fmt;
use std::path::PathBuf;

use crate::runtime::{RawValue, Setting};

/// How peers find each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DiscoveryKind {
    /// Not at all: a cluster of one.
    #[default]
    None,
    /// A list.
    Static,
    /// A name in DNS.
    Dns,
    /// Consul.
    Consul,
}

impl Setting for DiscoveryKind {
    const FORM: &'static str = "\"consul\", \"static\", \"dns\" or \"none\"";

    fn read(raw: &RawValue) -> Result<Self, String> {
        match raw.to_string().as_str() {
            "none" => Ok(Self::None),
            "static" => Ok(Self::Static),
            "dns" => Ok(Self::Dns),
            "consul" => Ok(Self::Consul),
            other => Err(format!("{other:?} is no discovery: write {}", Self::FORM)),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::None => "none",
            Self::Static => "static",
            Self::Dns => "dns",
            Self::Consul => "consul",
        }
        .to_owned()
    }
}

/// A text that is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Makes a text a secret.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that sends it.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show())
    }
}

impl Setting for Secret {
    const FORM: &'static str = "a text, which is never shown";

    fn read(raw: &RawValue) -> Result<Self, String> {
        String::read(raw).map(Self)
    }

    fn show(&self) -> String {
        if self.0.is_empty() { "" } else { "(hidden)" }.to_owned()
    }
}

crate::settings! {
    /// How nodes find each other.
    pub struct KindSettings at "discovery." {
        /// What tells this node about its peers. With `none` it is a cluster of one.
        kind: DiscoveryKind = DiscoveryKind::None,
    }
}

crate::settings! {
    /// Peers that are listed.
    pub struct StaticSettings at "discovery.static." {
        /// Every node's `peer.advertise`, this one's too: the same list on all nodes. A new
        /// cluster is founded by exactly these.
        peers: Vec<String> = Vec::new(),
    }
}

crate::settings! {
    /// Peers that a name in DNS stands for.
    pub struct DnsSettings at "discovery.dns." {
        /// The full name. One that begins with `_`, such as `_cairn-peer._tcp.lan`, is looked up
        /// as SRV, with the ports that it says; any other as A and AAAA, on port 9095 unless it
        /// ends in one of its own, such as `cairn-peer.lan:9195`.
        name: String = String::new(),
        /// The name server to ask, such as Consul's `127.0.0.1:8600`. Unset: what
        /// `/etc/resolv.conf` says.
        server: Option<String> = None,
    }
}

crate::settings! {
    /// Peers that are registered in Consul.
    pub struct ConsulSettings at "discovery.consul." {
        /// The HTTP interface of the Consul agent on this machine; `https://` for TLS.
        consul_http_addr: String = "http://127.0.0.1:8500".to_owned(),
        /// The service that senders and Grafana look up; peers register as the same name with
        /// `-peer` at its end. Letters, digits and hyphens.
        service_name: String = "cairn".to_owned(),
        /// The file (PEM) with the authority that signed the agent's certificate. Unset: those
        /// that the system trusts.
        ca_cert: Option<PathBuf> = None,
        /// The file (PEM) with this node's certificate, where the agent asks for one.
        client_cert: Option<PathBuf> = None,
        /// The file (PEM) with that certificate's key.
        client_key: Option<PathBuf> = None,
        /// Whether to talk TLS to an agent whose certificate nobody has checked.
        tls_skip_verify: bool = false,
        /// The ACL token. It must be allowed to write both services, sessions, and keys below
        /// `cairn/`.
        token: Secret = Secret::default(),
        /// The file with the ACL token; it is read for each request, so that it may change.
        token_file: Option<PathBuf> = None,
        /// Tags of both services.
        tags: Vec<String> = Vec::new(),
        /// Metadata of both services, each as `key=value`.
        meta: Vec<String> = Vec::new(),
        /// The datacenters in which peers are looked for; the founding record is in the first.
        /// Empty: the agent's own.
        datacenters: Vec<String> = Vec::new(),
        /// The namespace, in Consul Enterprise.
        namespace: Option<String> = None,
    }
}

/// All sections together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DiscoverySettings {
    /// Which of them is meant.
    pub main: KindSettings,
    /// The list.
    pub fixed: StaticSettings,
    /// The name.
    pub dns: DnsSettings,
    /// Consul.
    pub consul: ConsulSettings,
}
