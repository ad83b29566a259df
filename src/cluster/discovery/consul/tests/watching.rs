//! What is watched: indexes, datacenters.

use std::collections::VecDeque;

use super::rig::*;
use crate::cluster::discovery::consul::*;

#[tokio::test]
async fn an_index_that_goes_back_raises_doubt() {
    let mut watches = VecDeque::from([
        Act::Answer(200, Some(700), healthy(&[])),
        Act::Answer(200, Some(3), healthy(&[])),
    ]);
    let agent = Agent::start(move |asked| {
        if asked.is(WATCH) {
            return watches.pop_front().unwrap_or(Act::Hold);
        }
        if asked.is(LOOK) { ok("{}") } else { ok("") }
    })
    .await;
    let _consul = Consul::open(&at(&agent.address), &node(), &surroundings()).unwrap();
    agent.wait_for(LOOK, 1).await;
    agent.wait_for(REGISTER, 4).await;
    let asked = agent.wait_for(WATCH, 3).await;
    assert!(!asked[2].line.contains("index"), "{}", asked[2].line);
}

#[tokio::test]
async fn each_datacenter_is_watched_and_what_they_say_put_together() {
    let agent = Agent::start(|asked| {
        if asked.line.contains("index=") {
            return Act::Hold;
        }
        if asked.line.contains("dc=east") {
            return Act::Answer(200, Some(1), healthy(&["10.0.0.1:9095"]));
        }
        if asked.line.contains("dc=west") {
            return Act::Answer(200, Some(1), healthy(&["10.1.0.1:9095"]));
        }
        ok("true")
    })
    .await;
    let settings = ConsulSettings {
        datacenters: vec!["east".to_owned(), "west".to_owned()],
        ..at(&agent.address)
    };
    let consul = Consul::open(&settings, &node(), &surroundings()).unwrap();
    let mut sightings = consul.sightings();
    let both = sightings.wait_for(|seen| seen.peers.len() == 2);
    drop(both.await.unwrap());
    assert_eq!(addresses(&consul), ["10.0.0.1:9095", "10.1.0.1:9095"]);
}
