//! A node is registered as it should be, once, and again where an agent forgot.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::sleep;

use super::rig::*;
use crate::cluster::discovery::Secret;
use crate::cluster::discovery::consul::*;

#[tokio::test]
async fn a_node_registers_watches_with_the_index_and_takes_itself_off() {
    let mut watches = VecDeque::from([
        Act::Answer(200, Some(7), healthy(&["10.0.0.2:9095", "10.0.0.1:9095"])),
        Act::Answer(200, Some(9), healthy(&["10.0.0.1:9095"])),
    ]);
    let agent = Agent::start(move |asked| {
        if asked.is("GET /v1/health") {
            return watches.pop_front().unwrap_or(Act::Hold);
        }
        ok("")
    })
    .await;
    let settings = ConsulSettings {
        token: Secret::new("s3cret".to_owned()),
        namespace: Some("team".to_owned()),
        ..at(&agent.address)
    };
    let surroundings = surroundings();
    // The namespace stands before everything else.
    let consul = Consul::open(&settings, &node(), &surroundings).unwrap();
    let mut sightings = consul.sightings();
    sightings.changed().await.unwrap();
    assert_eq!(addresses(&consul), ["10.0.0.1:9095", "10.0.0.2:9095"]);
    sightings.changed().await.unwrap();
    assert_eq!(addresses(&consul), ["10.0.0.1:9095"]);

    let asked = agent.wait_for("GET /v1/health", 3).await;
    let line = "GET /v1/health/service/cairn-peer?ns=team&passing&stale";
    assert_eq!(asked[0].line, format!("{line} HTTP/1.1"));
    assert_eq!(asked[1].line, format!("{line}&index=7&wait=300s HTTP/1.1"));
    assert_eq!(asked[2].line, format!("{line}&index=9&wait=300s HTTP/1.1"));
    let registered = agent.wait_for("PUT /v1/agent/service/register", 2).await;
    let id = |asked: &Asked| -> serde_json::Value {
        serde_json::from_str::<serde_json::Value>(&asked.body).unwrap()["ID"].clone()
    };
    assert_eq!(id(&registered[0]), "cairn-peer-board-1");
    assert_eq!(id(&registered[1]), "cairn-board-1");
    assert!(
        registered
            .iter()
            .all(|asked| asked.token() == Some("s3cret"))
    );

    consul.close().await;
    agent
        .wait_for("PUT /v1/agent/service/deregister/cairn-board-1?ns", 1)
        .await;
    agent
        .wait_for("PUT /v1/agent/service/deregister/cairn-peer-board-1?ns", 1)
        .await;
    let asked = agent.asked.lock().len();
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(
        agent.asked.lock().len(),
        asked,
        "a closed node asks nothing"
    );
    // The third watch, called off by the close, is counted too.
    assert_eq!(surroundings.metrics.requests(), asked as u64);
}

#[tokio::test]
async fn an_agent_that_forgot_is_told_again_as_soon_as_it_is_back() {
    // Up, gone for two queries, back without knowing anybody.
    let mut watches = VecDeque::from([
        Act::Answer(200, Some(700), healthy(&["10.0.0.1:9095"])),
        Act::HangUp,
        Act::Answer(500, None, "No cluster leader".to_owned()),
        Act::Answer(200, Some(3), healthy(&[])),
    ]);
    let agent = Agent::start(move |asked| {
        if asked.is(WATCH) {
            return watches.pop_front().unwrap_or(Act::Hold);
        }
        if asked.is(LOOK) { ok("{}") } else { ok("") }
    })
    .await;
    let consul = Consul::open(&at(&agent.address), &node(), &surroundings()).unwrap();
    let asked = agent.wait_for(WATCH, 5).await;
    let indexed = asked.iter().map(|asked| asked.line.contains("index="));
    // After a failure without: a Consul that counts from the start would hold the query.
    let expected = [false, true, false, false, true];
    assert_eq!(indexed.take(5).collect::<Vec<_>>(), expected);
    agent.wait_for(LOOK, 1).await;
    agent.wait_for(REGISTER, 4).await;
    assert_eq!(consul.trouble(), None);
}

fn as_known_with_another_port(body: &serde_json::Value) -> (String, serde_json::Value) {
    let mut body = body.clone();
    body["Service"] = body["Name"].clone();
    if body["Name"] == "cairn" {
        body["Port"] = 1.into();
    }
    (body["ID"].as_str().unwrap().to_owned(), body)
}

#[tokio::test]
async fn what_is_registered_as_it_should_be_is_left_alone() {
    let mut bodies: Vec<serde_json::Value> = Vec::new();
    let mut watches = VecDeque::from([Act::HangUp]);
    let agent = Agent::start(move |asked| {
        if asked.is(WATCH) {
            let next = Act::Answer(200, Some(5), healthy(&[]));
            return watches.pop_front().unwrap_or(next);
        }
        if asked.is(LOOK) {
            let known = bodies.iter().map(as_known_with_another_port);
            return ok(&serde_json::Value::Object(known.collect()).to_string());
        }
        bodies.push(serde_json::from_str(&asked.body).unwrap());
        ok("")
    })
    .await;
    let _consul = Consul::open(&at(&agent.address), &node(), &surroundings()).unwrap();
    agent.wait_for(LOOK, 1).await;
    let registered = agent.wait_for(REGISTER, 3).await;
    sleep(Duration::from_millis(300)).await;
    assert_eq!(agent.count(REGISTER), 3);
    assert!(registered[2].body.contains("\"ID\":\"cairn-board-1\""));
}
