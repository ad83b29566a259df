//! Who is refused before a service sees anything.

use bytes::Bytes;

use super::nodes::{Node, PATIENCE, caller};
use crate::cluster::identity::{ClusterId, Session};
use crate::cluster::peer::grpc::Identity;
use crate::cluster::peer::grpc::reason::Reason;
use crate::cluster::peer::{Method, PeerError, Refused, Transport};
use crate::cluster::version::{PROTOCOL, ProtocolVersion};
use crate::model::Incarnation;

fn refusal<T: std::fmt::Debug>(asked: Result<T, PeerError>) -> Refused {
    match asked {
        Err(PeerError::Refused { refused, .. }) => refused,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn expect_stranger<T: std::fmt::Debug>(asked: Result<T, PeerError>, words: &str) {
    match refusal(asked) {
        Refused::Stranger(text) => assert!(text.contains(words), "{text}"),
        other => panic!("{other:?}"),
    }
}

fn refused(node: &Node, reason: Reason) -> u64 {
    node.wiring.metrics.refused_so_far(reason)
}

#[tokio::test]
async fn another_cluster_is_refused_in_all_shapes() {
    let one = Node::start(1).await;
    let two = Node::of(Identity::new(caller(2, Some(98)))).await;
    one.knows(&two);
    expect_stranger(one.ask(two.me, b"").await, "belongs to cluster");
    for method in [Method::Hello, Method::Pull] {
        let asked = one.transport.call(two.me, method, Bytes::new(), PATIENCE);
        expect_stranger(asked.await, "belongs to cluster");
    }
    let asked = one
        .transport
        .stream(two.me, Method::Pull, Bytes::new(), PATIENCE);
    expect_stranger(asked.await, "belongs to cluster");
    let asked = one.transport.duplex(two.me, Method::Append);
    expect_stranger(asked.await, "belongs to cluster");
    assert_eq!(refused(&two, Reason::Cluster), 5);
}

#[tokio::test]
async fn without_a_cluster_only_strangers_questions_are_answered() {
    let one = Node::of(Identity::new(caller(1, None))).await;
    let two = Node::start(2).await;
    one.knows(&two);
    two.knows(&one);
    let hello = one
        .transport
        .call(two.me, Method::Hello, Bytes::new(), PATIENCE);
    assert_eq!(hello.await.unwrap(), one.me.to_string());
    expect_stranger(one.ask(two.me, b"").await, "belongs to no cluster");
    let asked = one.transport.duplex(two.me, Method::Append);
    expect_stranger(asked.await, "belongs to no cluster");
    // A stranger says little.
    let large = Bytes::from(vec![0; 65 << 10]);
    let asked = one
        .transport
        .call(two.me, Method::Hello, large, PATIENCE)
        .await;
    assert!(matches!(refusal(asked), Refused::Invalid(_)));
    assert_eq!(refused(&two, Reason::Size), 1);
    // And asks for little of a stranger.
    let asked = refusal(two.ask(one.me, b"").await);
    assert!(matches!(asked, Refused::Unavailable(_)), "{asked:?}");
    // The cluster becomes known, and never changes again.
    one.wiring.identity.belong(ClusterId(99), 1).unwrap();
    assert_eq!(one.ask(two.me, b"in").await.unwrap(), "in");
    assert_eq!(two.ask(one.me, b"in").await.unwrap(), "in");
    assert!(one.wiring.identity.belong(ClusterId(98), 1).is_err());
}

#[tokio::test]
async fn versions_apart_do_not_talk_and_neighbours_do() {
    let of = |number, minor, major| {
        let version = ProtocolVersion { major, minor };
        Node::of(Identity::of_version(caller(number, Some(99)), version))
    };
    let now = Node::start(1).await;
    let next = of(2, PROTOCOL.minor + 1, PROTOCOL.major).await;
    let later = of(3, PROTOCOL.minor + 2, PROTOCOL.major).await;
    let other = of(4, PROTOCOL.minor, PROTOCOL.major + 1).await;
    for node in [&next, &later, &other] {
        now.knows(node);
        node.knows(&now);
    }
    assert!(now.ask(next.me, b"").await.is_ok());
    assert!(next.ask(now.me, b"").await.is_ok());
    for node in [&later, &other] {
        expect_stranger(now.ask(node.me, b"").await, "version");
        expect_stranger(node.ask(now.me, b"").await, "version");
    }
    assert_eq!(refused(&now, Reason::Version), 2);
}

#[tokio::test]
async fn another_incarnation_at_the_address_is_not_taken_for_the_peer() {
    let (one, two) = (Node::start(1).await, Node::start(2).await);
    one.transport.know(Incarnation(3), &[two.address()]);
    expect_stranger(one.ask(Incarnation(3), b"").await, "answers there instead");
    let asked = one.transport.duplex(Incarnation(3), Method::Append);
    expect_stranger(asked.await, "answers there instead");
    assert_eq!(refused(&two, Reason::NotMe), 2);
}

fn session(starts: u64, nonce: u128) -> Session {
    Session { starts, nonce }
}

async fn of_session(number: u128, starts: u64, nonce: u128) -> Node {
    let mut caller = caller(number, Some(99));
    caller.session = session(starts, nonce);
    Node::of(Identity::new(caller)).await
}

#[tokio::test]
async fn an_older_start_and_a_copy_are_told_so() {
    let peer = Node::start(9).await;
    let old = of_session(1, 3, 30).await;
    let new = of_session(1, 4, 40).await;
    let copy = of_session(1, 4, 41).await;
    for node in [&old, &new, &copy] {
        node.knows(&peer);
    }
    assert!(old.ask(peer.me, b"").await.is_ok());
    assert!(new.ask(peer.me, b"").await.is_ok());
    for (node, reason) in [(&old, Reason::OldSession), (&copy, Reason::CopiedSession)] {
        assert_eq!(node.wiring.identity.is_superseded(), None);
        let told = refusal(node.ask(peer.me, b"").await);
        assert!(matches!(told, Refused::OldSession(_)), "{told:?}");
        assert_eq!(refused(&peer, reason), 1);
        let why = node.wiring.identity.superseded().await;
        assert!(why.contains("start"), "{why}");
    }
    assert_eq!(new.wiring.identity.is_superseded(), None);
    // What the control state says counts too.
    peer.wiring
        .identity
        .note_session(Incarnation(1), session(5, 50));
    assert!(new.ask(peer.me, b"").await.is_err());
    assert!(new.wiring.identity.is_superseded().is_some());
}

#[tokio::test]
async fn an_answerer_that_was_started_again_elsewhere_is_not_believed() {
    let peer = Node::start(9).await;
    let old = of_session(1, 3, 30).await;
    peer.knows(&old);
    assert!(peer.ask(old.me, b"").await.is_ok());
    let identity = &peer.wiring.identity;
    identity.note_session(old.me, session(4, 40));
    expect_stranger(peer.ask(old.me, b"").await, "not its latest");
    // It hears of its later self, from itself or from the control state.
    let new = of_session(1, 4, 40).await;
    new.transport.know(old.me, &[old.address()]);
    assert!(new.ask(old.me, b"").await.is_err());
    assert!(old.wiring.identity.is_superseded().is_some());
    let other = of_session(1, 3, 30).await;
    let identity = &other.wiring.identity;
    identity.note_session(other.me, session(4, 40));
    assert!(identity.is_superseded().is_some());
}
