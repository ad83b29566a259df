//! The founding record: written once, by whoever holds the lock.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::rig::*;
use crate::cluster::discovery::FoundingRecord;
use crate::cluster::discovery::consul::*;

/// A key-value store with sessions, as far as founding needs it.
#[derive(Default)]
struct Store {
    keys: std::collections::BTreeMap<String, String>,
    lock: Option<String>,
    sessions: u32,
}

impl Store {
    fn act(&mut self, asked: &Asked) -> Act {
        let path = asked.line.split([' ', '?']).nth(1).unwrap().to_owned();
        if asked.is("PUT /v1/session/create") {
            self.sessions += 1;
            return ok(&format!("{{\"ID\":\"s{}\"}}", self.sessions));
        }
        if asked.is("PUT /v1/session/destroy") {
            if path.rsplit('/').next() == self.lock.as_deref() {
                self.lock = None;
            }
            return ok("true");
        }
        if asked.is("PUT /v1/txn") {
            let steps: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
            let (check, cas) = (&steps[0]["KV"], &steps[1]["KV"]);
            let key = format!("/v1/kv/{}", cas["Key"].as_str().unwrap());
            let holds = self.lock.as_deref() == check["Session"].as_str();
            if !holds || self.keys.contains_key(&key) {
                return Act::Answer(409, None, "{\"Errors\":[]}".to_owned());
            }
            self.keys
                .insert(key, cas["Value"].as_str().unwrap().to_owned());
            return ok("{\"Results\":[]}");
        }
        if asked.is("GET /v1/kv") {
            assert!(asked.line.contains("raw&consistent"), "{}", asked.line);
            let value = self.keys.get(&path);
            return value.map_or(Act::Answer(404, None, String::new()), |value| ok(value));
        }
        if asked.line.contains("acquire=") {
            let session = asked.line.split("acquire=").nth(1).unwrap();
            let session = session.split(' ').next().unwrap().to_owned();
            let free = self.lock.is_none();
            self.lock = self.lock.take().or(Some(session));
            return ok(if free { "true" } else { "false" });
        }
        Act::Hold
    }
}

#[tokio::test]
async fn a_founding_record_is_written_once_by_whoever_holds_the_lock() {
    let store = Arc::new(Mutex::new(Store::default()));
    let played = Arc::clone(&store);
    let agent = Agent::start(move |asked| played.lock().act(asked)).await;
    let record = |name: &str| {
        let settings = at(&agent.address);
        let client = Client::new(&settings, &surroundings()).unwrap();
        Record::new(Arc::new(Api::new(client, None)), &settings, name)
    };
    let one = record("one");
    assert_eq!(one.read().await.unwrap(), None);
    // Somebody holds the lock and has not written yet.
    store.lock().lock = Some("other".to_owned());
    let held = one.decide("MINE".into()).await;
    assert_eq!(held, Err(DiscoveryError::Held));
    assert_eq!(
        store.lock().lock.as_deref(),
        Some("other"),
        "not ours to end"
    );
    // It writes, while we are between our read and our write.
    store.lock().lock = None;
    let two = record("two");
    let written = one.decide("MINE".into()).await.unwrap();
    assert_eq!(written, "MINE");
    assert_eq!(store.lock().lock, None, "the lock is given back");
    let written = agent.wait_for("PUT /v1/txn", 1).await;
    assert!(
        written[0].body.contains("\"Value\":\"TUlORQ==\""),
        "{}",
        written[0].body
    );
    // The store keeps what it was given: base64. What counts is that it is not the second's.
    assert_eq!(two.decide("THEIRS".into()).await.unwrap(), "TUlORQ==");
    assert_eq!(two.read().await.unwrap().unwrap(), "TUlORQ==");
    assert_eq!(agent.count("PUT /v1/txn"), 1);
    assert!(
        two.decide(Bytes::new()).await.is_err(),
        "an empty record decides nothing"
    );
}

#[tokio::test]
async fn a_lock_that_was_lost_writes_nothing() {
    let mut store = Store::default();
    let agent = Agent::start(move |asked| {
        if asked.is("PUT /v1/txn") {
            // The session has ended meanwhile.
            store.lock = Some("other".to_owned());
        }
        store.act(asked)
    })
    .await;
    let settings = at(&agent.address);
    let client = Client::new(&settings, &surroundings()).unwrap();
    let record = Record::new(Arc::new(Api::new(client, None)), &settings, "one");
    assert_eq!(
        record.decide("MINE".into()).await,
        Err(DiscoveryError::Held)
    );
    assert_eq!(record.read().await.unwrap(), None);
}

#[tokio::test]
async fn over_several_datacenters_the_first_holds_the_record() {
    let agent = Agent::start(|asked| {
        if asked.is("GET /v1/kv/cairn/cairn/founding?dc=east&raw&consistent") {
            return Act::Answer(404, None, String::new());
        }
        if asked.is("PUT /v1/kv/cairn/cairn/founding?dc=east&cas=0") {
            return ok("true");
        }
        Act::Answer(400, None, asked.line.clone())
    })
    .await;
    let settings = ConsulSettings {
        datacenters: vec!["east".to_owned(), "west".to_owned()],
        ..at(&agent.address)
    };
    let client = Client::new(&settings, &surroundings()).unwrap();
    let record = Record::new(Arc::new(Api::new(client, None)), &settings, "one");
    assert_eq!(record.decide("MINE".into()).await.unwrap(), "MINE");
}
