//! Mutual TLS between peers. Who has a certificate of the authority's is a peer, nobody else; which
//! peer it is, its credentials say. Addresses change and are not looked at: a certificate is
//! believed for the names in `peer.tls.names`, or for any name when there are none.
//!
//! TLS 1.3 only, and no resumed sessions: a certificate is looked at on every connection.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::error::PeerSetupError;
use super::limits::FILES_EVERY;
use super::verifier::{Names, PeerVerifier};
use crate::cluster::settings::PeerTlsSettings;
use crate::runtime::Clock;

const CA: &str = "peer.tls.ca_file";
const CERT: &str = "peer.tls.cert_file";
const KEY: &str = "peer.tls.key_file";

/// The certificates of this node and whom it believes; clones are the same ones.
#[derive(Clone)]
pub struct PeerTls(Arc<Inner>);

struct Inner {
    files: Files,
    names: Names,
    clock: Arc<dyn Clock>,
    loaded: ArcSwap<Loaded>,
    looked: Mutex<Looked>,
}

struct Files {
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

/// When and how large a file is: as long as that stays, so does its content.
type Stamps = [Option<(SystemTime, u64)>; 3];

struct Looked {
    at: Duration,
    stamps: Stamps,
    /// Those of files that were looked at and could not be used.
    failed: Option<Stamps>,
}

struct Loaded {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl std::fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PeerTls")
            .field(&self.0.files.certificate)
            .finish()
    }
}

impl PeerTls {
    /// Reads the files; `None` when there are none: peers then talk plainly.
    ///
    /// # Errors
    /// When only some are named, or one cannot be used.
    pub fn open(
        settings: &PeerTlsSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Self>, PeerSetupError> {
        let Some(files) = Files::of(settings)? else {
            return Ok(None);
        };
        let names = Names::of(&settings.names)?;
        let stamps = files.stamps();
        let loaded = files.load(&names)?;
        Ok(Some(Self(Arc::new(Inner {
            files,
            names,
            loaded: ArcSwap::from_pointee(loaded),
            looked: Mutex::new(Looked {
                at: clock.elapsed(),
                stamps,
                failed: None,
            }),
            clock,
        }))))
    }

    /// Reads the files again; new connections use what they say. Without this they are looked at
    /// every few seconds.
    ///
    /// # Errors
    /// When they cannot be used: what was read before stays.
    pub fn reload(&self) -> Result<(), PeerSetupError> {
        let stamps = self.0.files.stamps();
        let loaded = self.0.files.load(&self.0.names)?;
        self.0.loaded.store(Arc::new(loaded));
        let mut looked = self.0.looked.lock();
        looked.stamps = stamps;
        looked.failed = None;
        Ok(())
    }

    /// Reads the files again when they have changed.
    fn refresh(&self) {
        let now = self.0.clock.elapsed();
        {
            let mut looked = self.0.looked.lock();
            if now.saturating_sub(looked.at) < FILES_EVERY {
                return;
            }
            looked.at = now;
            let stamps = self.0.files.stamps();
            if stamps == looked.stamps || Some(stamps) == looked.failed {
                return;
            }
        }
        match self.reload() {
            Ok(()) => tracing::info!("peer certificates were read again"),
            Err(error) => {
                self.0.looked.lock().failed = Some(self.0.files.stamps());
                tracing::warn!(
                    error = %error,
                    "changed peer certificates cannot be used, the old ones stay in use"
                );
            }
        }
    }

    /// Answers a connection. Who has no certificate that is believed does not come through.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<server::TlsStream<TcpStream>> {
        self.refresh();
        let acceptor = TlsAcceptor::from(Arc::clone(&self.0.loaded.load().server));
        let accepted = acceptor.accept(stream).await?;
        let certificates = accepted.get_ref().1.peer_certificates();
        let first = certificates.and_then(<[_]>::first);
        let own = first.ok_or_else(|| io::Error::other("it shows no certificate"))?;
        self.0.names.check(own).map_err(io::Error::other)?;
        Ok(accepted)
    }

    /// Opens a connection.
    pub(super) async fn connect(
        &self,
        stream: TcpStream,
    ) -> io::Result<client::TlsStream<TcpStream>> {
        self.refresh();
        let connector = TlsConnector::from(Arc::clone(&self.0.loaded.load().client));
        // The verifier does not look at it, and without one nothing is sent.
        let name = ServerName::IpAddress(stream.peer_addr()?.ip().into());
        connector.connect(name, stream).await
    }
}

impl Files {
    fn of(settings: &PeerTlsSettings) -> Result<Option<Self>, PeerSetupError> {
        let missing = |key: &'static str| {
            Err(PeerSetupError::Setting {
                key,
                value: String::new(),
                reason: "it is not set: TLS between peers wants all three of ca_file, cert_file and key_file".to_owned(),
            })
        };
        let all = (
            settings.ca_file.clone(),
            settings.cert_file.clone(),
            settings.key_file.clone(),
        );
        match all {
            (None, None, None) if settings.names.is_empty() => Ok(None),
            (Some(authority), Some(certificate), Some(key)) => Ok(Some(Self {
                authority,
                certificate,
                key,
            })),
            (None, _, _) => missing(CA),
            (_, None, _) => missing(CERT),
            (_, _, None) => missing(KEY),
        }
    }

    fn stamps(&self) -> Stamps {
        [&self.authority, &self.certificate, &self.key].map(|path| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.modified().ok()?, meta.len()))
        })
    }

    fn load(&self, names: &Names) -> Result<Loaded, PeerSetupError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(CA, &self.authority)? {
            roots
                .add(certificate)
                .map_err(|error| wrong(CA, &self.authority, &error))?;
        }
        let roots = Arc::new(roots);
        let chain = certificates(CERT, &self.certificate)?;
        let secret = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| wrong(KEY, &self.key, &format!("no key can be read: {error}")))?;
        let provider = Arc::new(ring::default_provider());
        let mismatch = |error| {
            let reason = format!("it does not go with its key: {error}");
            wrong(CERT, &self.certificate, &reason)
        };

        let verifier = PeerVerifier::new(Arc::clone(&roots), names.clone(), &provider);
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| wrong(CA, &self.authority, &error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(chain.clone(), secret.clone_key())
            .map_err(mismatch)?;
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        client.alpn_protocols = vec![b"h2".to_vec()];

        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|error| wrong(CA, &self.authority, &error))?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| wrong(CA, &self.authority, &error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, secret)
            .map_err(mismatch)?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Loaded {
            client: Arc::new(client),
            server: Arc::new(server),
        })
    }
}

fn wrong(key: &'static str, path: &Path, reason: &dyn std::fmt::Display) -> PeerSetupError {
    PeerSetupError::Setting {
        key,
        value: path.display().to_string(),
        reason: reason.to_string(),
    }
}

fn certificates(
    key: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, PeerSetupError> {
    let found: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(key, path, &format!("no certificate can be read: {error}")))?;
    if found.is_empty() {
        return Err(wrong(key, path, &"there is no certificate in it"));
    }
    Ok(found)
}
