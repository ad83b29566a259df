//! TLS to the agent: whom to believe, and who we are. The files are read for each connection, so
//! that renewed certificates need no restart.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme, crypto,
};

use crate::cluster::discovery::DiscoveryError;
use crate::cluster::discovery::settings::ConsulSettings;

const CA: &str = "discovery.consul.ca_cert";
const CERT: &str = "discovery.consul.client_cert";
const KEY: &str = "discovery.consul.client_key";

/// The files that the settings name.
pub(super) struct Files {
    authority: Option<PathBuf>,
    /// Certificate and key.
    own: Option<(PathBuf, PathBuf)>,
    believe_all: bool,
}

impl Files {
    pub(super) fn of(settings: &ConsulSettings) -> Result<Self, DiscoveryError> {
        let own = match (&settings.client_cert, &settings.client_key) {
            (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
            (None, None) => None,
            (Some(cert), None) => {
                return Err(wrong(
                    CERT,
                    cert,
                    "discovery.consul.client_key is not set: a certificate is of use with its key only",
                ));
            }
            (None, Some(key)) => {
                return Err(wrong(
                    KEY,
                    key,
                    "discovery.consul.client_cert is not set: a key is of use with its certificate only",
                ));
            }
        };
        Ok(Self {
            authority: settings.ca_cert.clone(),
            own,
            believe_all: settings.tls_skip_verify,
        })
    }

    /// What the files say today.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, DiscoveryError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(CA, Path::new(""), &error.to_string()))?;
        let builder = if self.believe_all {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(BelieveAll(provider)))
        } else {
            builder.with_root_certificates(self.roots()?)
        };
        let Some((cert, key)) = &self.own else {
            return Ok(Arc::new(builder.with_no_client_auth()));
        };
        let chain = certificates(CERT, cert)?;
        let secret = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| wrong(KEY, key, &format!("no key can be read from it: {error}")))?;
        builder
            .with_client_auth_cert(chain, secret)
            .map(Arc::new)
            .map_err(|error| wrong(CERT, cert, &format!("it does not go with its key: {error}")))
    }

    fn roots(&self) -> Result<RootCertStore, DiscoveryError> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = &self.authority {
            for certificate in certificates(CA, path)? {
                roots
                    .add(certificate)
                    .map_err(|error| wrong(CA, path, &error.to_string()))?;
            }
            return Ok(roots);
        }
        let (_, _) =
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(wrong(
                CA,
                Path::new(""),
                "the system trusts nobody: name the file of the authority that signed the agent's certificate",
            ));
        }
        Ok(roots)
    }
}

fn wrong(key: &'static str, path: &Path, reason: &str) -> DiscoveryError {
    DiscoveryError::Setting {
        key,
        value: path.display().to_string(),
        reason: reason.to_owned(),
    }
}

fn certificates(
    key: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, DiscoveryError> {
    let unreadable = |error: &dyn std::fmt::Display| {
        wrong(
            key,
            path,
            &format!("no certificate can be read from it: {error}"),
        )
    };
    let found: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(&error))?;
    if found.is_empty() {
        return Err(unreadable(&"there is none in it"));
    }
    Ok(found)
}

/// Speaks TLS on a connection.
pub(super) async fn connect(
    config: Arc<ClientConfig>,
    host: &str,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(config).connect(name, stream).await
}

/// `tls_skip_verify`: whoever answers is believed to be the agent. Signatures are still checked,
/// so that the connection is private to whoever that is.
#[derive(Debug)]
struct BelieveAll(Arc<CryptoProvider>);

impl ServerCertVerifier for BelieveAll {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
