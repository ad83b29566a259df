//! Calls and streams over links that are there, and over those that are not.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::MemoryNetwork;
use crate::cluster::identity::Session;
use crate::cluster::peer::message::{Caller, Method, PeerError, Refused};
use crate::cluster::peer::service::{Service, Services};
use crate::cluster::peer::transport::{Blocking, Outgoing, Serving};
use crate::model::Incarnation;

struct Echo;

impl Service for Echo {
    fn call<'a>(&'a self, from: &'a Caller, _: Method, body: Bytes) -> Serving<'a, Bytes> {
        let answer = format!("{} to {}", body.len(), from.incarnation.0);
        Box::pin(async move { Ok(Bytes::from(answer)) })
    }

    fn stream<'a>(
        &'a self,
        _: &'a Caller,
        _: Method,
        body: Bytes,
        answers: Outgoing,
    ) -> Serving<'a, ()> {
        Box::pin(async move {
            for byte in body {
                let _ = answers.send(Bytes::from(vec![byte])).await;
            }
            Err(Refused::NotFound("no more".to_owned()))
        })
    }
}

fn caller(number: u128) -> Caller {
    Caller {
        cluster: None,
        generation: 0,
        incarnation: Incarnation(number),
        session: Session {
            starts: 1,
            nonce: number,
        },
    }
}

#[test]
fn calls_go_where_a_link_is() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let network = Arc::new(MemoryNetwork::default());
    let services = Arc::new(Services::default());
    let echo: Arc<dyn Service> = Arc::new(Echo);
    services.enter(&[Method::Cut, Method::Pull], &echo);
    network.connect(caller(2), services);
    let transport = network.connect(caller(1), Arc::default());
    let peers = Blocking::new(transport, runtime.handle().clone());
    let ask = |method, to| {
        peers.call(
            Incarnation(to),
            method,
            Bytes::from_static(b"abc"),
            Duration::from_secs(1),
        )
    };
    assert_eq!(ask(Method::Cut, 2).unwrap(), "3 to 1");
    assert!(matches!(
        ask(Method::Stage, 2),
        Err(PeerError::Refused { .. })
    ));
    assert!(matches!(
        ask(Method::Cut, 3),
        Err(PeerError::Unreachable { .. })
    ));
    network.cut(Incarnation(1), Incarnation(2), true);
    assert!(matches!(
        ask(Method::Cut, 2),
        Err(PeerError::Unreachable { .. })
    ));
    network.cut(Incarnation(1), Incarnation(2), false);
    let body = Bytes::from_static(b"xy");
    let mut answers = peers
        .stream(Incarnation(2), Method::Pull, body, Duration::from_secs(1))
        .unwrap();
    assert_eq!(peers.next(&mut answers).unwrap().unwrap(), "x");
    assert_eq!(peers.next(&mut answers).unwrap().unwrap(), "y");
    assert!(matches!(
        peers.next(&mut answers),
        Err(PeerError::Refused { .. })
    ));
    let all = peers.call_all(
        vec![
            (Incarnation(3), Bytes::new()),
            (Incarnation(2), Bytes::new()),
        ],
        Method::Cut,
        Duration::from_secs(1),
    );
    network.disconnect(Incarnation(2));
    assert!(matches!(
        ask(Method::Cut, 2),
        Err(PeerError::Unreachable { .. })
    ));
    assert!(all[0].1.is_err() && all[1].1.as_deref() == Ok(b"0 to 1"));
}
