//! An agent that answers nonsense, is restless, or is away.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use super::rig::*;
use crate::cluster::discovery::consul::*;
use crate::runtime::ManualClock;

#[tokio::test]
async fn answers_that_are_none_change_nothing_and_are_told() {
    let check = async |act: Act, words: &[&str]| {
        let good = Act::Answer(200, Some(7), healthy(&["10.0.0.2:9095"]));
        let mut watches = VecDeque::from([good, act]);
        let agent = Agent::start(move |asked| {
            if asked.is(WATCH) {
                return watches.pop_front().unwrap_or(Act::Hold);
            }
            ok("")
        })
        .await;
        let consul = Consul::open(&at(&agent.address), &node(), &surroundings()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let trouble = loop {
            if let Some(trouble) = consul.trouble() {
                break trouble;
            }
            assert!(Instant::now() < deadline, "no complaint with {words:?}");
            sleep(Duration::from_millis(10)).await;
        };
        for word in words {
            assert!(trouble.contains(word), "{word}: {trouble}");
        }
        assert_eq!(
            addresses(&consul),
            ["10.0.0.2:9095"],
            "the last sighting stays"
        );
    };
    let raw = |text: &str| Act::Raw(text.as_bytes().to_vec());
    let huge = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 64 << 20);
    let mut huge = huge.into_bytes();
    huge.resize(10 << 20, b' ');
    tokio::join!(
        check(Act::HangUp, &["watching for peers", "gives no answer"]),
        check(
            Act::Answer(403, None, "Permission denied".to_owned()),
            &["403", "Permission denied", "token"]
        ),
        check(Act::Answer(404, None, String::new()), &["404"]),
        check(
            Act::Answer(500, None, "No cluster leader".to_owned()),
            &["No cluster leader"]
        ),
        check(Act::Answer(301, None, String::new()), &["301"]),
        check(ok("<html>"), &["cannot be read"]),
        check(ok("[{\"Node\":3}]"), &["cannot be read"]),
        check(
            raw("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n[]"),
            &["broke off"]
        ),
        check(raw("SSH-2.0-OpenSSH\r\n"), &["gives no answer"]),
        check(Act::Raw(huge), &["length limit exceeded"]),
    );
}

#[tokio::test]
async fn whatever_goes_wrong_above_the_agent_is_not_flooded() {
    // A clock that stands still: no turn comes back.
    let agent = Agent::start(|_| ok("true")).await;
    let surroundings = Surroundings {
        clock: Arc::new(ManualClock::default()),
        ..surroundings()
    };
    let client = Client::new(&at(&agent.address), &surroundings).unwrap();
    let api = Arc::new(Api::new(client, None));
    let key = api::Key {
        name: "k",
        datacenter: None,
    };
    let all = (0..40).map(|_| {
        let api = Arc::clone(&api);
        tokio::spawn(async move { api.create(key, b"v").await })
    });
    let all: Vec<JoinHandle<_>> = all.collect();
    agent.wait_for("PUT /v1/kv", 20).await;
    sleep(Duration::from_millis(700)).await;
    assert_eq!(
        agent.count("PUT /v1/kv"),
        20,
        "twenty at once, then one in four seconds"
    );
    // But whoever stops may take itself off.
    api.deregister("x").await.unwrap();
    assert_eq!(surroundings.metrics.requests(), 21);
    for one in all {
        one.abort();
    }
}

#[tokio::test]
async fn a_restless_agent_is_asked_a_bounded_number_of_times() {
    // Every answer comes at once, with a new index and other peers: the worst case for a watch.
    let mut index = 0;
    let agent = Agent::start(move |asked| {
        if asked.is(WATCH) {
            index += 1;
            let peer = format!("10.0.0.{}:9095", index % 250);
            return Act::Answer(200, Some(index), healthy(&[&peer]));
        }
        ok("{}")
    })
    .await;
    let surroundings = surroundings();
    let consul = Consul::open(&at(&agent.address), &node(), &surroundings).unwrap();
    sleep(Duration::from_secs(5)).await;
    consul.close().await;
    // In five seconds: two registrations, a query a second, and taking both off.
    let asked = agent.asked.lock().len();
    assert!((7..=10).contains(&asked), "{asked} requests");
    assert_eq!(surroundings.metrics.requests(), asked as u64);
}

#[tokio::test]
async fn an_agent_that_is_away_stops_nobody() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let consul = Consul::open(&at(&address), &node(), &surroundings()).unwrap();
    assert!(!consul.sightings().borrow().answered);
    let Founding::Record(record) = consul.founding() else {
        panic!("Consul has a record");
    };
    let error = record.decide("x".into()).await.unwrap_err();
    assert!(matches!(error, DiscoveryError::Away { .. }), "{error}");
    let begun = Instant::now();
    consul.close().await;
    assert!(begun.elapsed() < Duration::from_secs(5));
}
