//! What comes to the port and does not belong there.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::nodes::{Node, PATIENCE, pair, pull};
use crate::cluster::peer::grpc::metrics::Side;
use crate::cluster::peer::grpc::reason::Reason;
use crate::cluster::peer::{Method, PeerError, Refused, Transport};
use crate::runtime::{Chance, SeededChance};

/// Sends bytes and returns what comes back until the other side closes.
async fn send(node: &Node, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(node.server.address()).await.unwrap();
    stream.write_all(bytes).await.ok();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer));
    read.await.expect("the connection is closed").ok();
    answer
}

#[tokio::test]
async fn garbage_is_counted_and_harmless() {
    let (one, two) = pair().await;
    let mut duplex = one.transport.duplex(two.me, Method::Append).await.unwrap();
    let chance = SeededChance::new(1);
    for len in [1, 9, 100, 5000] {
        let bytes: Vec<u8> = (0..len)
            .map(|_| chance.next_u64().to_le_bytes()[0])
            .collect();
        send(&two, &bytes).await;
    }
    let told = send(&two, b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let told = String::from_utf8(told).unwrap();
    assert!(
        told.starts_with("HTTP/1.1 400") && told.contains("9009"),
        "{told}"
    );
    // A beginning of HTTP/2, and then something else.
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend_from_slice(&[0xff; 200]);
    send(&two, &bytes).await;
    let metrics = &two.wiring.metrics;
    assert_eq!(metrics.refused_so_far(Reason::Garbage), 6);
    send(&two, b"\x16\x03\x01\x02\x00\x01\x00").await;
    assert_eq!(metrics.refused_so_far(Reason::Tls), 1);
    // Nobody else noticed.
    duplex
        .messages
        .send(Bytes::from_static(b"on"))
        .await
        .unwrap();
    assert_eq!(duplex.answers.recv().await.unwrap().unwrap(), "on");
    assert_eq!(one.ask(two.me, b"on").await.unwrap(), "on");
}

#[tokio::test]
async fn what_is_too_large_is_refused_on_both_sides() {
    let (one, two) = pair().await;
    let large = vec![0; (4 << 20) + 1];
    let asked = one.ask(two.me, &large).await;
    assert!(
        matches!(&asked, Err(PeerError::Refused { refused: Refused::Invalid(text), .. }) if text.contains("4194304")),
        "{asked:?}"
    );
    let asked = one
        .transport
        .call(two.me, Method::Select, Bytes::new(), PATIENCE)
        .await;
    assert!(
        matches!(
            &asked,
            Err(PeerError::Refused {
                refused: Refused::Invalid(_),
                ..
            })
        ),
        "{asked:?}"
    );
    let body = pull(1, 5 << 20);
    let mut answers = one
        .transport
        .stream(two.me, Method::Pull, body, PATIENCE)
        .await
        .unwrap();
    let last = answers.recv().await.unwrap();
    assert!(matches!(last, Err(PeerError::Refused { .. })), "{last:?}");
    let mut duplex = one.transport.duplex(two.me, Method::Append).await.unwrap();
    duplex.messages.send(large.into()).await.unwrap();
    let last = duplex.answers.recv().await;
    assert!(matches!(last, Some(Err(_))), "{last:?}");
    assert_eq!(one.ask(two.me, b"on").await.unwrap(), "on");
}

#[tokio::test]
async fn a_client_without_credentials_gets_a_reason() {
    use crate::cluster::peer::grpc::envelope::{Client, Message};
    let two = Node::start(2).await;
    let address = format!("http://{}", two.address());
    let mut client = Client::connect(address).await.unwrap();
    let ask = Message::ask(Method::Hello, Bytes::new());
    let status = client.call(ask).await.unwrap_err();
    assert!(status.message().contains("no credentials"), "{status:?}");
    assert_eq!(two.wiring.metrics.refused_so_far(Reason::Identity), 1);
}

#[tokio::test]
async fn an_unknown_method_is_refused() {
    use crate::cluster::peer::grpc::connection::{Connection, Wire};
    use crate::cluster::peer::grpc::envelope::{Client, Message};
    let (one, two) = pair().await;
    let connection = Connection::open(&two.address(), &one.wiring).await.unwrap();
    let identity = one.wiring.identity.clone();
    let wire = Wire::new(connection.into(), identity, Some(two.me));
    let mut client = Client::with_origin(wire, hyper::Uri::from_static("http://peer"));
    for method in [0, 4000, u32::MAX] {
        let body = Bytes::new();
        let status = client.call(Message { method, body }).await.unwrap_err();
        assert!(status.message().contains("is not known here"), "{status:?}");
    }
    assert_eq!(two.wiring.metrics.refused_so_far(Reason::Method), 3);
}

#[tokio::test]
async fn an_address_does_not_take_all_connections() {
    let (one, two) = pair().await;
    let mut open = Vec::new();
    for _ in 0..200 {
        open.push(TcpStream::connect(two.server.address()).await.unwrap());
    }
    for _ in 0..100 {
        if two.wiring.metrics.refused_so_far(Reason::TooMany) >= 72 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(two.wiring.metrics.refused_so_far(Reason::TooMany), 72);
    drop(open);
    // Their places are free again.
    for _ in 0..100 {
        if one.ask(two.me, b"").await.is_ok() {
            assert!(two.wiring.metrics.connections_now(Side::Answered) >= 1);
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the port is not reached any more");
}
