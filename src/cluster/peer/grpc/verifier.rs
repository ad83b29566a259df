//! Which certificates are believed: those of the authority, with one of the names that may be.

use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use tokio_rustls::rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme, crypto,
};

use super::error::PeerSetupError;

/// The names that a peer's certificate may bear; none: any.
#[derive(Clone, Debug)]
pub(super) struct Names(Arc<[ServerName<'static>]>);

impl Names {
    pub(super) fn of(names: &[String]) -> Result<Self, PeerSetupError> {
        let read = |name: &String| {
            ServerName::try_from(name.clone()).map_err(|error| PeerSetupError::Setting {
                key: "peer.tls.names",
                value: name.clone(),
                reason: format!("{error}: write DNS names or addresses"),
            })
        };
        names.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a certificate bears one of them.
    pub(super) fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), TlsError> {
        self.check_parsed(&ParsedCertificate::try_from(certificate)?)
    }

    fn check_parsed(&self, certificate: &ParsedCertificate<'_>) -> Result<(), TlsError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let bears = |name| verify_server_name(certificate, name).is_ok();
        if self.0.iter().any(bears) {
            return Ok(());
        }
        Err(TlsError::General(
            "its certificate bears none of the names in peer.tls.names".to_owned(),
        ))
    }
}

/// Checks the certificate of a node that answers.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    roots: Arc<RootCertStore>,
    names: Names,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PeerVerifier {
    pub(super) fn new(roots: Arc<RootCertStore>, names: Names, provider: &CryptoProvider) -> Self {
        Self {
            roots,
            names,
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        self.names.check_parsed(&certificate)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
