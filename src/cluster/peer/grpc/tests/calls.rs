//! What the wire carries, and what happens when one side goes away.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::nodes::{Node, PATIENCE, pair, pull, wiring};
use crate::cluster::peer::grpc::PEER_MESSAGE_BYTES_MAX;
use crate::cluster::peer::grpc::metrics::{Ending, Side};
use crate::cluster::peer::{Method, PeerError, Refused, Transport};
use crate::model::Incarnation;

const FOREVER: Duration = Duration::from_secs(600);

#[tokio::test]
async fn a_question_is_answered_refused_or_times_out() {
    let (one, two) = pair().await;
    assert_eq!(one.ask(two.me, b"abc").await.unwrap(), "abc");
    let large = vec![3; PEER_MESSAGE_BYTES_MAX];
    assert_eq!(one.ask(two.me, &large).await.unwrap(), large);
    let refused = one
        .transport
        .call(two.me, Method::Status, Bytes::new(), PATIENCE)
        .await;
    let nothing = Refused::NotFound("nothing is here".to_owned());
    assert!(matches!(refused, Err(PeerError::Refused { refused, .. }) if refused == nothing));
    let late = one
        .transport
        .call(
            two.me,
            Method::ReadState,
            Bytes::new(),
            Duration::from_millis(100),
        )
        .await;
    assert!(matches!(late, Err(PeerError::TimedOut { ms: 100, .. })));
    two.probe.idle().await;
    let hello = one
        .transport
        .call_at(&two.address(), Method::Hello, Bytes::new(), PATIENCE)
        .await;
    assert_eq!(hello.unwrap(), one.me.to_string());
    let nobody = one.ask(Incarnation(5), b"").await;
    assert!(matches!(nobody, Err(PeerError::Unreachable { .. })));
    let metrics = &one.wiring.metrics;
    let count = |method, ending| metrics.requests_so_far(method, Side::Asked, ending);
    assert_eq!(count(Method::Cut, Ending::Done), 2);
    assert_eq!(count(Method::Cut, Ending::Unreachable), 1);
    assert_eq!(count(Method::Status, Ending::Refused), 1);
    assert_eq!(count(Method::ReadState, Ending::TimedOut), 1);
    let metrics = &two.wiring.metrics;
    let count = |method, ending| metrics.requests_so_far(method, Side::Answered, ending);
    assert_eq!(count(Method::ReadState, Ending::CalledOff), 1);
    assert_eq!(count(Method::Status, Ending::Refused), 1);
}

#[tokio::test]
async fn a_stream_ends_with_its_last_word() {
    let (one, two) = pair().await;
    let mut answers = one
        .transport
        .stream(two.me, Method::Pull, pull(100, 1000), PATIENCE)
        .await
        .unwrap();
    for _ in 0..100 {
        assert_eq!(answers.recv().await.unwrap().unwrap().len(), 1000);
    }
    let last = answers.recv().await.unwrap();
    assert!(matches!(last, Err(PeerError::Refused { .. })), "{last:?}");
    assert!(answers.recv().await.is_none());
    // One that stops saying anything is given up.
    let mut answers = one
        .transport
        .stream(
            two.me,
            Method::FetchBlock,
            Bytes::new(),
            Duration::from_millis(200),
        )
        .await
        .unwrap();
    assert_eq!(answers.recv().await.unwrap().unwrap(), "one");
    let last = answers.recv().await.unwrap();
    assert!(matches!(last, Err(PeerError::TimedOut { .. })), "{last:?}");
    two.probe.idle().await;
}

#[tokio::test]
async fn both_directions_at_once() {
    let (one, two) = pair().await;
    let mut duplex = one.transport.duplex(two.me, Method::Append).await.unwrap();
    for round in 0..200_u32 {
        let message = Bytes::copy_from_slice(&round.to_le_bytes());
        duplex.messages.send(message.clone()).await.unwrap();
        assert_eq!(duplex.answers.recv().await.unwrap().unwrap(), message);
    }
    drop(duplex.messages);
    assert!(duplex.answers.recv().await.is_none());
    two.probe.idle().await;
}

#[tokio::test]
async fn what_is_dropped_is_called_off_at_the_peer() {
    let (one, two) = pair().await;
    let transport = one.transport.clone();
    let to = two.me;
    let call = tokio::spawn(async move {
        let method = Method::ReadState;
        transport.call(to, method, Bytes::new(), FOREVER).await
    });
    let stream = one
        .transport
        .stream(two.me, Method::FetchBlock, Bytes::new(), FOREVER)
        .await
        .unwrap();
    let duplex = one.transport.duplex(two.me, Method::Stage).await.unwrap();
    two.probe.busy(3).await;
    call.abort();
    two.probe.busy(2).await;
    drop(stream);
    two.probe.busy(1).await;
    // Who does not listen any more is gone, also while it could still speak.
    drop(duplex.answers);
    two.probe.idle().await;
    assert_eq!(one.ask(two.me, b"on").await.unwrap(), "on");
}

#[tokio::test]
async fn a_slow_reader_holds_the_sender_up_and_nobody_else() {
    const BYTES: u32 = 16 << 10;
    let (one, two) = pair().await;
    let mut slow = Vec::new();
    for _ in 0..32 {
        let body = pull(1_000_000, BYTES);
        let answers = one.transport.stream(two.me, Method::Pull, body, PATIENCE);
        slow.push(answers.await.unwrap());
    }
    // No further one finds a place, whatever its patience.
    let body = pull(1, BYTES);
    let patience = Duration::from_millis(300);
    let more = one.transport.stream(two.me, Method::Pull, body, patience);
    assert!(matches!(more.await, Err(PeerError::TimedOut { .. })));
    let made = two.probe.made.load(Ordering::SeqCst);
    // A window, what is buffered for sending, and the queues of each stream.
    let bound = 32 * ((128 << 10) + (256 << 10) + 16 * BYTES as usize);
    assert!(made * BYTES as usize <= bound, "{made} messages");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(two.probe.made.load(Ordering::SeqCst), made);
    // The last one is read although all others stand still; and small questions pass.
    let last = slow.last_mut().unwrap();
    for _ in 0..200 {
        last.recv().await.unwrap().unwrap();
    }
    assert_eq!(one.ask(two.me, b"on").await.unwrap(), "on");
    drop(slow);
    two.probe.idle().await;
}

#[tokio::test]
async fn a_speaker_waits_for_a_peer_that_does_not_hear() {
    let (one, two) = pair().await;
    let duplex = one.transport.duplex(two.me, Method::Stage).await.unwrap();
    let mut said = 0;
    let message = Bytes::from(vec![1; 64 << 10]);
    let wait = Duration::from_millis(300);
    while tokio::time::timeout(wait, duplex.messages.send(message.clone()))
        .await
        .is_ok()
    {
        said += 1;
        assert!(said < 100, "nothing holds it up");
    }
    assert!(said > 4, "{said}");
}

#[tokio::test]
async fn a_peer_that_is_gone_ends_what_is_under_way() {
    let (one, two) = pair().await;
    let transport = one.transport.clone();
    let to = two.me;
    let call = tokio::spawn(async move {
        let method = Method::ReadState;
        transport.call(to, method, Bytes::new(), FOREVER).await
    });
    let mut stream = one
        .transport
        .stream(two.me, Method::FetchBlock, Bytes::new(), FOREVER)
        .await
        .unwrap();
    let mut duplex = one.transport.duplex(two.me, Method::Stage).await.unwrap();
    two.probe.busy(3).await;
    assert_eq!(stream.recv().await.unwrap().unwrap(), "one");
    let address = two.address();
    drop(two.server);
    let call = call.await.unwrap();
    assert!(
        matches!(call, Err(PeerError::Unreachable { .. })),
        "{call:?}"
    );
    let last = stream.recv().await.unwrap();
    assert!(
        matches!(last, Err(PeerError::Unreachable { .. })),
        "{last:?}"
    );
    let last = duplex.answers.recv().await.unwrap();
    assert!(
        matches!(last, Err(PeerError::Unreachable { .. })),
        "{last:?}"
    );
    two.probe.idle().await;
    let failed = one.ask(to, b"").await;
    assert!(matches!(failed, Err(PeerError::Unreachable { .. })));
    // It is back at the same address, and is found again within the longest pause.
    let back = Node::wired(wiring(two.wiring.identity, None), &address).await;
    let began = Instant::now();
    while one.ask(to, b"x").await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "not found again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(back);
}

#[tokio::test]
async fn a_stop_lets_short_calls_end() {
    let (one, two) = pair().await;
    let mut duplex = one.transport.duplex(two.me, Method::Append).await.unwrap();
    let began = Instant::now();
    two.server.stop().await;
    assert!(began.elapsed() < Duration::from_secs(20));
    let last = duplex.answers.recv().await;
    assert!(matches!(
        last,
        None | Some(Err(PeerError::Unreachable { .. }))
    ));
    assert_eq!(two.wiring.metrics.connections_now(Side::Answered), 0);
}

#[tokio::test]
async fn a_peer_that_hangs_is_noticed_within_seconds() {
    // It accepts, and then says nothing, as a stopped process does.
    let one = Node::start(1).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    one.transport.know(Incarnation(2), &[address]);
    let began = Instant::now();
    let method = Method::Cut;
    let asked = one
        .transport
        .call(Incarnation(2), method, Bytes::new(), FOREVER);
    let asked = asked.await;
    assert!(
        matches!(asked, Err(PeerError::Unreachable { .. })),
        "{asked:?}"
    );
    let took = began.elapsed();
    assert!(
        took > Duration::from_secs(2) && took < Duration::from_secs(6),
        "{took:?}"
    );
}

#[tokio::test]
async fn a_peer_that_moves_is_followed() {
    let (one, two) = pair().await;
    assert!(one.ask(two.me, b"").await.is_ok());
    let mut duplex = one.transport.duplex(two.me, Method::Append).await.unwrap();
    let elsewhere = Node::wired(wiring(two.wiring.identity.clone(), None), "127.0.0.1:0").await;
    one.transport.know(two.me, &[elsewhere.address()]);
    let last = tokio::time::timeout(PATIENCE, duplex.answers.recv()).await;
    let last = last.expect("what leads elsewhere is closed").unwrap();
    assert!(
        matches!(last, Err(PeerError::Unreachable { .. })),
        "{last:?}"
    );
    assert_eq!(one.ask(two.me, b"there").await.unwrap(), "there");
    let count = |node: &Node| {
        let metrics = &node.wiring.metrics;
        metrics.requests_so_far(Method::Cut, Side::Answered, Ending::Done)
    };
    assert_eq!((count(&two), count(&elsewhere)), (1, 1));
    // Of several addresses the one that answers is taken.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    one.transport.know(two.me, &[closed, two.address()]);
    assert_eq!(one.ask(two.me, b"back").await.unwrap(), "back");
    one.transport.know(two.me, &[]);
    assert!(one.ask(two.me, b"").await.is_err());
}
