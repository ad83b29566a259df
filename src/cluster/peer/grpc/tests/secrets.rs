//! TLS between peers: who has no certificate of the authority's gets nothing, and certificates
//! change while nodes run.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};
use tempfile::TempDir;

use super::nodes::{Node, PATIENCE, caller, pull, wiring};
use crate::cluster::peer::grpc::metrics::Side;
use crate::cluster::peer::grpc::reason::Reason;
use crate::cluster::peer::grpc::{Identity, PeerSetupError, PeerTls};
use crate::cluster::peer::{Method, PeerError, Transport};
use crate::cluster::settings::PeerTlsSettings;
use crate::model::TimestampMs;
use crate::runtime::{Clock, ManualClock, SystemClock};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes what a node of that name needs.
fn issue(authority: &Authority, name: &str, folder: &Path, is_expired: bool) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    if is_expired {
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
    }
    let certificate = params.signed_by(&key, authority).unwrap();
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
}

fn settings(folder: &Path, names: &[&str]) -> PeerTlsSettings {
    PeerTlsSettings {
        ca_file: Some(folder.join("ca.pem")),
        cert_file: Some(folder.join("cert.pem")),
        key_file: Some(folder.join("key.pem")),
        names: names.iter().map(|&name| name.to_owned()).collect(),
    }
}

/// A node with a certificate.
struct Secured {
    folder: TempDir,
    tls: PeerTls,
    node: Node,
}

async fn secured(number: u128, authority: &Authority, name: &str, names: &[&str]) -> Secured {
    let clock = Arc::new(SystemClock::new());
    secured_by(number, authority, name, names, clock).await
}

async fn secured_by(
    number: u128,
    authority: &Authority,
    name: &str,
    names: &[&str],
    clock: Arc<dyn Clock>,
) -> Secured {
    let folder = TempDir::new().unwrap();
    issue(authority, name, folder.path(), false);
    let tls = PeerTls::open(&settings(folder.path(), names), clock).unwrap();
    let tls = tls.unwrap();
    let identity = Identity::new(caller(number, Some(99)));
    let node = Node::wired(wiring(identity, Some(tls.clone())), "127.0.0.1:0").await;
    Secured { folder, tls, node }
}

async fn expect_nothing(asker: &Node, of: &Node) {
    asker.knows(of);
    let asked = asker.ask(of.me, b"secret").await;
    assert!(
        matches!(asked, Err(PeerError::Unreachable { .. })),
        "{asked:?}"
    );
}

fn refused(node: &Node, reason: Reason) -> u64 {
    node.wiring.metrics.refused_so_far(reason)
}

#[tokio::test]
async fn peers_with_certificates_of_one_authority_talk() {
    let authority = authority();
    let one = secured(1, &authority, "one.cairn", &["one.cairn", "two.cairn"]).await;
    let two = secured(2, &authority, "two.cairn", &[]).await;
    let (one, two) = (one.node, two.node);
    one.knows(&two);
    two.knows(&one);
    assert_eq!(one.ask(two.me, b"abc").await.unwrap(), "abc");
    assert_eq!(two.ask(one.me, b"abc").await.unwrap(), "abc");
    let body = pull(40, 64 << 10);
    let mut answers = one
        .transport
        .stream(two.me, Method::Pull, body, PATIENCE)
        .await
        .unwrap();
    for _ in 0..40 {
        assert_eq!(answers.recv().await.unwrap().unwrap().len(), 64 << 10);
    }
    let mut duplex = one.transport.duplex(two.me, Method::Append).await.unwrap();
    let message = Bytes::from_static(b"both ways");
    duplex.messages.send(message.clone()).await.unwrap();
    assert_eq!(duplex.answers.recv().await.unwrap().unwrap(), message);
}

#[tokio::test]
async fn a_stranger_gets_nothing() {
    let authority = authority();
    let two = secured(2, &authority, "two.cairn", &["one.cairn", "two.cairn"]).await;
    let two = two.node;
    // Of another authority, which does not believe us either; and of ours with another name.
    let other = secured(1, &self::authority(), "one.cairn", &[]).await;
    expect_nothing(&other.node, &two).await;
    let named = secured(1, &authority, "three.cairn", &[]).await;
    expect_nothing(&named.node, &two).await;
    // Expired.
    let old = secured(1, &authority, "one.cairn", &[]).await;
    issue(&authority, "one.cairn", old.folder.path(), true);
    old.tls.reload().unwrap();
    expect_nothing(&old.node, &two).await;
    // Plainly, and the other way round.
    let plain = Node::start(1).await;
    expect_nothing(&plain, &two).await;
    plain.transport.know(plain.me, &[]);
    two.knows(&plain);
    let asked = two.ask(plain.me, b"").await;
    assert!(
        matches!(&asked, Err(PeerError::Unreachable { reason, .. }) if reason.contains("TLS")),
        "{asked:?}"
    );
    assert_eq!(refused(&plain, Reason::Tls), 1);
    assert_eq!(refused(&two, Reason::Tls), 1);
    assert!(refused(&two, Reason::Certificate) >= 2);
    assert_eq!(two.wiring.metrics.connections_now(Side::Answered), 0);
    let probe = &two.probe;
    assert_eq!(probe.asked.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn who_answers_with_a_wrong_name_is_not_asked() {
    let authority = authority();
    let one = secured(1, &authority, "one.cairn", &["one.cairn", "two.cairn"]).await;
    let three = secured(3, &authority, "three.cairn", &[]).await;
    one.node.knows(&three.node);
    let asked = one.node.ask(three.node.me, b"").await;
    assert!(
        matches!(&asked, Err(PeerError::Unreachable { reason, .. }) if reason.contains("peer.tls.names")),
        "{asked:?}"
    );
}

/// Asks anew until it works, within the pauses after failures.
async fn expect_soon(asker: &Node, of: &Node) {
    asker.knows(of);
    let mut last = None;
    for _ in 0..100 {
        match asker.ask(of.me, b"").await {
            Ok(_) => return,
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{last:?}");
}

#[tokio::test]
async fn certificates_change_while_nodes_run() {
    let (old, new) = (authority(), authority());
    let clock = Arc::new(ManualClock::at(TimestampMs(0)));
    let one = secured(1, &old, "one.cairn", &[]).await;
    let two = secured_by(2, &old, "two.cairn", &[], clock.clone()).await;
    let three = secured(3, &new, "three.cairn", &[]).await;
    expect_soon(&one.node, &two.node).await;
    expect_nothing(&three.node, &two.node).await;
    let method = Method::Append;
    let mut duplex = one
        .node
        .transport
        .duplex(two.node.me, method)
        .await
        .unwrap();
    issue(&new, "two.cairn", two.folder.path(), false);
    // Seen by itself, at the next connection after some seconds.
    clock.advance(Duration::from_secs(6));
    expect_soon(&three.node, &two.node).await;
    // What was open lives on.
    let message = Bytes::from_static(b"still here");
    duplex.messages.send(message.clone()).await.unwrap();
    assert_eq!(duplex.answers.recv().await.unwrap().unwrap(), message);
    // Files that cannot be used change nothing.
    std::fs::write(two.folder.path().join("cert.pem"), "half a fi").unwrap();
    let error = two.tls.reload().unwrap_err();
    assert!(error.to_string().contains("peer.tls.cert_file"), "{error}");
    clock.advance(Duration::from_secs(6));
    let four = secured(4, &new, "four.cairn", &[]).await;
    expect_soon(&four.node, &two.node).await;
    // On demand.
    issue(&old, "two.cairn", two.folder.path(), false);
    two.tls.reload().unwrap();
    let five = secured(5, &old, "five.cairn", &[]).await;
    expect_soon(&five.node, &two.node).await;
}

#[tokio::test]
async fn settings_that_are_not_whole_are_refused() {
    let folder = TempDir::new().unwrap();
    issue(&authority(), "one.cairn", folder.path(), false);
    let whole = settings(folder.path(), &[]);
    let open = |settings: &PeerTlsSettings| {
        let clock = Arc::new(SystemClock::new());
        PeerTls::open(settings, clock)
    };
    assert!(open(&PeerTlsSettings::default()).unwrap().is_none());
    assert!(open(&whole).unwrap().is_some());
    let expect = |settings: PeerTlsSettings, wanted: &str| match open(&settings) {
        Err(PeerSetupError::Setting { key, .. }) => assert_eq!(key, wanted),
        other => panic!("{other:?}"),
    };
    let mut part = whole.clone();
    part.ca_file = None;
    expect(part, "peer.tls.ca_file");
    let mut part = whole.clone();
    part.cert_file = None;
    expect(part, "peer.tls.cert_file");
    let mut part = whole.clone();
    part.key_file = None;
    expect(part, "peer.tls.key_file");
    let mut part = PeerTlsSettings::default();
    part.names.push("one.cairn".to_owned());
    expect(part, "peer.tls.ca_file");
    let mut part = whole.clone();
    part.names.push("no name".to_owned());
    expect(part, "peer.tls.names");
    let mut part = whole.clone();
    part.key_file = Some(folder.path().join("cert.pem"));
    expect(part, "peer.tls.key_file");
    let mut part = whole;
    part.cert_file = Some(folder.path().join("ca.pem"));
    expect(part, "peer.tls.cert_file");
}
