//! All settings of a node, put together from the layers' sections.

use std::path::PathBuf;

use crate::archive::{self, ArchiveSettings, S3Settings};
use crate::cluster::{
    ClusterSettings, ConsulSettings, DiscoverySettings, DnsSettings, KindSettings, PeerSettings,
    PeerTlsSettings, SealSettings, StaticSettings,
};
use crate::http::HttpSettings;
use crate::ingest::IngestSettings;
use crate::query::QuerySettings;
use crate::runtime::{ByteSize, KeyReference, LogSettings, RawValue, Section, Setting};
use crate::store::{DiskSettings, RetentionSettings, WriteLogSettings};

/// A shown value as it is written in a configuration file: numbers, `true` and `false` bare, all
/// else as a text.
#[must_use]
pub fn as_toml(shown: &str) -> String {
    if shown.parse::<u64>().is_ok() || shown.parse::<bool>().is_ok() {
        return shown.to_owned();
    }
    toml::Value::from(shown).to_string()
}

/// How much memory the node may use: a size, or a share of the machine (or its cgroup).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MemoryLimit {
    /// So many bytes.
    Bytes(ByteSize),
    /// So many hundredths of what the machine or cgroup has.
    Percent(u8),
}

impl MemoryLimit {
    /// Bytes, where the machine or cgroup has `total`.
    #[must_use]
    pub fn bytes(self, total: u64) -> u64 {
        match self {
            Self::Bytes(size) => size.0,
            Self::Percent(percent) => total / 100 * u64::from(percent),
        }
    }
}

impl Setting for MemoryLimit {
    const FORM: &'static str = "a size such as \"1GiB\", or a share such as \"25%\"";

    fn read(raw: &RawValue) -> Result<Self, String> {
        let text = raw.to_string();
        let Some(percent) = text.trim().strip_suffix('%') else {
            return ByteSize::read(raw).map(Self::Bytes);
        };
        match percent.trim().parse() {
            Ok(percent @ 1..=90) => Ok(Self::Percent(percent)),
            _ => Err(format!("{text:?} is not a share from \"1%\" to \"90%\"")),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Bytes(size) => size.show(),
            Self::Percent(percent) => format!("{percent}%"),
        }
    }
}

crate::settings! {
    /// What concerns the whole node.
    pub struct MainSettings at "" {
        /// The directory that holds everything this node keeps. It is created when it is not
        /// there, and locked while the node runs.
        data_dir: PathBuf = PathBuf::from("cairn-data"),
        /// Whether `X-Scope-OrgID` decides whose series a request is about. When it is off,
        /// everything belongs to the tenant `anonymous` and the header is ignored; when it is on,
        /// a request without the header is refused with 401.
        multitenancy_enabled: bool = false,
        /// The memory from which the head, every cache and every query are sized.
        memory_limit: MemoryLimit = MemoryLimit::Percent(25),
    }
}

crate::settings! {
    /// Who this node is.
    pub struct NodeSettings at "node." {
        /// The name of this node, for people. Unset: the host's name.
        name: Option<String> = None,
        /// Where it stands: replicas go to different zones.
        zone: String = "default".to_owned(),
        /// How much of the cluster's data it can hold beside the others: replicas are dealt out in
        /// proportion. Unset: all nodes that say nothing are equal.
        capacity: Option<ByteSize> = None,
    }
}

/// Calls one method on every section, in the order of the reference page.
macro_rules! sections {
    ($($field:ident : $type:ty = $prefix:literal),* $(,)?) => {
        /// All settings of a node.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Settings {
            $(
                #[doc = concat!("Section `", $prefix, "`.")]
                pub $field: $type,
            )*
        }

        impl Settings {
            /// Every key there is.
            #[must_use]
            pub fn reference() -> Vec<KeyReference> {
                let mut keys = Vec::new();
                $( keys.extend(<$type as Section>::reference()); )*
                keys
            }

            /// Sets a key. `None`: there is no such key.
            pub fn set(&mut self, key: &str, raw: &RawValue) -> Option<Result<(), String>> {
                $(
                    if let Some(rest) = key.strip_prefix($prefix)
                        && let Some(outcome) = self.$field.set(rest, raw)
                    {
                        return Some(outcome);
                    }
                )*
                None
            }

            /// Every key with its present value.
            #[must_use]
            pub fn shown(&self) -> Vec<(String, String)> {
                let mut all = Vec::new();
                $( all.extend(self.$field.shown()); )*
                all
            }
        }
    };
}

impl Settings {
    /// Every key that has a value, a line each.
    #[must_use]
    pub fn shown_as_text(&self) -> String {
        let lines = self.shown().into_iter();
        lines
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| format!("{key} = {value:?}\n"))
            .collect()
    }

    /// All sections of discovery together.
    #[must_use]
    pub fn all_discovery(&self) -> DiscoverySettings {
        DiscoverySettings {
            main: self.discovery.clone(),
            fixed: self.discovery_static.clone(),
            dns: self.discovery_dns.clone(),
            consul: self.discovery_consul.clone(),
        }
    }

    /// All sections of the archive together.
    #[must_use]
    pub fn all_archive(&self) -> ArchiveSettings {
        ArchiveSettings {
            main: self.archive.clone(),
            local: self.archive_local.clone(),
            s3: self.archive_s3.clone(),
            read_only: false,
        }
    }
}

sections! {
    main: MainSettings = "",
    node: NodeSettings = "node.",
    http: HttpSettings = "http.",
    peer: PeerSettings = "peer.",
    peer_tls: PeerTlsSettings = "peer.tls.",
    cluster: ClusterSettings = "cluster.",
    discovery: KindSettings = "discovery.",
    discovery_static: StaticSettings = "discovery.static.",
    discovery_dns: DnsSettings = "discovery.dns.",
    discovery_consul: ConsulSettings = "discovery.consul.",
    archive: archive::KindSettings = "archive.",
    archive_local: archive::LocalSettings = "archive.local.",
    archive_s3: S3Settings = "archive.s3.",
    ingest: IngestSettings = "ingest.",
    query: QuerySettings = "query.",
    retention: RetentionSettings = "retention.",
    disk: DiskSettings = "disk.",
    log: WriteLogSettings = "log.",
    seal: SealSettings = "seal.",
    telemetry: LogSettings = "telemetry.",
}
