//! The backend against an agent that plays by a script: what a real one does rarely, or never
//! should. What a real one does is in `tests/e2e`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use super::*;
use crate::cluster::discovery::{DiscoveryMetrics, Endpoint, FoundingRecord, Secret};
use crate::model::Incarnation;
use crate::runtime::{ManualClock, SeededChance, SystemClock};

/// A request as it came.
#[derive(Clone, Debug)]
struct Asked {
    /// `GET /v1/...`
    line: String,
    head: String,
    body: String,
}

impl Asked {
    fn is(&self, start: &str) -> bool {
        self.line.starts_with(start)
    }

    fn token(&self) -> Option<&str> {
        let line = self.head.lines().find(|l| l.starts_with("x-consul-token:"));
        line.map(|line| line.split_once(':').unwrap().1.trim())
    }
}

/// What the agent does with a request.
enum Act {
    /// Status, `X-Consul-Index`, body.
    Answer(u16, Option<u64>, String),
    /// Answers nothing for a long time.
    Hold,
    /// Closes the connection.
    HangUp,
    /// Sends these bytes and closes.
    Raw(Vec<u8>),
}

fn ok(body: &str) -> Act {
    Act::Answer(200, None, body.to_owned())
}

type Script = Box<dyn FnMut(&Asked) -> Act + Send>;

/// An agent on a loopback port.
struct Agent {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    serving: JoinHandle<()>,
}

impl Agent {
    async fn start(script: impl FnMut(&Asked) -> Act + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(script)));
        let seen = Arc::clone(&asked);
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&seen), Arc::clone(&script)));
            }
        });
        Self {
            address,
            asked,
            serving,
        }
    }

    fn count(&self, start: &str) -> usize {
        let asked = self.asked.lock();
        asked.iter().filter(|asked| asked.is(start)).count()
    }

    async fn wait_for(&self, start: &str, times: usize) -> Vec<Asked> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.count(start) < times {
            assert!(
                Instant::now() < deadline,
                "{start} was not asked {times} times: {:#?}",
                self.asked.lock()
            );
            sleep(Duration::from_millis(10)).await;
        }
        let asked = self.asked.lock();
        asked.iter().filter(|a| a.is(start)).cloned().collect()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Vec<Asked>>>, script: Arc<Mutex<Script>>) {
    let mut bytes = Vec::new();
    let asked = loop {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
            .unwrap_or(0);
        if body.len() >= length {
            break Asked {
                line: head.lines().next().unwrap().to_owned(),
                head: head.to_owned(),
                body: body.to_owned(),
            };
        }
    };
    let act = script.lock()(&asked);
    seen.lock().push(asked);
    let bytes = match act {
        Act::HangUp => return,
        Act::Hold => {
            sleep(Duration::from_secs(600)).await;
            return;
        }
        Act::Raw(bytes) => bytes,
        Act::Answer(status, index, body) => {
            let index = index.map_or(String::new(), |index| {
                format!("X-Consul-Index: {index}\r\n")
            });
            let length = body.len();
            format!("HTTP/1.1 {status} x\r\n{index}Content-Length: {length}\r\n\r\n{body}").into()
        }
    };
    // The other side may have gone.
    let _ = stream.write_all(&bytes).await;
}

fn node() -> Announcement {
    Announcement {
        name: "board-1".to_owned(),
        incarnation: Incarnation(1),
        zone: "a".to_owned(),
        version: "0.1.0".to_owned(),
        peer: Endpoint {
            host: Some("10.0.0.1".to_owned()),
            port: 9095,
        },
        http: Endpoint {
            host: None,
            port: 9009,
        },
    }
}

fn surroundings() -> Surroundings {
    Surroundings {
        clock: Arc::new(SystemClock::new()),
        chance: Arc::new(SeededChance::new(1)),
        metrics: DiscoveryMetrics::default(),
    }
}

fn at(address: &str) -> ConsulSettings {
    ConsulSettings {
        consul_http_addr: address.to_owned(),
        ..ConsulSettings::default()
    }
}

fn healthy(peers: &[&str]) -> String {
    let entry = |peer: &&str| {
        let (host, port) = peer.rsplit_once(':').unwrap();
        serde_json::json!({
            "Node": {"Node": "n", "Address": "192.0.2.1"},
            "Service": {"Address": host, "Port": port.parse::<u16>().unwrap()},
        })
    };
    serde_json::Value::from(peers.iter().map(entry).collect::<Vec<_>>()).to_string()
}

fn addresses(consul: &Consul) -> Vec<String> {
    let seen = consul.sightings().borrow().clone();
    seen.peers.iter().map(|peer| peer.address.clone()).collect()
}

const WATCH: &str = "GET /v1/health/service/cairn-peer?passing&stale";
const REGISTER: &str = "PUT /v1/agent/service/register?replace-existing-checks=true";
const LOOK: &str = "GET /v1/agent/services?filter=Service%20%3D%3D%20%22cairn-peer%22";

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

/// As the agent gives it back, but somebody changed one of the two.
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
async fn the_token_file_may_change_and_must_be_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "old\n").unwrap();
    let agent = Agent::start(|asked| {
        if asked.is(WATCH) {
            Act::Hold
        } else {
            ok("true")
        }
    })
    .await;
    let settings = ConsulSettings {
        token_file: Some(file.clone()),
        ..at(&agent.address)
    };
    let consul = Consul::open(&settings, &node(), &surroundings()).unwrap();
    let asked = agent.wait_for(REGISTER, 2).await;
    assert_eq!(asked[1].token(), Some("old"));
    std::fs::write(&file, "new").unwrap();
    let key = api::Key {
        name: "k",
        datacenter: None,
    };
    assert!(consul.api.create(key, b"v").await.unwrap());
    assert_eq!(
        agent.wait_for("PUT /v1/kv", 1).await[0].token(),
        Some("new")
    );
    for (text, word) in [
        ("", "empty"),
        ("a\nb", "characters"),
        (&"x".repeat(5000), "at most 4096"),
    ] {
        std::fs::write(&file, text).unwrap();
        let error = consul.api.create(key, b"v").await.unwrap_err().to_string();
        assert!(
            error.contains(word) && error.contains("token_file"),
            "{error}"
        );
    }
    std::fs::remove_file(&file).unwrap();
    let error = consul.api.create(key, b"v").await.unwrap_err().to_string();
    assert!(error.contains("cannot be read"), "{error}");
    let both = ConsulSettings {
        token: Secret::new("x".to_owned()),
        ..settings
    };
    let error = Consul::open(&both, &node(), &surroundings()).err().unwrap();
    assert!(error.to_string().contains("keep one"), "{error}");
    assert!(
        !format!("{both:?}").contains("\"x\""),
        "secrets are not shown"
    );
}

#[tokio::test]
async fn settings_that_cannot_work_are_named_at_the_start() {
    let check = |settings: ConsulSettings, key: &str| {
        let error = Consul::open(&settings, &node(), &surroundings()).err();
        let error = error.unwrap().to_string();
        assert!(error.contains(key), "{key}: {error}");
    };
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    let tls = at("https://127.0.0.1:1");
    let ca_cert = Some(empty.clone());
    check(
        ConsulSettings {
            ca_cert,
            ..tls.clone()
        },
        "ca_cert",
    );
    let missing = Some(folder.path().join("missing.pem"));
    check(
        ConsulSettings {
            ca_cert: missing,
            ..tls.clone()
        },
        "ca_cert",
    );
    let client_cert = Some(empty.clone());
    check(
        ConsulSettings {
            client_cert,
            ..tls.clone()
        },
        "client_key is not set",
    );
    let client_key = Some(empty);
    check(
        ConsulSettings { client_key, ..tls },
        "client_cert is not set",
    );
    check(at("ftp://127.0.0.1"), "consul_http_addr");
    let datacenters = (0..17).map(|n| format!("dc{n}")).collect();
    check(
        ConsulSettings {
            datacenters,
            ..ConsulSettings::default()
        },
        "datacenters",
    );
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
